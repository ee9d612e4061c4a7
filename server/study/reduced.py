"""server/study: step: the models whose predictors are reduced to a score, and what scores training patients fairly.

A training patient's score is that of the model that was developed without the patient's fold: of everything, from the
first filter to the penalty. By these scores a model's cut-off is chosen, and one of several models; they are what
further models are fitted on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.statistics.combat import CombatFit
from common.statistics.cutoffs import Cutoff, cutoffs
from common.statistics.reduced_score import ReducedScore, reduced_score
from common.statistics.roc import RocResult, roc
from common.study.analyses import FOLDS
from common.study.coding import coded_columns
from common.study.harmonisation import Combat
from common.study.modelling import Choice
from common.study.protocol import Model, Study
from common.study.ranges import narrowest
from common.study.recipe import Complete, DraftScore, Fold, ModelColumns, Outside, Recipe, Resample, Score
from common.study.scores import network_choices
from common.study.scoring import Parts
from server.study.harmonise import harmonisation, harmonising
from server.study.optimism import Optimism, corrected


@dataclass(frozen=True)
class ReducedModel:
    """What the development of a model with a reduction gave; each part is a result or the error that it met.

    Attributes
    ----------
    base
        From a site's table to the patients of whom all columns are known, harmonised where the study says so.
    whole
        The model: developed on everybody.
    by_fold
        As `whole`, without each fold.
    draft
        The out-of-fold score.
    area, cutoff
        Of the out-of-fold scores: area under the curve, and Youden's cut-off, which is frozen.
    optimism
        Of the apparent area; None where the study asks for none.
    harmonised
        How its columns are harmonised; None where they are not.
    chosen_at
        The cut-off with the table of the out-of-fold scores on which it was chosen, if there is one.
    """

    model: Model
    base: Recipe
    whole: ReducedScore | FedmviError
    by_fold: tuple[ReducedScore | FedmviError, ...]
    draft: DraftScore | FedmviError
    area: RocResult | FedmviError
    cutoff: float | FedmviError
    optimism: Optimism | FedmviError | None
    harmonised: CombatFit | FedmviError | None = None
    chosen_at: Cutoff | None = None

    @property
    def harmonising(self) -> tuple[Combat, ...]:
        """What harmonises its columns, if the study has them harmonised."""
        return tuple(step for step in self.base.steps if isinstance(step, Combat))

    @property
    def score(self) -> Score | None:
        """The frozen score; None where nothing was found, or the development failed."""
        if isinstance(self.whole, FedmviError) or self.whole.empty or isinstance(self.draft, FedmviError):
            return None
        whole = self.whole
        return Score(self.model.name, self.model.endpoint, whole.names_, whole.coef_, whole.intercept_)

    @property
    def parts(self) -> Parts | None:
        """What makes the score anywhere."""
        if self.score is None:
            return None
        read = ModelColumns(self.model.name)
        return Parts((), (read,), (), (read.complete,), (self.score,), self.harmonising)

    @property
    def scoring(self) -> Recipe | None:
        """The recipe that ends in the score, in any cohort."""
        return None if self.parts is None else self.parts.recipe((self.model.endpoint,))

    @property
    def training(self) -> Recipe | None:
        """The recipe of the training patients' scores, by the model that they are in: apparent ones."""
        return self.scoring

    @property
    def out_of_fold(self) -> Recipe | None:
        """The recipe of the training patients' out-of-fold scores."""
        if isinstance(self.draft, FedmviError):
            return None
        return self.base.then(Fold(FOLDS, self.model.endpoint), self.draft)


def reduce_all(study: Study) -> Conclusion[list[ReducedModel]]:
    """Develop every model with a reduction, in lock-step: on everybody, without each fold, on each bootstrap set."""
    chosen = [model for model in study.models if model.reduction is not None]
    found: list[ReducedModel] = yield from together(*(_develop(study, model) for model in chosen))
    return found


def base_recipe(model: Model, harmonised: CombatFit | None = None) -> Recipe:
    """From a site's table to the patients of whom all columns of a reduced model are known, harmonised if they are."""
    read = ModelColumns(model.name)
    return Recipe((read, *harmonising(harmonised), Complete((read.complete,), (model.endpoint,))))


