"""server/study: step: what the fall of a model's performance is made of, from its training patients to others.

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
from server.study.centres import Tables, Told, ask_centres, at_cutoff, looked_at
from server.study.models import ScoredModel


@dataclass(frozen=True)
class Steps:
    """What is known of the fall of one model's performance in one cohort; each part is a result or its error.

    Attributes
    ----------
    training
        Table of the training patients at the frozen cut-off.
    expected, here
        Expected performance and table of the cohort, where its sites are summed; else None.
    alone
        Of a cohort of too few sites: what each says of its expected performance, and of the observed one; else None.
    """

    model: ScoredModel
    cohort: str
    training: ConfusionResult | FedmviError
    expected: ExpectedPerformance | FedmviError | None = None
    here: ConfusionResult | FedmviError | None = None
    alone: tuple[Told | FedmviError, Told | FedmviError] | None = None


def split_drops(study: Study, fitted: Sequence[ScoredModel]) -> Conclusion[list[Steps]]:
    """Ask what the fall is made of, for every model of [shift] in every cohort in which it is evaluated; one round."""
    pairs = [(model, name) for model in looked_at(study, fitted) for name in model.model.evaluate]
    return (yield from together(*(_steps(study, model, name) for model, name in pairs)))


def _steps(study: Study, model: ScoredModel, cohort: str) -> Conclusion[Steps]:
    training = attempt(_table(model, model.model.cohort, own=True))
    if len(study.cohort(cohort).sites) < study.limits.min_sites:
        alone = attempt(_expected_alone(study, model, cohort)), attempt(ask_centres(study, model, cohort))
        table, expected, observed = yield from together(training, *alone)
        return Steps(model, cohort, table, alone=(expected, observed))
    table, expected, here = yield from together(
        training, attempt(_expected(model, cohort)), attempt(_table(model, cohort, own=False))
    )
    return Steps(model, cohort, table, expected, here)


def _expected(model: ScoredModel, cohort: str) -> Conclusion[ExpectedPerformance]:
    recipe, score = at_cutoff(model), model.score
    if recipe is None or score is None:
        raise FedmviError(604, model=model.model.name)
    return (yield from case_mix(cohort, recipe, score.column))


def _expected_alone(study: Study, model: ScoredModel, cohort: str) -> Conclusion[Told]:
    recipe, score = at_cutoff(model), model.score
    if recipe is None or score is None:
        raise FedmviError(604, model=model.model.name)
    limits = study.limits
    told: Told = yield each(CaseMixAlone(cohort, recipe, score.column, limits.min_test_class, min_cell=limits.min_cell))
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
    return {(one.model.model.name, one.cohort): one.here for one in found}
