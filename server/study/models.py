"""server/study: step: the logistic models: each predictor alone, all together, and the score that is frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.statistics.combat import CombatFit
from common.statistics.cutoffs import Cutoff, cutoffs
from common.statistics.imputation import chained_imputer
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.moments import Moments, moments
from common.statistics.quantiles import Guard, quantiles
from common.statistics.roc import RocResult, roc
from common.study.centres import shift_models
from common.study.coding import CodedColumn, coded_columns
from common.study.comparing import grouping_scores
from common.study.harmonised import harmonised_columns, ranges_after
from common.study.modelling import SCORE, Fixed
from common.study.protocol import Model, Study
from common.study.ranges import NUMBERS, filled_range
from common.study.recipe import Complete, DraftScore, Impute, Recipe, Resample, Score, Select
from common.study.scores import covariate_columns, needed_columns, plain_columns, score_terms
from common.study.scoring import Parts, merged
from server.study.harmonise import harmonisation, harmonising
from server.study.optimism import Optimism, corrected
from server.study.reduced import ReducedModel
from server.study.score_inputs import Filling, ScoreInput, Scores, training_recipe


@dataclass(frozen=True)
class FittedModel:
    """What fitting a logistic model gave; each part is a result or the error that it met.

    Attributes
    ----------
    columns
        All coded columns, scores among them.
    recipe
        From a site's table to the frame that the model was fitted on: with out-of-fold scores.
    moments
        Of each coded column, where known.
    alone, alone_auc
        Each column alone: regression and AUC, in the order of `columns`.
    fit
        All columns together; the formula itself of a model that is fixed.
    inputs
        What makes its columns anywhere; None where a score that it needs is not there.
    optimism
        Of the apparent area; None where the study asks for none.
    scores
        Of predictors that are scores: the model, or the network and its sequences, that they are of.
    cutoff
        Youden's cut-off of the training patients' scores, where groups are formed or centres compared by it; else None.
    harmonised
        How its columns are harmonised; None where they are not.
    chosen_at
        The cut-off with the table of the training patients on whom it was chosen, if there is one.
    """

    model: Model
    columns: tuple[CodedColumn, ...]
    recipe: Recipe
    moments: Moments | FedmviError
    alone: tuple[LogisticResult | FedmviError, ...]
    alone_auc: tuple[RocResult | FedmviError, ...]
    fit: LogisticResult | Fixed | FedmviError
    inputs: Parts | None
    optimism: Optimism | FedmviError | None = None
    scores: Mapping[str, str] = field(default_factory=dict)
    cutoff: float | FedmviError | None = None
    harmonised: CombatFit | FedmviError | None = None
    chosen_at: Cutoff | None = None

    @property
    def score(self) -> Score | None:
        """The frozen score, if the model could be fitted."""
        names, model, fit = tuple(column.name for column in self.columns), self.model, self.fit
        if isinstance(fit, Fixed):
            return Score(model.name, model.endpoint, names, fit.coefficients, fit.intercept)
        if isinstance(fit, FedmviError) or fit.separated_:
            return None
        return Score(model.name, model.endpoint, names, tuple(map(float, fit.coef_[1:])), float(fit.coef_[0]))

    @property
    def parts(self) -> Parts | None:
        """What makes the score anywhere."""
        if self.score is None or self.inputs is None:
            return None
        return replace(self.inputs, chain=(*self.inputs.chain, self.score))

    @property
    def scoring(self) -> Recipe | None:
        """The recipe that ends in the score, in any cohort but its own."""
        return None if self.parts is None else self.parts.recipe((self.model.endpoint,))

    @property
    def training(self) -> Recipe | None:
        """The recipe of the training patients' scores: of a model on scores, those from out-of-fold ones."""
        return None if self.score is None else self.recipe.then(self.score)


ScoredModel = FittedModel | ReducedModel


def fit_all(study: Study, scores: Scores | None = None) -> Conclusion[list[FittedModel]]:
    """Fit, in lock-step, every logistic model without scores among its predictors, or, given these, every other."""
    chosen = [m for m in study.models if m.reduction is None and bool(score_terms(m)) == (scores is not None)]
    return (yield from together(*(fit(study, model, scores) for model in chosen)))


