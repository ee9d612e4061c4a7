"""simulation: benchmarks: shift: what a campaign's areas, looks and corrections say, each number with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import beta, t

from common.study.table import FloatArray
from simulation.benchmarks.shift.averaging import OPTIMISERS
from simulation.benchmarks.shift.campaign import APPEARANCE, IDENTICAL, RECALIBRATED, Found, Outcome
from simulation.benchmarks.shift.cohorts import Drawing
from simulation.benchmarks.shift.detecting import Look
from simulation.benchmarks.shift.methods import ACTIONS, CEILING, NOTHING, POOLED, PRIMARY_ACTION
from simulation.benchmarks.shift.recalibrating import CLOSED, FEW, INTERCEPT, MANY, RULES, Recalibrated
from simulation.benchmarks.shift.scenarios import JUDGED, NONE, PRIMARY
from simulation.benchmarks.shift.targets import Target

SMALLEST_COST = 0.03
"""Mean loss of area below which nothing can be recovered."""
SLOPES = (0.8, 1.2)
_RESAMPLES = 10_000
_TOLD = (*ACTIONS, *OPTIMISERS)
"""Methods of which cost and recovered part are told."""


@dataclass(frozen=True)
class Recovered:
    """The part of what a shift costs that an action brings back: a ratio of means over seeds.

    Attributes
    ----------
    cost
        Mean area of the ceiling less that of the model without any action.
    fraction, low, high
        With percentile limits over 10,000 resamples of seeds; None where the cost is below `SMALLEST_COST`.
    """

    cost: float
    fraction: float | None = None
    low: float | None = None
    high: float | None = None


def recovered(action: FloatArray, none: FloatArray, ceiling: FloatArray) -> Recovered:
    """From (seeds,) areas."""
    gain, cost = action - none, ceiling - none
    if not float(cost.mean()) >= SMALLEST_COST:
        return Recovered(float(cost.mean()))
    draw = np.random.default_rng(20231)
    rows = draw.integers(0, cost.size, (_RESAMPLES, cost.size))
    with np.errstate(divide="ignore"):
        ratios = gain[rows].mean(axis=1) / cost[rows].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5]).tolist()
    return Recovered(float(cost.mean()), float(gain.mean() / cost.mean()), low, high)


def upper_bound(losses: FloatArray) -> float | None:
    """One-sided 95 % bound of a mean, by Student's t; None from one value."""
    if losses.size < 2:
        return None
    error = float(losses.std(ddof=1)) / np.sqrt(losses.size)
    return float(losses.mean() + t.ppf(0.95, losses.size - 1) * error)


@dataclass(frozen=True)
class Share:
    """How often, of how many draws, with 95 % limits that allow for draws of one seed being alike.

    They are Clopper and Pearson's for as many draws as would tell as much if each stood by itself: all of them over the
    design effect, and fewer as seeds are few (Korn & Graubard, Surv Methodol 1998;24:193). Where it happens always or
    never nothing tells how alike they are, and a seed counts as one draw.

    Attributes
    ----------
    by_seed
        How often, and of how many, for each seed.
    """

    by_seed: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, happened: Iterable[Sequence[bool]]) -> Share:
        """From what happened in the draws of each seed."""
        return cls(tuple((sum(map(bool, draws)), len(draws)) for draws in happened if len(draws)))

    @property
    def times(self) -> int:
        """Of all seeds."""
        return sum(times for times, _ in self.by_seed)

    @property
    def draws(self) -> int:
        """Of all seeds."""
        return sum(of for _, of in self.by_seed)

    @property
    def effective(self) -> float:
        """Draws that would tell as much if each stood by itself."""
        seeds, n, share = len(self.by_seed), self.draws, self.times / self.draws
        if seeds < 2 or share in (0.0, 1.0):
            return float(seeds)
        away = sum((times - share * of) ** 2 for times, of in self.by_seed)
        design = seeds / (seeds - 1) * away / (n * share * (1.0 - share))
        few = float(t.ppf(0.975, n - 1) / t.ppf(0.975, seeds - 1)) ** 2
        return min(float(n), n / design * few) if design > 0.0 else float(n)

    def report(self) -> dict[str, Any]:
        """For programs."""
        if not self.draws:
            return {"times": 0, "of": 0, "share": None, "low": None, "high": None}
        share, n = self.times / self.draws, self.effective
        return {
            "times": self.times,
            "of": self.draws,
            "share": share,
            "low": float(beta.ppf(0.025, share * n, n - share * n + 1.0)) if share > 0.0 else 0.0,
            "high": float(beta.ppf(0.975, share * n + 1.0, n - share * n)) if share < 1.0 else 1.0,
        }


