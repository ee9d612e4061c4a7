"""server/study: step: the discrimination of frozen models in subgroups, with one test of interaction a variable.

Areas are those of the score in public bins, the same for all subgroups: with exact scores the counts of several
subgroups could be joined, patient by patient. The test asks whether the areas of a variable's levels, which are those
of different patients, differ by more than chance: Cochran's Q with DeLong's variances. Subgroups have no p values of
their own (Wang et al., N Engl J Med 2007;357:2189).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.federation.query import total
from common.federation.runner import Conclusion, attempt, together
from common.published.results import EVERYONE, Estimate, Result
from common.statistics.confusion import ThresholdCounts
from common.statistics.distributions import chi2_p
from common.statistics.roc import RocResult, delong
from common.study.dividing import Divided, divided, subset_recipe
from common.study.protocol import Study
from common.study.recipe import Recipe
from common.study.scoring import frozen_prefixes
from common.study.subgroups import BINS, THRESHOLDS, Subgroups
from server.study.models import ScoredModel, refusal
from server.study.subject import number


@dataclass(frozen=True)
class _Level:
    """A subgroup: what divides, the place of its level, and its area or the error that it met."""

    part: Divided
    level: int
    area: RocResult | FedmviError


def frozen_subgroups(study: Study, fitted: Sequence[ScoredModel]) -> set[str]:
    """Digests of the recipes of all subgroups, each up to a score: frozen with the models."""
    digests = set()
    for subgroups in study.subgroups:
        scoring = _scoring(study, subgroups, fitted)
        for part in divided(study, subgroups) if scoring is not None else ():
            for level in range(len(part.levels)):
                recipe = subset_recipe(study, subgroups, scoring, part, level) if scoring is not None else Recipe()
                digests |= frozen_prefixes(recipe)
    return digests


def _scoring(study: Study, subgroups: Subgroups, fitted: Sequence[ScoredModel]) -> Recipe | None:
    """The recipe of everybody's score; None where the model could not be fitted."""
    model = next(model for model in fitted if model.model.name == subgroups.model)
    keys = study.endpoint(model.model.endpoint).keys
    return model.parts.recipe(keys) if model.parts is not None else None


def analyse_subgroups(study: Study, fitted: Sequence[ScoredModel]) -> Conclusion[list[Result]]:
    """All subgroups of the study, in one round."""
    return (yield from together(*(_one(study, subgroups, fitted) for subgroups in study.subgroups)))


def _one(study: Study, subgroups: Subgroups, fitted: Sequence[ScoredModel]) -> Conclusion[Result]:
    scoring = _scoring(study, subgroups, fitted)
    if scoring is None:
        return _result(study, subgroups, status="not-estimable", note="The model could not be fitted.")
    endpoint = next(m.endpoint for m in study.models if m.name == subgroups.model)
    parts = [(part, level) for part in divided(study, subgroups) for level in range(len(part.levels))]
    recipes = [subset_recipe(study, subgroups, scoring, part, level) for part, level in parts]
    areas = yield from together(*(attempt(_area(subgroups, recipe, endpoint)) for recipe in (scoring, *recipes)))
    levels = [_Level(part, level, area) for (part, level), area in zip(parts, areas[1:], strict=True)]
    return _published(study, subgroups, areas[0], levels)


