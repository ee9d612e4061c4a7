"""server/study: what is published of the fall of a model's performance: where its steps come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.published.results import Result
from common.statistics.case_mix import BINS
from common.statistics.confusion import ConfusionResult
from common.statistics.cutoffs import Cutoff
from common.statistics.roc import RocResult
from common.study.protocol import Study
from common.study.table import FloatArray
from server.study.drop import Steps, answers_alone
from server.study.drop_steps import (
    Fall,
    Measure,
    area_of,
    balanced_of,
    expected_at,
    expected_over,
    of_site,
    published_fall,
)
from server.study.evaluation import alone_base
from server.study.models import FittedModel, ScoredModel, refusal
from server.study.optimism import Optimism


def publish_drops(study: Study, found: Sequence[Steps], evaluated: Sequence[Result]) -> list[Result]:
    """One result a model and cohort; of a cohort of too few sites one a site. `evaluated` has the areas."""
    by_id = {result.id: result for result in evaluated}
    published = []
    for steps in found:
        if answers_alone(study, steps.cohort):
            published += [_alone(study, steps, site, by_id) for site in sorted(study.cohort(steps.cohort).sites)]
        else:
            published.append(_pooled(study, steps, by_id))
    return published


def _base(study: Study, steps: Steps) -> dict[str, Any]:
    model = steps.model.model
    return {
        "id": f"model.{model.name}.drop.{steps.cohort}",
        "title": f"What the fall of {model.title} is made of, cohort {steps.cohort}",
        "cohort": steps.cohort,
        "sites": sorted(study.cohort(steps.cohort).sites),
        "how": f"binned({BINS})",
    }


def _pooled(study: Study, steps: Steps, by_id: dict[str, Result]) -> Result:
    model, cell = steps.model, study.limits.min_cell
    result = by_id[f"model.{model.model.name}.auc.{steps.cohort}"]
    table = _table(steps.observed, cell)
    expected = expected_over(steps.expected)
    areas = [*_training_areas(model, by_id), expected[0], area_of(result)]
    balanced = [*_training_tables(steps, cell), expected[1], balanced_of(table, _why(steps.observed))]
    return published_fall(
        Fall(_base(study, steps), result, areas, balanced, table, _cutoff(model), _spread_of_optimism(model))
    )


def _alone(study: Study, steps: Steps, site: str, by_id: dict[str, Result]) -> Result:
    """The same of one site, by what it says of itself."""
    model, cell = steps.model, study.limits.min_cell
    base, observed = alone_base(_base(study, steps), site), of_site(steps.observed, site)
    result = by_id.get(f"model.{model.model.name}.auc.{steps.cohort}.{site}")
    if result is None or isinstance(observed, FedmviError):
        status, why = refusal(observed) if isinstance(observed, FedmviError) else ("not-estimable", "No area is there.")
        return Result.model_validate({**base, "statistic": "performance-drop", "status": status, "note": why})
    table = np.asarray(observed["table"], dtype=np.float64)
    shown = table if int(observed["estimable"]) and bool(np.all(table >= 0)) else None
    told = expected_at(steps.expected, site)
    areas = [*_training_areas(model, by_id), told[0], area_of(result)]
    balanced = [*_training_tables(steps, cell), told[1], balanced_of(shown)]
    return published_fall(Fall(base, result, areas, balanced, shown, _cutoff(model), _spread_of_optimism(model)))


def _cutoff(model: ScoredModel) -> float | None:
    return model.cutoff if isinstance(model.cutoff, float) else None


def _training_areas(model: ScoredModel, by_id: dict[str, Result]) -> tuple[Measure, Measure]:
    """Apparent, and out of fold or, of a model without folds, less its optimism by the bootstrap."""
    apparent = area_of(by_id.get(f"model.{model.model.name}.auc.{model.model.cohort}"))
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
    apparent = balanced_of(_table(steps.training, cell), _why(steps.training))
    if isinstance(steps.model, FittedModel):
        optimism = steps.model.optimism
        mean = optimism.mean_balanced if isinstance(optimism, Optimism) else math.nan
        return apparent, _less_optimism(apparent, optimism, mean)
    chosen = steps.model.chosen_at
    return apparent, balanced_of(_of_choice(chosen, cell) if chosen is not None else None)


def _why(found: object) -> str:
    return refusal(found)[1] if isinstance(found, FedmviError) else ""


def _of_choice(chosen: Cutoff, cell: int) -> FloatArray | None:
    counts = chosen.table_
    return None if bool(np.any((counts > 0) & (counts < cell))) else counts.astype(np.float64)


def _table(found: object, cell: int) -> FloatArray | None:
    """(2, 2) patients by class and test; None where a count is small, or there is none."""
    if not isinstance(found, ConfusionResult):
        return None
    counts = found.counts_[0]
    return None if bool(np.any((counts > 0) & (counts < cell))) else counts.astype(np.float64)