def fit(study: Study, model: Model, scores: Scores | None = None) -> Conclusion[FittedModel]:
    """Fit one model: each column alone on its known values, and all columns together."""
    columns, plain = coded_columns(study, model.predictors), plain_columns(study, model)
    read = needed_columns(study, model)
    select = Recipe().then(Select(read)) if read else Recipe()
    terms = [scores.term(study, term) for term in score_terms(model)] if scores is not None else []
    missing = next((term for term in terms if isinstance(term, FedmviError)), None)
    harmonised = yield from attempt(harmonisation_of(study, model, select, read))
    if isinstance(harmonised, FedmviError):
        return _unscored(model, columns, harmonised, harmonised)
    select = select.then(*harmonising(harmonised))
    known: Moments | FedmviError = Moments((), *(np.empty(0) for _ in range(3)))
    if plain:
        known = yield from attempt(moments(model.cohort, select, tuple(column.name for column in plain)))
    filling = yield from attempt(filling_of(study, model, plain, select, known))
    if missing is not None:
        return _unscored(model, columns, missing, harmonised)
    inputs = [term for term in terms if isinstance(term, ScoreInput)]
    whole = filling if isinstance(filling, tuple) else ()
    recipe = training_recipe(model, read, whole, inputs, harmonising(harmonised))
    return (yield from _fitted(study, model, columns, read, select, recipe, known, filling, inputs, harmonised))


def harmonisation_of(
    study: Study, model: Model, select: Recipe, read: tuple[CodedColumn, ...]
) -> Conclusion[CombatFit | None]:
    """Fitted on the model's patients; where it fills missing values, on those of whom all is known that this needs."""
    needed = tuple(column.name for column in read)
    if model.missing != "complete-case":
        needed = tuple(c.name for c in (*harmonised_columns(study, model), *covariate_columns(study, model)))
    return (yield from harmonisation(study, model, select.then(Complete(needed, (model.endpoint,)))))


def _fitted(
    study: Study,
    model: Model,
    columns: tuple[CodedColumn, ...],
    read: tuple[CodedColumn, ...],
    select: Recipe,
    recipe: Recipe,
    known: Moments | FedmviError,
    filling: tuple[Filling, ...] | FedmviError,
    inputs: Sequence[ScoreInput],
    harmonised: CombatFit | None,
) -> Conclusion[FittedModel]:
    """All regressions of a model whose scores are there."""
    names, own, steps = tuple(c.name for c in columns), {c.name for c in read}, harmonising(harmonised)
    alone, alone_auc = [], []
    for name in names:
        needed = (name, *(covariate for step in steps if name in step.names for covariate in step.covariates))
        single = select.then(Complete(needed, (model.endpoint,))) if name in own else recipe
        alone.append(attempt(logistic(model.cohort, single, model.endpoint, (name,), model.name)))
        alone_auc.append(attempt(roc(model.cohort, single, model.endpoint, name)))
    scored = tuple(name for name in names if name not in own)
    spread = [attempt(moments(model.cohort, recipe, scored))] if scored else []
    whole = attempt(_whole(model, recipe, filling, names))
    answers = yield from together(whole, *alone, *alone_auc, *spread)
    k, all_known = len(names), known
    if scored:
        all_known = _joined(names, known, answers[-1])
    fit = answers[0]
    optimism, cut = yield from together(
        attempt(_optimism(study, model, recipe, names, fit)), attempt(_cutoff(study, model, recipe, names, fit))
    )
    use = Parts(read, (), filling if isinstance(filling, tuple) else (), tuple(c.name for c in read), (), steps)
    return FittedModel(
        model, columns, recipe, all_known, tuple(answers[1 : k + 1]), tuple(answers[k + 1 : 2 * k + 1]), fit,
        merged([use, *(one.use for one in inputs)]), optimism, {one.name: one.source for one in inputs},
        cut.value_ if isinstance(cut, Cutoff) else cut, harmonised, cut if isinstance(cut, Cutoff) else None,
    )  # fmt: skip


def _unscored(
    model: Model,
    columns: tuple[CodedColumn, ...],
    why: FedmviError,
    harmonised: CombatFit | FedmviError | None = None,
) -> FittedModel:
    """A model that lacks a score, or whose columns could not be harmonised."""
    nothing = tuple(why for _ in columns)
    return FittedModel(model, columns, Recipe(), why, nothing, nothing, why, None, harmonised=harmonised)


def _joined(
    names: tuple[str, ...], plain: Moments | FedmviError, scored: Moments | FedmviError
) -> Moments | FedmviError:
    """Moments of all columns, in their order."""
    if isinstance(plain, FedmviError) or isinstance(scored, FedmviError):
        return plain if isinstance(plain, FedmviError) else scored
    order = [(*plain.columns, *scored.columns).index(name) for name in names]
    parts = zip((plain.n_, plain.mean_, plain.std_), (scored.n_, scored.mean_, scored.std_), strict=True)
    return Moments(names, *(np.concatenate(pair)[order] for pair in parts))