def _develop(study: Study, model: Model) -> Conclusion[ReducedModel]:
    endpoint = model.endpoint
    harmonised = yield from attempt(harmonisation(study, model, base_recipe(model)))
    if isinstance(harmonised, FedmviError):
        return _undeveloped(model, harmonised)
    base = base_recipe(model, harmonised)
    recipes = [base, *(base.then(Fold(FOLDS, endpoint), Outside(fold)) for fold in range(FOLDS))]
    recipes += [base.then(Resample(b + 1, endpoint)) for b in range(model.optimism)]
    found = yield from together(*(attempt(reduced_on(study, model, recipe)) for recipe in recipes))
    whole, by_fold, resampled = found[0], found[1 : FOLDS + 1], found[FOLDS + 1 :]
    draft = out_of_fold(model, by_fold)
    area, cut, optimism = yield from together(
        attempt(_area(model, base, draft)),
        attempt(_cutoff(study, model, base, draft)),
        attempt(_optimism(model, base, whole, resampled)),
    )
    cutoff = cut.value_ if isinstance(cut, Cutoff) else cut
    chosen_at = cut if isinstance(cut, Cutoff) else None
    return ReducedModel(model, base, whole, tuple(by_fold), draft, area, cutoff, optimism, harmonised, chosen_at)


def _undeveloped(model: Model, why: FedmviError) -> ReducedModel:
    """A model whose columns could not be harmonised."""
    return ReducedModel(model, base_recipe(model), why, (), why, why, why, why if model.optimism else None, why)


def reduced_on(study: Study, model: Model, recipe: Recipe) -> Conclusion[ReducedScore]:
    """The model on whatever patients the recipe leaves."""
    columns = coded_columns(study, model.predictors)
    names, least = tuple(column.name for column in columns), tuple(narrowest(study, column) for column in columns)
    if model.reduction is None:
        raise ValueError("the model has no reduction")
    return (
        yield from reduced_score(
            model.cohort, recipe, model.endpoint, names, model.reduction, study.limits.min_cell, model.name, least
        )
    )


def out_of_fold(model: Model, by_fold: Sequence[ReducedScore | FedmviError]) -> DraftScore | FedmviError:
    """The score that each fold has from the model that never saw it; the first error, or 659 where nothing was found.

    A fold without which nothing was found is scored by the prevalence of the others, as anybody would.
    """
    sound = [score for score in by_fold if isinstance(score, ReducedScore)]
    if len(sound) < len(by_fold):
        return next(score for score in by_fold if isinstance(score, FedmviError))
    if all(score.empty for score in sound):
        return FedmviError(659, model=model.name)
    names = tuple(dict.fromkeys(name for score in sound for name in score.names_))
    formulas = [dict(zip(score.names_, score.coef_, strict=True)) for score in sound]
    return DraftScore(
        model.name,
        model.endpoint,
        names,
        tuple(tuple(formula.get(name, 0.0) for name in names) for formula in formulas),
        tuple(score.intercept_ for score in sound),
    )


def _scored(model: Model, base: Recipe, draft: DraftScore | FedmviError) -> tuple[Recipe, str]:
    if isinstance(draft, FedmviError):
        raise draft
    return base.then(Fold(FOLDS, model.endpoint), draft), draft.column


def _area(model: Model, base: Recipe, draft: DraftScore | FedmviError) -> Conclusion[RocResult]:
    recipe, column = _scored(model, base, draft)
    return (yield from roc(model.cohort, recipe, model.endpoint, column))


def _cutoff(study: Study, model: Model, base: Recipe, draft: DraftScore | FedmviError) -> Conclusion[Cutoff]:
    recipe, column = _scored(model, base, draft)
    found = yield from cutoffs(model.cohort, recipe, model.endpoint, (column,), min_cell=study.limits.min_cell)
    return found[0]


def _optimism(
    model: Model, base: Recipe, whole: ReducedScore | FedmviError, resampled: Sequence[ReducedScore | FedmviError]
) -> Conclusion[Optimism | None]:
    """How much the area shrinks from the patients that a model was developed on to others."""
    if not model.optimism:
        return None
    if isinstance(whole, FedmviError):
        raise whole
    sets = [
        None if isinstance(score, FedmviError) else (score.names_, score.coef_, score.intercept_) for score in resampled
    ]
    return (yield from corrected(model, base, sets))


@dataclass(frozen=True)
class Chosen:
    """Which of several models a choice took, and the area of each; None where none could be.

    Those that are `barred` could not be taken: nobody is to be scored by them.
    """

    choice: Choice
    areas: Mapping[str, RocResult | FedmviError]
    model: str | None
    barred: frozenset[str] = frozenset()


def choose_all(study: Study, reduced: Sequence[ReducedModel], barred: Collection[str] = ()) -> list[Chosen]:
    """The model with the largest out-of-fold area of each choice of models, none of the `barred`; of equal ones the
    first."""
    by_name, among_networks = {one.model.name: one for one in reduced}, network_choices(study)
    found = []
    for choice in (choice for choice in study.choices if choice not in among_networks):
        areas = {name: by_name[name].area for name in choice.models}
        usable = {
            name: area.auc_
            for name, area in areas.items()
            if isinstance(area, RocResult) and by_name[name].score is not None and name not in barred
        }
        best = max(usable, key=lambda name: usable[name]) if usable else None  # of equal ones the first
        found.append(Chosen(choice, areas, best, frozenset(barred) & set(choice.models)))
    return found
