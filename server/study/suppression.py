"""server/study: complementary suppression: which counts are published, so that no hidden one can be worked out.

All counts of a report hang together: steps of a flow add up to a site's patients, classes of an endpoint add up to
the same, sites add up to the pooled count, and cohorts overlap. A small count that is hidden in one table can
follow from others. So the counts are kept as one system of equations, and a reader who knows everything that is
shown is played by linear programming (the attacker's problem of Fischetti & Salazar, Manage Sci 2001;47:1008): for
every small count the least and the greatest value that fit are found, and more counts are hidden until they lie
apart. Hiding more can only widen an interval, so one pass over the small counts is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linprog

Key = tuple[str, ...]
"""Names one count, such as ("class", "all", "mvi", "1", "hospital-a")."""

_EXACT = 1e-6


@dataclass
class CountSystem:
    """Counts of a study and the equations between them.

    Attributes
    ----------
    values
        Each count; None where a site did not tell it.
    equations
        Linear forms that are zero: coefficients by key.
    fixed
        Counts that are published elsewhere and cannot be hidden.
    reluctant
        Counts that are hidden only when nothing else helps, such as the size of a cohort.
    small
        Counts that must not be known: those that sites hid, and pooled ones below the limit.
    """

    values: dict[Key, int | None] = field(default_factory=dict)
    equations: list[dict[Key, int]] = field(default_factory=list)
    fixed: set[Key] = field(default_factory=set)
    reluctant: set[Key] = field(default_factory=set)
    small: set[Key] = field(default_factory=set)

    def put(self, key: Key, value: int | None) -> None:
        """Enter a count; one that is hidden anywhere is hidden everywhere."""
        if value is None or (key in self.values and self.values[key] is None):
            self.values[key] = None
            self.small.add(key)
        else:
            self.values[key] = value

    def sums(self, whole: Key, parts: Iterable[Key]) -> None:
        """State that the parts add up to the whole."""
        equation: dict[Key, int] = {whole: -1}
        for part in parts:
            equation[part] = equation.get(part, 0) + 1
        if equation not in self.equations:
            self.equations.append(equation)

    def protect(self, min_cell: int) -> Mapping[Key, int | None]:
        """The counts as they may be published: None for the hidden ones.

        Every small count keeps an interval of `min_cell - 1`, or of what can be had without hiding a count that
        must be shown, if that is less (one patient in all the sites together can only be moved between them).
        """
        for key in self.small:
            self.values[key] = None
        for key in sorted(self.small):
            self._protect_one(key, min_cell - 1)
        return self.values

    def not_small(self, min_cell: int) -> frozenset[Key]:
        """Hidden counts that are at least `min_cell`, as a reader can tell; they were hidden for the sake of others."""
        hidden = [key for key, value in self.values.items() if value is None]
        return frozenset(key for key in hidden if self.interval(key)[0] > min_cell - 1 + _EXACT)

    def _protect_one(self, key: Key, wanted: float) -> None:
        """Hide counts until the interval is wide enough, then show again those that it did not need."""
        if self._width(key) >= wanted - _EXACT:
            return
        # Pooled counts are what a report is read for: they are hidden for the sake of pooled ones, or where
        # nothing else helps because overlapping cohorts give a site away by their difference.
        pooled = _pooled(key) or self._widest(key, pooled=False) < 1.0 - _EXACT
        target = min(wanted, self._widest(key, pooled=pooled)) - _EXACT
        victims: dict[Key, int | None] = {}
        while self._width(key) < target:
            victim = self._candidate(key, pooled=pooled)
            if victim is None:
                break
            victims[victim] = self.values[victim]
            self.values[victim] = None
        for victim in reversed(list(victims)):
            self.values[victim] = victims[victim]
            if self._width(key) < target:
                self.values[victim] = None

    def _may_hide(self, victim: Key, *, pooled: bool) -> bool:
        return self.values[victim] is not None and victim not in self.fixed and (pooled or not _pooled(victim))

    def _widest(self, key: Key, *, pooled: bool) -> float:
        """The interval if everything were hidden that may be."""
        shown = {k: v for k, v in self.values.items() if self._may_hide(k, pooled=pooled)}
        self.values.update(dict.fromkeys(shown))
        width = self._width(key)
        self.values.update(shown)
        return width

    def interval(self, key: Key) -> tuple[float, float]:
        """Least and greatest value of a hidden count that fit all that is shown; counts are not negative."""
        connected, equations = self._component(key)
        order = {k: i for i, k in enumerate(sorted(connected))}
        matrix = np.zeros((len(equations), len(order)))
        right = np.zeros(len(equations))
        for row, equation in enumerate(equations):
            for k, coefficient in equation.items():
                value = self.values[k]
                if value is None:
                    matrix[row, order[k]] += coefficient
                else:
                    right[row] -= coefficient * value
        ends = []
        for sign in (1.0, -1.0):
            goal = np.zeros(len(order))
            goal[order[key]] = sign
            found = linprog(goal, A_eq=matrix, b_eq=right, bounds=(0, None), method="highs")
            ends.append(sign * found.fun if found.status == 0 else -sign * np.inf)
        return float(ends[0]), float(ends[1])

    def _width(self, key: Key) -> float:
        low, high = self.interval(key)
        return high - low

    def _component(self, key: Key) -> tuple[set[Key], list[dict[Key, int]]]:
        """All hidden counts that hang together with one, and the equations between them."""
        connected, equations = {key}, []
        left = list(self.equations)
        grown = True
        while grown:
            grown = False
            for equation in list(left):
                hidden = {k for k in equation if self.values[k] is None}
                if hidden & connected:
                    left.remove(equation)
                    equations.append(equation)
                    grown = grown or bool(hidden - connected)
                    connected |= hidden
        return connected, equations

    def _candidate(self, key: Key, *, pooled: bool) -> Key | None:
        """The shown count to hide next: in the equation that says most, the smallest that is not zero."""
        _, equations = self._component(key)
        ranked = []
        for equation in equations:
            hidden = sum(self.values[k] is None for k in equation)
            for k in equation:
                if self._may_hide(k, pooled=pooled):
                    value = self.values[k] or 0
                    ranked.append((k in self.reluctant, hidden, value == 0, value, k))
        return min(ranked)[-1] if ranked else None


def _pooled(key: Key) -> bool:
    return key[0] == "pooled"
