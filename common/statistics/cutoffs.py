"""common/statistics: cut-offs of scores, chosen on training patients and frozen as a number.

A score at or above the cut-off is a positive test. Youden's index (Cancer 1950;3:32) and fixed sensitivity or
specificity change in favour of a cut-off only where classes meet, so the class-pure leaves of `refinement` have every
candidate and the choice is that of the pooled patients. The number is half-way between the two scores around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import total
from common.federation.runner import Conclusion
from common.statistics.refinement import KEY_BITS, Counts, Keys, Leaves, ScoreCounts, key_values, order_keys
from common.statistics.roc import class_leaves
from common.study.recipe import Recipe

EDGE_BITS = 11
"""Bits of a score searched in one round for the patient next to a cut-off."""


class Rule(StrEnum):
    """What a cut-off is chosen for."""

    YOUDEN = "youden"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


@dataclass(frozen=True)
class Cutoff:
    """A chosen cut-off: a score of at least `value_` is a positive test.

    Attributes
    ----------
    column, rule, target
        What it was chosen for.
    value_
        Half-way between the nearest scores of the two sides, so no patient's score.
    true_positives_, false_positives_, false_negatives_, true_negatives_
        Patients on whom it was chosen.
    """

    column: str
    rule: str
    target: float
    value_: float
    true_positives_: int
    false_positives_: int
    false_negatives_: int
    true_negatives_: int

    @property
    def table_(self) -> Counts:
        """(2, 2) patients by class (without, with the endpoint) and test (negative, positive)."""
        negatives = self.true_negatives_, self.false_positives_
        return np.array([negatives, (self.false_negatives_, self.true_positives_)], dtype=np.int64)

    @property
    def sensitivity_(self) -> float:
        """Positive tests among patients with the endpoint; apparent, as it was chosen on them."""
        return self.true_positives_ / (self.true_positives_ + self.false_negatives_)

    @property
    def specificity_(self) -> float:
        """Negative tests among patients without the endpoint; apparent."""
        return self.true_negatives_ / (self.true_negatives_ + self.false_positives_)

    @property
    def youden_(self) -> float:
        """Sensitivity + specificity - 1."""
        return self.sensitivity_ + self.specificity_ - 1.0

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row: the cut-off and its apparent shares; the counts may be small."""
        shares = {"sensitivity": self.sensitivity_, "specificity": self.specificity_, "youden": self.youden_}
        return [{"column": self.column, "rule": self.rule, "target": self.target, "cutoff": self.value_, **shares}]


def cutoffs(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    rule: Rule = Rule.YOUDEN,
    target: float = 0.0,
    min_cell: int = 0,
) -> Conclusion[tuple[Cutoff, ...]]:
    """One cut-off for each score; rounds of the areas and about five more for the patients next to it.

    Parameters
    ----------
    rule, target
        `youden`: the largest sensitivity + specificity - 1. `sensitivity`: the largest specificity with a sensitivity
        of at least `target`, and of equal ones that with the largest sensitivity; `specificity` the other way
        round. Of cut-offs with equal indices the lowest, which has the largest sensitivity.
    min_cell
        Patients that a cut-off must leave in each of the four cells of its table; 0 for the plain optimum. Where
        the table is published with a limit, only the guarded form has no cell to hide.

    Raises
    ------
    FedmviError
        602 one class only, 641 no cut-off reaches the target or leaves the cells; one that calls all alike is none.
    """
    leaves = yield from class_leaves(cohort, recipe, endpoint, columns)
    places = []
    for column, leaf in zip(columns, leaves, strict=True):
        place = _place(leaf.counts, rule, target, min_cell)
        if place is None:
            raise FedmviError(641, column=column, cohort=cohort)
        places.append(place)
    values = yield from _values(cohort, recipe, endpoint, columns, leaves, places)
    result = []
    for column, leaf, place, value in zip(columns, leaves, places, values, strict=True):
        tn, fn = leaf.counts[:place].sum(axis=0).tolist()
        fp, tp = leaf.counts[place:].sum(axis=0).tolist()
        result.append(Cutoff(column, rule.value, target, value, tp, fp, fn, tn))
    return tuple(result)