@dataclass(frozen=True)
class Campaign:
    """All seeds."""

    found: tuple[Found, ...]
    drawing: Drawing

    @property
    def sound(self) -> list[Found]:
        """Seeds that no error stopped."""
        return [one for one in self.found if not one.error]

    def outcomes(self, scenario: str) -> list[Outcome]:
        """One a seed that has it."""
        return [one.outcomes[scenario] for one in self.sound if scenario in one.outcomes]

    @property
    def scenarios(self) -> list[str]:
        """Those with areas."""
        return [name for name, outcome in self.sound[0].outcomes.items() if outcome.areas] if self.sound else []

    def areas(self, scenario: str, method: str) -> FloatArray | None:
        """(seeds,); None where some seed has none, or all lack the scenario."""
        values = [outcome.areas[method] for outcome in self.outcomes(scenario)]
        known = [value for value in values if value is not None]
        return np.array(known) if known and len(known) == len(values) else None

    def recovered(self, scenario: str, method: str, none_: str = NOTHING) -> Recovered | None:
        """What a method brings back; None where some seed has no area.

        `none_` may be `POOLED`: the same model without any action, whose score is not rounded to four decimals.
        """
        action, none, ceiling = (self.areas(scenario, name) for name in (method, none_, CEILING))
        if action is None or none is None or ceiling is None:
            return None
        return recovered(action, none, ceiling)

    def loss(self, method: str) -> FloatArray | None:
        """(seeds,) area that a method loses where nothing differs."""
        action, none = self.areas(NONE.name, method), self.areas(NONE.name, NOTHING)
        return None if action is None or none is None else none - action

    def looks(self, scenario: str) -> list[Look]:
        """Of all seeds."""
        return [look for outcome in self.outcomes(scenario) for look in outcome.looks]

    def seen(self, scenario: str, what: Callable[[Look], bool]) -> Share:
        """In how many looks something was so."""
        return Share.of([what(look) for look in outcome.looks] for outcome in self.outcomes(scenario))

    def corrections(
        self, n: int, rule: str, kinds: Sequence[str] = RECALIBRATED, action: str = NOTHING
    ) -> list[list[Recalibrated]]:
        """By seed, after shifts of these kinds."""
        names = sorted(f"{kind}-{JUDGED}" for kind in kinds)
        return [
            [
                c for name in names if name in one.outcomes for c in one.outcomes[name].recalibrations
                if (c.action, c.n, c.rule) == (action, n, rule)
            ]
            for one in self.sound
        ]  # fmt: skip

    # ------------------------------------------------------------------------------------------------------- targets

    @property
    def targets(self) -> list[Target]:
        """What was asked for, and what was reached, of the kinds of shift that were made."""
        return [*self._of_actions(), *self._of_looks(), *self._of_corrections()]

    def _of_actions(self) -> list[Target]:
        targets = []
        if PRIMARY in self.scenarios:
            primary = self.recovered(PRIMARY, PRIMARY_ACTION)
            fraction, low, high = (primary.fraction, primary.low, primary.high) if primary else (None, None, None)
            name = f"recovered by {PRIMARY_ACTION} after {PRIMARY}"
            targets.append(Target(name, fraction, 0.70, low=low, high=high))
            targets.append(Target("its lower 95 % limit", low, 0.50))
        if NONE.name in self.scenarios:
            for action in ACTIONS:
                loss = self.loss(action)
                bound = None if loss is None else upper_bound(loss)
                name = f"area lost by {action} without shift, upper 95 % bound"
                targets.append(Target(name, bound, 0.005, least=False))
        return targets

    def _of_looks(self) -> list[Target]:
        targets = []
        for scenario in self.scenarios:
            kind = scenario.rpartition("-")[0]
            if not self.looks(scenario):
                continue
            if kind in APPEARANCE:
                known = self.recovered(scenario, NOTHING)
                if known is not None and known.cost >= 0.05:
                    targets.append(_power(f"power: {scenario}", self.seen(scenario, _found)))
            if kind == "label" and scenario != "label-1":
                targets.append(_power(f"power: {scenario}", self.seen(scenario, _found)))
                later = self.seen(scenario, _found_with_outcomes)
                targets.append(_power(f"power: {scenario}, with outcomes", later))
        if not self.sound:
            return targets
        # More than 5 % only where chance cannot explain it.
        for words, what in (("", _alarm), (", with outcomes", _alarm_with_outcomes)):
            low = self.seen(IDENTICAL, what).report()["low"]
            name = f"false alarms{words}, family-wise, lower 95 % limit"
            targets.append(Target(name, low, 0.05, least=False))
        return targets

    def _of_corrections(self) -> list[Target]:
        if not any(self.corrections(MANY, CLOSED)):
            return []
        slopes, name = self._slopes(MANY, CLOSED), f"slope in {SLOPES[0]} to {SLOPES[1]} by {CLOSED} on {MANY}"
        ratio, low, high = self._error_ratio(FEW, INTERCEPT)
        return [
            Target(name, slopes["share"], 0.8, low=slopes["low"], high=slopes["high"]),
            Target(
                f"|logit O/E| after {INTERCEPT} on {FEW}, of that before", ratio, 0.5, least=False, low=low, high=high
            ),
        ]

    def _slopes(self, n: int, rule: str, kinds: Sequence[str] = RECALIBRATED, action: str = NOTHING) -> dict[str, Any]:
        found = self.corrections(n, rule, kinds, action)
        slopes = [[c.slope[1] for c in of_seed] for of_seed in found]
        return Share.of([s is not None and SLOPES[0] <= s <= SLOPES[1] for s in some] for some in slopes).report()

    def _error_ratio(self, n: int, rule: str) -> tuple[float, float, float]:
        """Mean error after a rule over that before, with percentile limits over resamples of seeds."""
        found = self.corrections(n, rule)
        errors = np.array([np.mean([c.error for c in of_seed], axis=0) for of_seed in found])
        rows = np.random.default_rng(20231).integers(0, len(errors), (_RESAMPLES, len(errors)))
        drawn = errors[rows].mean(axis=1)
        low, high = np.percentile(drawn[:, 1] / drawn[:, 0], [2.5, 97.5]).tolist()
        before, after = errors.mean(axis=0).tolist()
        return after / before, low, high

    @property
    def passed(self) -> bool:
        """Whether no seed failed and no target is missed."""
        return len(self.sound) == len(self.found) and all(target.met for target in self.targets)

    # -------------------------------------------------------------------------------------------------------- report

    def report(self) -> dict[str, Any]:
        """For programs."""
        loss = self.loss(PRIMARY_ACTION) if self.sound else None
        primary = self.recovered(PRIMARY, PRIMARY_ACTION) if self.sound else None
        unrounded = self.recovered(PRIMARY, PRIMARY_ACTION, POOLED) if self.sound else None
        return {
            "name": "shift",
            "seeds": [one.seed for one in self.found],
            "settings": {**asdict(self.drawing), "primary": PRIMARY, "action": PRIMARY_ACTION},
            "recovered_unlabelled": None if primary is None else asdict(primary),
            "recovered_unlabelled_unrounded": None if unrounded is None else asdict(unrounded),
            "no_shift_cost": None if loss is None else upper_bound(loss),
            "no_shift_costs": {m: None if (x := self.loss(m)) is None else upper_bound(x) for m in _TOLD}
            if self.sound
            else {},
            "areas": {name: self._area_report(name) for name in self.scenarios},
            "recovered": {name: self._recovered_report(name) for name in self.scenarios},
            "refused": {name: dict(self.outcomes(name)[0].refused) for name in self.scenarios},
            "detection": self._detection_report(),
            "recalibration": self._recalibration_report(),
            "targets": [target.report() for target in self.targets] if self.sound else [],
            "errors": {one.seed: one.error for one in self.found if one.error},
            "pass": bool(self.sound) and self.passed,
        }

    def _area_report(self, scenario: str) -> dict[str, Any]:
        report = {}
        for method in self.outcomes(scenario)[0].areas:
            areas = self.areas(scenario, method)
            report[method] = None if areas is None else {"mean": float(areas.mean()), "std": _std(areas)}
        return report

    def _recovered_report(self, scenario: str) -> dict[str, Any]:
        return {m: None if (found := self.recovered(scenario, m)) is None else asdict(found) for m in _TOLD}

    def _detection_report(self) -> dict[str, Any]:
        report: dict[str, Any] = {}
        for scenario in [*self.scenarios, IDENTICAL] if self.sound else []:
            looks = self.looks(scenario)
            if not looks:
                continue
            report[scenario] = {
                "power": self.seen(scenario, _found).report(),
                "power_with_outcomes": self.seen(scenario, _found_with_outcomes).report(),
                "training_sites_named": self.seen(scenario, lambda look: bool(look.alarms)).report(),
                "verdicts": dict(sorted(Counter(look.verdict for look in looks).items())),
                "verdicts_with_outcomes": dict(sorted(Counter(look.with_outcomes for look in looks).items())),
            }
            if scenario == "broken":
                report[scenario]["broken_site_named"] = self.seen(
                    scenario, lambda look: "broken" in look.alarms
                ).report()
        if self.sound:
            report["false_alarms"] = self.seen(IDENTICAL, _alarm).report()
            report["false_alarms_with_outcomes"] = self.seen(IDENTICAL, _alarm_with_outcomes).report()
        return report

    def _recalibration_report(self) -> dict[str, Any]:
        report: dict[str, Any] = {}
        kinds = {"all": RECALIBRATED, **{f"{kind}-{JUDGED}": (kind,) for kind in RECALIBRATED}}
        for name, chosen in kinds.items() if self.sound else ():
            for action in (NOTHING, PRIMARY_ACTION):
                report[name if action == NOTHING else f"{name}, after {action}"] = {
                    str(n): {rule: self._rule_report(n, rule, chosen, action) for rule in RULES[n]} for n in RULES
                }
        priors = {name: [p for o in self.outcomes(name) for p in o.priors] for name in self.scenarios}
        report["prior"] = {name: _errors(found) for name, found in priors.items() if found}
        return report

    def _rule_report(self, n: int, rule: str, kinds: Sequence[str], action: str) -> dict[str, Any]:
        corrections = [c for of_seed in self.corrections(n, rule, kinds, action) for c in of_seed]
        return {
            **_errors([c.error for c in corrections]),
            "methods": dict(sorted(Counter(c.method for c in corrections).items())),
            **({"slope_within": self._slopes(n, rule, kinds, action)} if n == MANY else {}),
        }


def _found(look: Look) -> bool:
    return look.found


def _found_with_outcomes(look: Look) -> bool:
    return look.found_with_outcomes


def _alarm(look: Look) -> bool:
    """Whether any hospital is said to differ."""
    return look.found or bool(look.alarms)


def _alarm_with_outcomes(look: Look) -> bool:
    return _alarm(look) or look.found_with_outcomes


def _power(name: str, found: Share) -> Target:
    share = found.report()
    return Target(name, share["share"], 0.9, low=share["low"], high=share["high"])


def _errors(errors: Sequence[tuple[float, float]]) -> dict[str, Any]:
    before, after = (fmean(error[k] for error in errors) if errors else None for k in (0, 1))
    return {"draws": len(errors), "logit_oe_before": before, "logit_oe_after": after}


def _std(areas: FloatArray) -> float | None:
    return float(areas.std(ddof=1)) if areas.size > 1 else None
