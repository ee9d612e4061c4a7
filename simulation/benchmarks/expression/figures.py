"""simulation: benchmarks: expression: means over studies with their Monte-Carlo errors, and whether targets are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from simulation.benchmarks.expression import scenarios as s
from simulation.benchmarks.expression.studying import Found, Studied


@dataclass(frozen=True)
class Mean:
    """A mean over studies, and its Monte-Carlo standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Of one number a study."""
        error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), error)

    def report(self) -> dict[str, float]:
        """For programs."""
        return {"mean": self.mean, "std_err": self.error}


@dataclass(frozen=True)
class Judged:
    """The mean false discovery proportion of one scenario at one size, against its bound."""

    scenario: str
    patients: int
    proportion: Mean

    @property
    def bound(self) -> float:
        """What the mean may be."""
        return s.LEVEL + s.STANDARD_ERRORS * self.proportion.error

    @property
    def met(self) -> bool:
        """Whether it keeps to it."""
        return self.proportion.mean <= self.bound

    @property
    def beyond(self) -> float:
        """How far the mean is above its bound; below 0 where it keeps to it."""
        return self.proportion.mean - self.bound


@dataclass(frozen=True)
class Campaign:
    """All studies."""

    studied: tuple[Studied, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Patients of a study; the first is the headline's."""
        return tuple(dict.fromkeys(one.patients for one in self.studied))

    @property
    def errors(self) -> tuple[Studied, ...]:
        """Studies that ended with an error."""
        return tuple(one for one in self.studied if one.error)

    def found(self, scenario: s.Scenario, patients: int) -> list[Found]:
        """What the studies of one scenario and size found."""
        return [x.found[scenario.name] for x in self.studied if x.patients == patients and not x.error]

    @cached_property
    def judged(self) -> list[Judged]:
        """Every scenario at every size."""
        return [
            Judged(scenario.name, patients, Mean.of([one.proportion for one in self.found(scenario, patients)]))
            for patients in self.sizes
            for scenario in s.SCENARIOS
            if self.found(scenario, patients)
        ]

    def worst(self, patients: int) -> Judged | None:
        """The scenario of that size whose mean is farthest above its bound, or least below it."""
        return max((one for one in self.judged if one.patients == patients), key=lambda one: one.beyond, default=None)

    def sensitivity(self, grouping: s.Grouping, patients: int) -> Mean | None:
        """Share of the genes that differ which were found, over independent and correlated genes."""
        found = [
            one.sensitivity
            for scenario in s.SCENARIOS
            if scenario.signal and scenario.grouping == grouping
            for one in self.found(scenario, patients)
        ]
        return Mean.of(found) if found else None

    @property
    def passed(self) -> bool:
        """Whether no study failed and every mean keeps to its bound."""
        return bool(self.judged) and not self.errors and all(one.met for one in self.judged)

    def report(self) -> dict[str, Any]:
        """For programs; the numbers at the top are those of the first size."""
        worst = self.worst(self.sizes[0])
        true, predicted = (self.sensitivity(g, self.sizes[0]) for g in (s.TRUE, s.PREDICTED))
        return {
            "name": "expression",
            "studies": len({one.seed for one in self.studied}),
            "patients": self.sizes[0],
            "false_discovery_proportion": worst and worst.proportion.mean,
            "false_discovery_bound": worst and worst.bound,
            "false_discovery_scenario": worst and worst.scenario,
            "sensitivity_true": true and true.mean,
            "sensitivity_predicted": predicted and predicted.mean,
            "sizes": {str(patients): self._size(patients) for patients in self.sizes},
            "errors": {f"{one.seed}, {one.patients} patients": one.error for one in self.errors},
            "pass": self.passed,
        }

    def _size(self, patients: int) -> dict[str, Any]:
        judged = {one.scenario: one for one in self.judged if one.patients == patients}
        return {
            "hospitals": s.sites_of(patients),
            "scenarios": {
                x.name: _row(self.found(x, patients), judged[x.name], x) for x in s.SCENARIOS if x.name in judged
            },
        }


def _row(found: Sequence[Found], judged: Judged, scenario: s.Scenario) -> dict[str, Any]:
    row: dict[str, Any] = {
        "false_discovery_proportion": judged.proportion.report(),
        "bound": judged.bound,
        "met": judged.met,
        "any_false_discovery": float(np.mean([one.false > 0 for one in found])),
        "false_discoveries_at_most": max(one.false for one in found),
        "compared": float(np.mean([one.compared[0] for one in found])),
        "zero_heavy_compared": float(np.mean([one.compared[1] for one in found])),
        "zero_heavy_false": sum(one.false_zero_heavy for one in found),
        "false": sum(one.false for one in found),
    }
    if scenario.signal:
        row["sensitivity"] = Mean.of([one.sensitivity for one in found]).report()
        row["sensitivity_by_log2_fold_change"] = {
            str(effect): Mean.of([one.true[effect] / s.PER_EFFECT for one in found]).report() for effect in s.EFFECTS
        }
    enriched = [one.sets for one in found if one.sets is not None]
    if enriched:
        row["gene_sets"] = {
            "studies": len(enriched),
            "pathway_found": {
                how: float(np.mean([one.pathway[k] for one in enriched]))
                for k, how in enumerate(("preranked", "over-representation"))
            },
            "null_sets_found": {
                kind: float(np.mean([one.false[kind][0] / max(one.false[kind][1], 1) for one in enriched]))
                for kind in enriched[0].false
            },
        }
    return row