def table_at(
    cohort: str, recipe: Recipe, endpoint: str, column: str, leaves: Leaves, value: float
) -> Conclusion[Counts]:
    """(2, 2) patients by class and test at a cut-off that was chosen elsewhere; a round or two, six at most.

    Only the leaf that the cut-off goes through, if there is one, must be asked about: it is split at the cut-off.

    Parameters
    ----------
    leaves
        Of the score, as `class_leaves` finds them for the same patients.
    value
        The cut-off; a score of at least this is a positive test.
    """
    at = order_keys(np.array([value]))[0]
    positive = leaves.counts[leaves.low >= at].sum(axis=0)
    cut = (leaves.low < at) & (leaves.high >= at)
    low, depth, counts = leaves.low[cut], leaves.depth[cut], leaves.counts[cut]
    while low.size:
        bits = np.minimum(np.uint64(EDGE_BITS), KEY_BITS - depth)
        one, most = np.ones(1, dtype=np.uint64), counts.astype(np.uint64).reshape(-1)
        query = ScoreCounts(cohort, recipe, (column,), one, low, depth, bits, most, endpoint)
        reply = yield total(query)
        _, child, found = query.children(reply["counts"])
        depth = depth + bits
        parts = Leaves(
            low + np.left_shift(child.astype(np.uint64), KEY_BITS - depth), np.repeat(depth, child.size), found, 0
        )
        positive = positive + found[parts.low >= at].sum(axis=0)
        cut = (parts.low < at) & (parts.high >= at)
        low, depth, counts = parts.low[cut], parts.depth[cut], found[cut]
    return np.stack([leaves.counts.sum(axis=0) - positive, positive], axis=1)


def _place(counts: Counts, rule: Rule, target: float, min_cell: int) -> int | None:
    """The first leaf of the positive side; all comparisons of indices are between whole numbers."""
    below = np.cumsum(counts, axis=0)[:-1]  # true and false negatives of each candidate
    above = counts.sum(axis=0) - below
    n0, n1 = counts.sum(axis=0).tolist()
    allowed = np.minimum(below, above).min(axis=1) >= min_cell
    tn, tp = below[:, 0], above[:, 1]
    # A share is compared as a float, as whoever names the target does.
    if rule is Rule.SENSITIVITY:
        allowed, gain = allowed & (tp / n1 >= target), tn * (n1 + 1) + tp
    elif rule is Rule.SPECIFICITY:
        allowed, gain = allowed & (tn / n0 >= target), tp * (n0 + 1) + tn
    else:
        gain = tp * n0 + tn * n1
    if not bool(np.any(allowed)):
        return None
    return int(np.argmax(np.where(allowed, gain, -1))) + 1


def _values(
    cohort: str,
    recipe: Recipe,
    endpoint: str,
    columns: tuple[str, ...],
    leaves: tuple[Leaves, ...],
    places: list[int],
) -> Conclusion[list[float]]:
    """Half-way between the highest score below and the lowest above, which are followed bit by bit."""
    chosen = [np.array([place - 1, place]) for place in places]
    low = np.concatenate([leaf.low[pair] for leaf, pair in zip(leaves, chosen, strict=True)])
    depth = np.concatenate([leaf.depth[pair] for leaf, pair in zip(leaves, chosen, strict=True)])
    counts = np.concatenate([leaf.counts[pair] for leaf, pair in zip(leaves, chosen, strict=True)])
    while bool(np.any(depth < KEY_BITS)):
        going = np.flatnonzero(depth < KEY_BITS)
        bits = np.minimum(np.uint64(EDGE_BITS), KEY_BITS - depth[going])
        sizes = np.bincount(going // 2, minlength=len(columns))
        named = tuple(columns[i] for i in np.flatnonzero(sizes))
        ranges, most = sizes[sizes > 0].astype(np.uint64), counts[going].astype(np.uint64).reshape(-1)
        query = ScoreCounts(cohort, recipe, named, ranges, low[going], depth[going], bits, most, endpoint)
        reply = yield total(query)
        owner, child, found = query.children(reply["counts"])
        for place, i in enumerate(going.tolist()):
            mine = np.flatnonzero(owner == place)
            nearest = mine[-1] if i % 2 == 0 else mine[0]
            depth[i] += bits[place]
            low[i] += np.uint64(int(child[nearest]) << (KEY_BITS - int(depth[i])))
            counts[i] = found[nearest]
    return _half_way(low[0::2], low[1::2])


def _half_way(below: Keys, above: Keys) -> list[float]:
    first, second = key_values(below), key_values(above)
    middle: NDArray[np.float64] = first / 2.0 + second / 2.0
    # Between neighbouring floats there is none: the upper one cuts as well.
    values: list[float] = np.where(middle > first, middle, second).tolist()
    return values
