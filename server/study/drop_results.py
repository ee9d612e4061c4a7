"""server/study: what is published of the fall of a model's performance: its steps, and the differences between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary
from common.published.results import Estimate, Result
from common.statistics.by_centre import Share, decisions, majority_class
from common.statistics.case_mix import BINS, ExpectedPerformance
from common.statistics.confusion import ConfusionResult
from common.statistics.cutoffs import Cutoff
from common.statistics.distributions import Z975
from common.statistics.roc import RocResult
from common.study.protocol import Study
from common.study.table import FloatArray
from server.study.drop import Steps
from server.study.evaluation import alone_base
from server.study.models import FittedModel, ScoredModel, refusal
from server.study.optimism import Optimism

STEPS = ("apparent", "out_of_fold", "expected", "observed")
"""From the training patients to others."""

DIFFERENCES = (("optimism", 0), ("case_mix", 1), ("remaining", 2))
"""Each is a step less the next one."""

_HOW = (
    "`expected` is what would be observed in these patients if every risk of the model were right, from their risks in "
    "{bins} public bins and no outcome; `case_mix` so holds the label rate too, and what training risks were off. "
    "Limits of areas are DeLong's, of expected values those of drawing patients; limits of a difference add the "
    "variances of its two sides. For `optimism` and `remaining` both sides are of the same patients, which makes "
    "limits too wide, hardly too narrow."
)


@dataclass(frozen=True)
class Measure:
    """A number with its standard error, or why there is none."""

    value: float = math.nan
    std_err: float = math.nan
    why: str = ""
    low: float | None = None
    high: float | None = None

    def estimate(self, name: str, term: str) -> Estimate:
        """For publication; limits by the error where it has no better ones, inside [0, 1]."""
        if not math.isfinite(self.value):
            return Estimate(name=name, term=term, value=None, note=self.why)
        low = self.low if self.low is not None else max(0.0, self.value - Z975 * self.std_err)
        high = self.high if self.high is not None else min(1.0, self.value + Z975 * self.std_err)
        return Estimate(name=name, term=term, value=self.value, low=low, high=high, note=self.why)


def publish_drops(study: Study, found: Sequence[Steps], evaluated: Sequence[Result]) -> list[Result]:
    """One result a model and cohort; of a cohort of too few sites one a site. `evaluated` has the areas."""
    by_id = {result.id: result for result in evaluated}
    published = []
    for steps in found:
        if steps.alone is None:
            published.append(_pooled(study, steps, by_id))
        else:
            published += [_alone(study, steps, site, by_id) for site in sorted(study.cohort(steps.cohort).sites)]
    return published


def _base(study: Study, steps: Steps) -> dict[str, Any]:
    model = steps.model.model
    return {
        "id": f"model.{model.name}.drop.{steps.cohort}",
        "statistic": "performance-drop",
        "title": f"What the fall of {model.title} is made of, cohort {steps.cohort}",
        "cohort": steps.cohort,
        "sites": sorted(study.cohort(steps.cohort).sites),
        "how": f"binned({BINS})",
    }


def _pooled(study: Study, steps: Steps, by_id: dict[str, Result]) -> Result:
    name, cell = steps.model.model.name, study.limits.min_cell
    result = by_id[f"model.{name}.auc.{steps.cohort}"]
    table = _table(steps.here, cell)
    expected = _expected(steps.expected)
    areas = [*_training_areas(steps.model, by_id), expected[0], _area(result)]
    balanced = [*_training_tables(steps, cell), expected[1], _balanced(table)]
    return _result(_base(study, steps), result, areas, balanced, table, steps.model)


def _alone(study: Study, steps: Steps, site: str, by_id: dict[str, Result]) -> Result:
    """The same of one site, by what it says of itself."""
    name, cell = steps.model.model.name, study.limits.min_cell
    base = alone_base(_base(study, steps), site)
    expected, observed = (_of_site(told, site) for told in steps.alone or ())
    result = by_id.get(f"model.{name}.auc.{steps.cohort}.{site}")
    if result is None or isinstance(observed, FedmviError):
        status, why = refusal(observed) if isinstance(observed, FedmviError) else ("not-estimable", "No area is there.")
        return Result.model_validate({**base, "status": status, "note": why})
    table = np.asarray(observed["table"], dtype=np.float64)
    shown = table if int(observed["estimable"]) and bool(np.all(table >= 0)) else None
    told = _expected_of_site(expected)
    areas = [*_training_areas(steps.model, by_id), told[0], _area(result)]
    balanced = [*_training_tables(steps, cell), told[1], _balanced(shown)]
    return _result(base, result, areas, balanced, shown, steps.model)


def _of_site(told: Any, site: str) -> Summary | FedmviError:
    found: Summary | FedmviError = told if isinstance(told, FedmviError) else told[site]
    return found


def _result(
    base: dict[str, Any],
    observed: Result,
    areas: Sequence[Measure],
    balanced: Sequence[Measure],
    table: FloatArray | None,
    model: ScoredModel,
) -> Result:
    base = {**base, "n": observed.n, "events": observed.events}
    if observed.status != "estimated":
        return Result.model_validate({**base, "status": observed.status, "note": observed.note})
    spread = _spread_of_optimism(model)
    estimates = _ladder("auc", areas, spread[0]) + _ladder("balanced_accuracy", balanced, spread[1])
    if table is not None and isinstance(model.cutoff, float):
        estimates.append(_shown("accuracy", decisions(table, model.cutoff)["accuracy"]))
    if observed.n is not None and observed.events is not None:
        estimates.append(_shown("majority_class", majority_class(observed.n - observed.events, observed.events)))
    return Result.model_validate({**base, "estimates": estimates, "note": _HOW.format(bins=BINS)})


def _shown(name: str, share: Share) -> Estimate:
    return Estimate(name=name, value=share.value, low=share.low, high=share.high)


def _ladder(term: str, steps: Sequence[Measure], optimism: Measure | None) -> list[Estimate]:
    """The steps of a measure and their differences, each with its limits."""
    found = [step.estimate(name, term) for name, step in zip(STEPS, steps, strict=True)]
    for name, i in DIFFERENCES:
        before, after = steps[i], steps[i + 1]
        value = before.value - after.value
        if not math.isfinite(value):
            why = before.why if not math.isfinite(before.value) else after.why
            found.append(Estimate(name=name, term=term, value=None, note=why))
            continue
        half = Z975 * math.hypot(before.std_err, after.std_err)
        low, high, note = value - half, value + half, ""
        if name == "optimism" and optimism is not None:
            low, high, note = optimism.low, optimism.high, optimism.why  # type: ignore[assignment]
        found.append(Estimate(name=name, term=term, value=value, low=low, high=high, note=note))
    return found


def _area(result: Result | None) -> Measure:
    found = next((e for e in result.estimates if e.name == "auc"), None) if result is not None else None
    if result is None or found is None or found.value is None:
        return Measure(why=result.note if result is not None else "no area")
    return Measure(found.value, found.std_err or math.nan, low=found.low, high=found.high)


def _training_areas(model: ScoredModel, by_id: dict[str, Result]) -> tuple[Measure, Measure]:
    """Apparent, and out of fold or, of a model without folds, less its optimism by the bootstrap."""
    apparent = _area(by_id.get(f"model.{model.model.name}.auc.{model.model.cohort}"))
    if not isinstance(model, FittedModel):
        area = model.area
        if isinstance(area, RocResult):
            low, high = area.interval
            return apparent, Measure(area.auc_, area.std_err_, low=low, high=high)
        return apparent, Measure(why=refusal(area)[1])
    optimism = model.optimism
    return apparent, _less_optimism(apparent, optimism, optimism.mean if isinstance(optimism, Optimism) else math.nan)


def _less_optimism(apparent: Measure, optimism: Optimism | FedmviError | None, mean: float) -> Measure:
    """A measure of a model that is fitted, and not selected, with what its bootstrap sets take off it."""
    if isinstance(optimism, FedmviError):
        return Measure(why=refusal(optimism)[1])
    if optimism is None:
        return Measure(why="not estimable: declare `optimism`")
    if not math.isfinite(apparent.value):
        return Measure(why=apparent.why)
    if not math.isfinite(mean):
        return Measure(why="not estimable: it could be measured on no bootstrap set")
    why = "less the optimism of bootstrap sets, with the error of the apparent measure (Noma et al., Stat Med 2021)"
    return Measure(apparent.value - mean, apparent.std_err, why)


def _spread_of_optimism(model: ScoredModel) -> tuple[Measure | None, Measure | None]:
    """The limits of the optimism of area and balanced accuracy, where it is of bootstrap sets: how it varied there."""
    optimism = model.optimism
    if not isinstance(model, FittedModel) or not isinstance(optimism, Optimism):
        return None, None
    return _spread(optimism.own_ - optimism.original_), _spread(optimism.own_balanced_ - optimism.original_balanced_)


def _spread(differences: FloatArray) -> Measure | None:
    if differences.size < 2:
        return None
    low, high = np.quantile(differences, [0.025, 0.975]).tolist()
    why = "limits: 2.5 % and 97.5 % of the bootstrap sets"
    return Measure(float(np.mean(differences)), why=why, low=low, high=high)


def _training_tables(steps: Steps, cell: int) -> tuple[Measure, Measure]:
    """Apparent, and out of fold or, of a model without folds, less its optimism by the bootstrap."""
    apparent = _balanced(_table(steps.training, cell), _why(steps.training))
    if isinstance(steps.model, FittedModel):
        optimism = steps.model.optimism
        mean = optimism.mean_balanced if isinstance(optimism, Optimism) else math.nan
        return apparent, _less_optimism(apparent, optimism, mean)
    chosen = steps.model.chosen_at
    return apparent, _balanced(_of_choice(chosen, cell) if chosen is not None else None)


def _why(found: ConfusionResult | FedmviError) -> str:
    return refusal(found)[1] if isinstance(found, FedmviError) else ""


def _of_choice(chosen: Cutoff, cell: int) -> FloatArray | None:
    counts = chosen.table_
    return None if bool(np.any((counts > 0) & (counts < cell))) else counts.astype(np.float64)


def _table(found: ConfusionResult | FedmviError | None, cell: int) -> FloatArray | None:
    """(2, 2) patients by class and test; None where a count is small, or there is none."""
    if not isinstance(found, ConfusionResult):
        return None
    counts = found.counts_[0]
    return None if bool(np.any((counts > 0) & (counts < cell))) else counts.astype(np.float64)


def _balanced(table: FloatArray | None, why: str = "") -> Measure:
    if table is None:
        return Measure(why=why or "hidden: a count is small")
    (tn, fp), (fn, tp) = table
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    variance = sensitivity * (1.0 - sensitivity) / (tp + fn) + specificity * (1.0 - specificity) / (tn + fp)
    share = decisions(table, 0.5)["balanced_accuracy"]  # of any threshold: it is net benefit that weighs by it
    return Measure((sensitivity + specificity) / 2.0, math.sqrt(variance) / 2.0, low=share.low, high=share.high)


def _expected(found: ExpectedPerformance | FedmviError | None) -> tuple[Measure, Measure]:
    if not isinstance(found, ExpectedPerformance):
        nothing = Measure(why=refusal(found)[1] if isinstance(found, FedmviError) else "")
        return nothing, nothing
    balanced = Measure(found.balanced_accuracy_, found.balanced_accuracy_std_err_)
    if not math.isfinite(found.balanced_accuracy_):
        balanced = Measure(why="no cut-off could be chosen in training")
    return Measure(found.auc_, found.auc_std_err_), balanced


def _expected_of_site(told: Summary | FedmviError) -> tuple[Measure, Measure]:
    if isinstance(told, FedmviError):
        nothing = Measure(why=refusal(told)[1])
        return nothing, nothing
    if not int(told["estimable"]):
        nothing = Measure(why="not estimable: too few patients")
        return nothing, nothing
    (auc, auc_error), (balanced, balanced_error) = told["auc"].tolist(), told["balanced_accuracy"].tolist()
    known = Measure(balanced, balanced_error) if balanced else Measure(why="no cut-off could be chosen in training")
    return Measure(auc, auc_error), known
