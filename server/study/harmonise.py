"""server/study: step: features on one scale at every hospital: fitted on the training cohort, frozen, and published.

It knows no outcome, so nothing about it is optimistic: it is fitted once, on all training patients, before folds and
bootstrap sets are taken, and would be the same for other outcomes. What it does with a hospital that took no part is
what it did with those that did: location and scale are the hospital's own, less what chance alone would make of them.
"""

from __future__ import annotations

from dataclasses import replace

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.combat import CombatFit, combat
from common.statistics.unfit_columns import fit_columns
from common.study.harmonisation import Combat
from common.study.harmonised import harmonised_columns, plausible_step
from common.study.protocol import Model, Study
from common.study.ranges import narrowest
from common.study.recipe import Recipe
from common.study.scores import covariate_columns


def harmonisation(study: Study, model: Model, recipe: Recipe) -> Conclusion[CombatFit | None]:
    """How a model's columns are harmonised; None where the study does not say so.

    The recipe leaves those patients of the training cohort of whom all is known that this needs.

    Raises
    ------
    FedmviError
        643 numbers that no site takes, 659 no column varies at every hospital; and those of `combat`.
    """
    if model.harmonise is None:
        return None
    columns, covariates = harmonised_columns(study, model), covariate_columns(study, model)
    if model.reduction is not None:
        # What does not vary at some hospital leaves the model anyhow, and there is nothing to harmonise.
        whole = tuple(column.name for column in columns)
        varying = yield from fit_columns(model.cohort, recipe, whole, study.limits.min_cell)
        columns = tuple(column for column in columns if column.name in varying)
    if not columns:
        raise FedmviError(659, model=model.name)
    found = yield from combat(
        model.cohort,
        recipe,
        tuple(column.name for column in columns),
        tuple(column.name for column in covariates),
        narrowest=tuple(narrowest(study, column) for column in (*columns, *covariates)),
    )
    fit = replace(found, model=model.name, training=model.cohort)
    if not all(plausible_step(study, model, step) for step in harmonising(fit)):
        raise FedmviError(643, model=model.name)
    return fit


def harmonising(fit: CombatFit | None) -> tuple[Combat, ...]:
    """The frozen step, in a tuple; empty where nothing is harmonised. One feature has no others to borrow from."""
    return () if fit is None else (fit.step(eb=len(fit.columns) > 1, bounded=True),)
