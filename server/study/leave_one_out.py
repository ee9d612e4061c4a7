"""server/study: step: every model of [shift] without each training hospital, measured at the hospital left out.

What a model reaches at a hospital that it never saw is what a new hospital may expect (Debray et al., Stat Med
2013;32:3158; Steyerberg & Harrell, J Clin Epidemiol 2016;69:245). All of it is developed anew without the hospital:
what fills missing values, how features are harmonised, the reduction and its penalty. All models and hospitals are
asked in lock-step, so that leaving out ten hospitals costs the rounds of one model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import FedmviError
from common.federation.query import each
from common.federation.runner import Conclusion, attempt, together
from common.statistics.logistic import logistic
from common.statistics.moments import Moments, moments
from common.statistics.roc import RocAlone
from common.study.centres import Only, Without
from common.study.protocol import Model, Study
from common.study.recipe import DraftScore, Recipe, Select
from common.study.scores import needed_columns, plain_columns
from server.study import models, reduced
from server.study.centre_areas import Area, best_of, told_area
from server.study.harmonise import harmonisation, harmonising
from server.study.score_inputs import training_recipe


@dataclass(frozen=True)
class Formula:
    """A model that was developed without a hospital.

    Attributes
    ----------
    base
        From a site's table to the patients whom the model can score: without the step that leaves the hospital out.
    names, coef, intercept
        The formula on the columns of `base`.
    """

    base: Recipe
    names: tuple[str, ...]
    coef: tuple[float, ...]
    intercept: float


@dataclass(frozen=True)
class LeftOutModel:
    """A model without each training hospital.

    Attributes
    ----------
    formulas
        By the hospital left out; the error that the development met.
    areas
        By hospital, of the model developed without it; the error that development or measurement met.
    """

    model: Model
    formulas: Mapping[str, Formula | FedmviError]
    areas: Mapping[str, Area | FedmviError]


@dataclass(frozen=True)
class LeftOut:
    """All models of [shift], in its order, and the name of the best; "" where none could be compared."""

    models: tuple[LeftOutModel, ...]
    chosen: str


def leave_one_centre_out(study: Study) -> Conclusion[LeftOut | None]:
    """Develop every model of [shift] without each training hospital, and measure it there; None where not declared.

    An error belongs to its model and hospital: the others are measured all the same.
    """
    if study.shift is None or not study.shift.leave_one_centre_out:
        return None
    chosen = [model for name in study.shift.models for model in study.models if model.name == name]
    sites = sorted(study.cohort(chosen[0].cohort).sites)
    pairs = [(model, site) for model in chosen for site in sites]
    formulas = yield from together(*(attempt(_developed(study, model, site)) for model, site in pairs))
    areas = yield from together(
        *(attempt(_measured(study, model, site, one)) for (model, site), one in zip(pairs, formulas, strict=True))
    )
    k = len(sites)
    found = tuple(
        LeftOutModel(
            model,
            dict(zip(sites, formulas[i * k : (i + 1) * k], strict=True)),
            dict(zip(sites, areas[i * k : (i + 1) * k], strict=True)),
        )
        for i, model in enumerate(chosen)
    )
    return LeftOut(found, best_of({one.model.name: one.areas for one in found}))


def _developed(study: Study, model: Model, site: str) -> Conclusion[Formula]:
    if model.fixed is not None:
        names = tuple(column.name for column in plain_columns(study, model))
        base = training_recipe(model, plain_columns(study, model), (), ())
        return Formula(base, names, model.fixed.coefficients, model.fixed.intercept)
    if model.reduction is not None:
        harmonised = yield from harmonisation(study, model, _without(site, reduced.base_recipe(model)))
        base = reduced.base_recipe(model, harmonised)
        score = yield from reduced.reduced_on(study, model, _without(site, base))
        return Formula(base, score.names_, score.coef_, score.intercept_)
    return (yield from _plain(study, model, site))


def _plain(study: Study, model: Model, site: str) -> Conclusion[Formula]:
    """A logistic regression on all predictors, and what fills their missing values; 636 where the classes separate."""
    plain, read = plain_columns(study, model), needed_columns(study, model)
    names = tuple(column.name for column in plain)
    select = _without(site, Recipe((Select(read),)))
    steps = harmonising((yield from models.harmonisation_of(study, model, select, read)))
    select = select.then(*steps)
    known: Moments | FedmviError = yield from attempt(moments(model.cohort, select, names))
    filling = yield from models.filling_of(study, model, plain, select, known)
    base = training_recipe(model, read, filling, (), steps)
    fit = yield from logistic(model.cohort, _without(site, base), model.endpoint, names, model.name)
    if fit.separated_:
        raise FedmviError(636, model=model.name, site=site)
    return Formula(base, names, tuple(map(float, fit.coef_[1:])), float(fit.coef_[0]))


def _without(site: str, recipe: Recipe) -> Recipe:
    return Recipe((Without(site), *recipe.steps))


def _measured(study: Study, model: Model, site: str, formula: Formula | FedmviError) -> Conclusion[Area]:
    """The area at the hospital left out, which it tells of itself alone."""
    if isinstance(formula, FedmviError):
        raise formula
    if not formula.names:
        return Area(0.5, 0.0)  # nothing was found, and a score that is the same for everybody orders nobody
    draft = DraftScore(model.name, model.endpoint, formula.names, (formula.coef,), (formula.intercept,))
    recipe = Recipe((Only(site), *formula.base.steps, draft))
    limits = study.limits
    told = yield each(
        RocAlone(
            model.cohort, recipe, endpoint=model.endpoint, column=draft.column, min_class=limits.min_test_class,
            min_cell=limits.min_cell,
        )
    )  # fmt: skip
    area = told_area(told[site], site, limits.min_test_class, model.endpoint)
    if isinstance(area, FedmviError):
        raise area
    return area
