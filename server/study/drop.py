"""server/study: step: what the fall of a score's performance is made of, from its training patients to others.

apparent -> out of fold (optimism) -> expected of these patients if the risks were right (case mix and label rate) ->
observed (what is left: the model is wrong there). The third is the model-based concordance (see `case_mix`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.query import each
from common.federation.runner import Conclusion, attempt, together
from common.statistics.case_mix import CaseMixAlone, ExpectedPerformance, case_mix
from common.statistics.confusion import ConfusionResult, confusion
from common.study.protocol import Study
from common.study.recipe import Recipe
from server.study.centres import Tables, Told, ask_centres, at_cutoff, looked_at
from server.study.models import ScoredModel

Expected = ExpectedPerformance | Told
"""Over all sites of a cohort, or by site of one of too few to be summed."""


@dataclass(frozen=True)
class Steps:
    """What is known of the fall of one model's performance in one cohort; each part is a result or its error.

    Attributes
    ----------
    training
        Table of the training patients at the frozen cut-off.
    expected
        Expected performance of the cohort: over its sites, or, where these are too few to be summed, what each says.
    observed
        Table of the cohort at the frozen cut-off, or what each site says of how the model does there.
    """

    model: ScoredModel
    cohort: str
    training: ConfusionResult | FedmviError
    expected: Expected | FedmviError
    observed: ConfusionResult | Told | FedmviError


def split_drops(study: Study, fitted: Sequence[ScoredModel]) -> Conclusion[list[Steps]]:
    """Ask what the fall is made of, for every model of [shift] in every cohort in which it is evaluated; one round."""
    pairs = [(model, name) for model in looked_at(study, fitted) for name in model.model.evaluate]
    return (yield from together(*(_steps(study, model, name) for model, name in pairs)))


def answers_alone(study: Study, cohort: str) -> bool:
    """Whether the cohort has too few sites to be summed, so that each answers by itself."""
    return len(study.cohort(cohort).sites) < study.limits.min_sites


def _steps(study: Study, model: ScoredModel, cohort: str) -> Conclusion[Steps]:
    here = ask_centres(study, model, cohort) if answers_alone(study, cohort) else _table(model, cohort, own=False)
    table, expected, observed = yield from together(
        attempt(_table(model, model.model.cohort, own=True)), attempt(_expected(study, model, cohort)), attempt(here)
    )
    return Steps(model, cohort, table, expected, observed)


def _expected(study: Study, model: ScoredModel, cohort: str) -> Conclusion[Expected]:
    recipe, score = at_cutoff(model), model.score
    if recipe is None or score is None:
        raise FedmviError(604, model=model.model.name)
    return (yield from expected_of(study, cohort, recipe, score.column))


def expected_of(study: Study, cohort: str, recipe: Recipe, column: str) -> Conclusion[Expected]:
    """What a score would reach in a cohort if its risks were right, at the cut-off that the recipe ends in.

    Raises
    ------
    FedmviError
        601 fewer than two patients; and those of the sites.
    """
    if not answers_alone(study, cohort):
        return (yield from case_mix(cohort, recipe, column))
    limits = study.limits
    told: Told = yield each(CaseMixAlone(cohort, recipe, column, limits.min_test_class, min_cell=limits.min_cell))
    return told


def _table(model: ScoredModel, cohort: str, *, own: bool) -> Conclusion[ConfusionResult]:
    """The table at the frozen cut-off; error 641 where there is no cut-off."""
    recipe, score, cutoff = at_cutoff(model, own=own), model.score, model.cutoff
    if isinstance(cutoff, FedmviError):
        raise cutoff
    if recipe is None or score is None or cutoff is None:
        raise FedmviError(641, column=model.model.name, cohort=cohort)
    return (yield from confusion(cohort, recipe, model.model.endpoint, (score.column,), np.array([cutoff])))


def tables_of(found: Sequence[Steps]) -> Tables:
    """The tables over all sites of a cohort, by model and cohort."""
    summed = [one for one in found if isinstance(one.observed, ConfusionResult | FedmviError)]
    return {(one.model.model.name, one.cohort): one.observed for one in summed}  # type: ignore[misc]