def _whole(
    model: Model, recipe: Recipe, filling: tuple[Filling, ...] | FedmviError, names: tuple[str, ...]
) -> Conclusion[LogisticResult | Fixed]:
    """All columns together; without the imputer that the model declares there is no such fit."""
    if isinstance(filling, FedmviError):
        raise filling
    if model.fixed is not None:
        return model.fixed
    return (yield from logistic(model.cohort, recipe, model.endpoint, names, model.name))


def _optimism(
    study: Study, model: Model, recipe: Recipe, names: tuple[str, ...], fit: LogisticResult | Fixed | FedmviError
) -> Conclusion[Optimism | None]:
    """Of the regression, and of the cut-off where the fall of decisions is looked at.

    Scores among the predictors are out-of-fold ones, and stay: a score is drafted once in a run, because every draft
    is a function of the server's choice whose values further questions tell (`client.release.model_scope`).
    """
    if not model.optimism:
        return None
    if isinstance(fit, FedmviError):
        raise fit
    sets = [recipe.then(Resample(b + 1, model.endpoint)) for b in range(model.optimism)]
    fits: list[LogisticResult | FedmviError] = yield from together(
        *(attempt(logistic(model.cohort, one, model.endpoint, names, model.name)) for one in sets)
    )
    formulas = [
        None
        if isinstance(one, FedmviError) or one.separated_
        else (names, tuple(map(float, one.coef_[1:])), float(one.coef_[0]))
        for one in fits
    ]
    cell = study.limits.min_cell if model.name in shift_models(study) else None
    return (yield from corrected(model, recipe, formulas, cell))


def _cutoff(
    study: Study, model: Model, recipe: Recipe, names: tuple[str, ...], fit: LogisticResult | Fixed | FedmviError
) -> Conclusion[Cutoff | None]:
    """Youden's cut-off of the fitted model in its training patients, if groups are formed by its score, centres are
    compared by it, or it is recalibrated."""
    used = {*shift_models(study), *(one.model for one in study.recalibrations)}
    grouping = {*(one.group for one in study.comparisons), *grouping_scores(study)}
    if f"{SCORE}{model.name}" not in grouping and model.name not in used:
        return None
    if isinstance(fit, FedmviError):
        raise fit
    if isinstance(fit, Fixed):
        coef, intercept = fit.coefficients, fit.intercept
    elif fit.separated_:
        return None  # there is no score either
    else:
        coef, intercept = tuple(map(float, fit.coef_[1:])), float(fit.coef_[0])
    draft = DraftScore(model.name, model.endpoint, names, (coef,), (intercept,))
    scored, cell = recipe.then(draft), study.limits.min_cell
    found = yield from cutoffs(model.cohort, scored, model.endpoint, (draft.column,), min_cell=cell)
    return found[0]


def filling_of(
    study: Study, model: Model, columns: tuple[CodedColumn, ...], select: Recipe, known: Moments | FedmviError
) -> Conclusion[tuple[Filling, ...]]:
    """How missing values of the tables' columns are filled, as the model says; no outcome is used.

    Raises
    ------
    FedmviError
        What the imputer met.
    """
    names = tuple(column.name for column in columns)
    if model.missing == "complete-case" or not columns:
        return ()
    if isinstance(known, FedmviError):
        raise known
    if model.missing == "chained":
        low, high = zip(*(filled_range(study, column) for column in columns), strict=True)
        chained = yield from chained_imputer(model.cohort, select, names, low, high)
        return (chained.step_,)
    values = known.mean_.copy()
    # The median of a binary column is a level itself, and whom it fills would be taken for known.
    numbers = [i for i, column in enumerate(columns) if column.coding in NUMBERS]
    if model.missing == "median" and numbers:
        ranges = ranges_after(study, model, select)
        low, high = zip(*(ranges[names[i]] for i in numbers), strict=True)
        guard = Guard(low, high, study.limits.min_cell)
        fit = yield from quantiles(model.cohort, select, tuple(names[i] for i in numbers), (0.5,), guard)
        values[numbers] = fit.at(0.5)
    unknown = [name for name, value in zip(names, values, strict=True) if np.isnan(value)]
    if unknown:
        raise FedmviError(611, column=unknown[0], cohort=model.cohort)
    return (Impute(names, tuple(values.tolist())),)


def refusal(error: FedmviError) -> tuple[str, str]:
    """Status and note of a result that met an error: the gate refused, or it cannot be estimated."""
    by = f"Site {error.site}: " if error.site else ""
    return ("refused" if 400 <= error.number < 500 else "not-estimable"), f"{by}{error.code}: {error.what} {error.do}"