def _area(subgroups: Subgroups, recipe: Recipe, endpoint: str) -> Conclusion[RocResult]:
    """The area of the binned score with DeLong's standard error; error 602 with one class only."""
    score, thresholds = f"score.{subgroups.model}", np.array([THRESHOLDS])
    sums = yield total(ThresholdCounts(subgroups.cohort, recipe, (score,), endpoint, thresholds))
    n, above = sums["n"][0], sums["positive"][0]
    if not bool(np.all(n > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=subgroups.cohort)
    ends = np.vstack([n, above, np.zeros_like(n)])
    bins = ends[:-1] - ends[1:]
    return RocResult(bins[:, 0], bins[:, 1], *delong(bins[:, 0], bins[:, 1]), 1)


# ------------------------------------------------------------------------------------------------ what is published


def _result(study: Study, subgroups: Subgroups, **facts: Any) -> Result:
    return Result(
        id=f"subgroups.{subgroups.name}",
        statistic="subgroups",
        title=subgroups.label or f"Subgroups: {subgroups.name}",
        cohort=subgroups.cohort,
        sites=sorted(study.cohort(subgroups.cohort).sites),
        how=f"binned({BINS})",
        **facts,
    )


def _published(study: Study, subgroups: Subgroups, whole: RocResult | FedmviError, levels: list[_Level]) -> Result:
    if isinstance(whole, FedmviError):
        status, note = refusal(whole)
        return _result(study, subgroups, status=status, note=note)
    title = next(m.title for m in study.models if m.name == subgroups.model)
    found = _estimates(EVERYONE, whole, study, told=True)
    for part in dict.fromkeys(one.part.column for one in levels):
        own = [one for one in levels if one.part.column == part]
        told = _events_may_be_told(whole, own, study.limits.min_cell)
        for one in own:
            found += _level(one, study, told=told)
        found += _interaction(own, study)
    events = whole.events_ if min(whole.events_, whole.n_ - whole.events_) >= study.limits.min_cell else None
    note = (
        f"{title}. Areas of the score in {BINS} bins; intervals: DeLong. One test of interaction a variable, Cochran's "
        "Q; subgroups are not tested one by one."
    )
    return _result(study, subgroups, n=whole.n_, events=events, estimates=found, note=note)


def _events_may_be_told(whole: RocResult, levels: list[_Level], cell: int) -> bool:
    """Whether those in no subgroup, whom subtraction tells, are enough in each class, or none."""
    areas = [one.area for one in levels if isinstance(one.area, RocResult)]
    if len(areas) < len(levels):
        return True  # what is left of everybody has a whole level in it
    events = whole.events_ - sum(area.events_ for area in areas)
    others = whole.n_ - sum(area.n_ for area in areas) - events
    return not (0 < events < cell or 0 < others < cell)


def _term(one: _Level) -> str:
    return f"{one.part.variable.title}: {one.part.levels[one.level]}"


def _level(one: _Level, study: Study, *, told: bool) -> list[Estimate]:
    if isinstance(one.area, FedmviError):
        return [Estimate(name="auc", term=_term(one), value=None, note=refusal(one.area)[1])]
    return _estimates(_term(one), one.area, study, told=told)


def _estimates(term: str, area: RocResult, study: Study, *, told: bool) -> list[Estimate]:
    fewest = min(area.events_, area.n_ - area.events_)
    events = float(area.events_) if told and fewest >= study.limits.min_cell else None
    found = [
        Estimate(name="patients", term=term, value=float(area.n_)),
        Estimate(name="events", term=term, value=events),
    ]
    if not _estimable(area, study):
        why = f"fewer than {study.limits.min_test_class} patients in a class"
        return [*found, Estimate(name="auc", term=term, value=None, note=why)]
    low, high = area.interval
    auc = Estimate(name="auc", term=term, value=area.auc_, low=low, high=high, std_err=number(area.std_err_))
    return [*found, auc]


def _estimable(area: RocResult | FedmviError, study: Study) -> bool:
    if isinstance(area, FedmviError):
        return False
    return min(area.events_, area.n_ - area.events_) >= study.limits.min_test_class


def _interaction(levels: list[_Level], study: Study) -> list[Estimate]:
    """Whether the areas of a variable's levels differ: Q about their weighted mean is chi-square on levels - 1."""
    areas = [one.area for one in levels if isinstance(one.area, RocResult) and _estimable(one.area, study)]
    term = levels[0].part.variable.title
    if len(areas) < 2 or not all(area.std_err_ > 0 for area in areas):
        return [Estimate(name="interaction_chi2", term=term, value=None, note="fewer than two areas")]
    q, degrees = cochran_q([area.auc_ for area in areas], [area.std_err_ for area in areas])
    less = "" if len(areas) == len(levels) else f"; of {len(areas)} of {len(levels)} levels"
    p = chi2_p(q, degrees)
    return [Estimate(name="interaction_chi2", term=term, value=q, p=number(p), note=f"df={degrees}{less}")]


def cochran_q(estimates: Sequence[float], std_errs: Sequence[float]) -> tuple[float, int]:
    """Cochran's Q of independent estimates and its degrees of freedom (Biometrics 1954;10:101)."""
    value, weight = np.array(estimates), 1.0 / np.square(np.array(std_errs))
    mean = math.fsum(weight * value) / math.fsum(weight)
    return math.fsum(weight * np.square(value - mean)), len(value) - 1
