"""common/study: what `[shift]` compares: the model whose columns they are, the cohorts, and the frame."""

from __future__ import annotations

from collections.abc import Iterator

from common.study.analyses import FOLDS
from common.study.coding import coded_columns
from common.study.dictionary import DICTIONARY
from common.study.features import FEATURE
from common.study.modelling import is_score
from common.study.protocol import Model, Study
from common.study.ranges import NUMBERS
from common.study.recipe import Complete, DraftScore, Fold, ModelColumns, Recipe, Score, Select
from common.study.scores import named_model, plain_columns
from common.study.shifting import Shift

LOOK = "look"
"""The name of what stands for a model in a look before anything is trained; a study has no other then."""

COMPARED_ROLES = frozenset({"internal-test", "external-test"})


def compared_model(study: Study) -> Model | None:
    """The model by whose columns and score hospitals are compared; None where the study compares none, or looks before
    anything is trained."""
    named = study.shift.models if study.shift is not None else ()
    return named_model(study, named[0]) if named else None


def compared_by(study: Study) -> Model | None:
    """By what hospitals are compared: that model, or, in a look before anything is trained, a model of the predictors
    of `[shift]` that stands for one and is never fitted; None where the study compares none.
    """
    shift = study.shift
    if shift is None or shift.models:
        return compared_model(study)
    if shift.cohort is None or shift.endpoint is None or not shift.predictors:
        return None  # told as a contradiction
    cohorts = shift.cohorts or tuple(cohort.name for cohort in study.cohorts if cohort.role in COMPARED_ROLES)
    return Model(name=LOOK, endpoint=shift.endpoint, cohort=shift.cohort, predictors=shift.predictors, evaluate=cohorts)


def compared_cohorts(study: Study) -> tuple[str, ...]:
    """The cohorts that are compared with training."""
    model = compared_by(study)
    if model is None or study.shift is None:
        return ()
    return study.shift.cohorts or model.evaluate


def labelled_cohorts(study: Study) -> tuple[str, ...]:
    """Training, and those of the compared cohorts of which outcomes are used: where the model is evaluated."""
    model = compared_model(study)
    return () if model is None else (model.cohort, *(c for c in compared_cohorts(study) if c in model.evaluate))


def traits(study: Study, model: Model) -> frozenset[str]:
    """Those of a model's columns that tell whom a hospital sees, and not how it examines: clinical variables of the
    dictionary, and levels and cut-offs of others but features of images."""
    columns = (c for c in plain_columns(study, model) if not FEATURE.fullmatch(c.variable))
    return frozenset(c.name for c in columns if c.variable in DICTIONARY or c.coding not in NUMBERS)


def number_columns(study: Study, model: Model, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a model's columns that are no indicators of a level, in their order."""
    numbers = {column.name for column in coded_columns(study, model.predictors) if column.coding in NUMBERS}
    return tuple(name for name in names if name in numbers)


def look_frame(study: Study, by: Model) -> Recipe:
    """The patients of a look before anything is trained: those whom a later model of these columns is trained on."""
    columns = plain_columns(study, by)
    names = tuple(column.name for column in columns)
    return Recipe((Select(columns), Complete(names, study.endpoint(by.endpoint).keys)))


def known_recipe(frame: Recipe) -> Recipe:
    """All patients of a look, whatever is missing in them.

    Mean and spread of the columns are asked of them, too, as where a model is fitted. A hospital in which few patients
    lack a value and that had told one study sums of the complete cases only would refuse the next one those of
    everybody, and the other way round (420): the difference is these few patients.
    """
    return Recipe(frame.steps[:1])


def is_frame(study: Study, model: Model, recipe: Recipe) -> bool:
    """Whether a recipe leaves the patients of whom all columns of a model, and the endpoint, are known, as it fills
    them; of a cohort with closed endpoints all of whom the columns are known.
    """
    steps = recipe.steps
    if len(steps) < 2:
        return False
    keys = study.endpoint(model.endpoint).keys
    if model.reduction is not None:
        read = ModelColumns(model.name)
        return steps == (read, Complete((read.complete,), keys))
    columns = plain_columns(study, model)
    ends = Select(columns), Complete(tuple(column.name for column in columns), keys)
    filling = 0 if model.missing == "complete-case" else 1
    # Which steps fill, and by what numbers, is looked at where any recipe's are.
    return (steps[0], steps[-1]) == ends and len(steps) == 2 + filling


def is_scored_frame(study: Study, model: Model, recipe: Recipe) -> bool:
    """Whether a recipe is that frame with the model's score."""
    steps = recipe.steps
    own = bool(steps) and isinstance(steps[-1], Score) and steps[-1].model == model.name
    return own and is_frame(study, model, Recipe(steps[:-1]))


def is_drafted_frame(study: Study, model: Model, recipe: Recipe) -> bool:
    """Whether a recipe is that frame, in training, with the out-of-fold scores of a model with a reduction."""
    steps = recipe.steps
    draft = steps[-1] if model.reduction is not None and len(steps) > 2 else None
    own = isinstance(draft, DraftScore) and draft.model == model.name and draft.by_fold
    return own and steps[-2] == Fold(FOLDS, model.endpoint) and is_frame(study, model, Recipe(steps[:-2]))


def shift_contradictions(study: Study) -> list[tuple[tuple[str | int, ...], str]]:
    """What `[shift]` says against the rest of the protocol: (place, sentence) pairs."""
    if study.shift is None:
        return []
    shift = study.shift
    found: list[tuple[tuple[str | int, ...], str]] = []
    for i, name in enumerate(shift.models):
        place: tuple[str | int, ...] = ("shift", "models", i)
        model = named_model(study, name)
        if model is None:
            found.append((place, f"'{name}' is not one of [[models]]"))
            continue
        if name in shift.models[:i]:
            found.append((place, f"'{name}' is named twice"))
        found += [(place, sentence) for sentence in _unlike(study, model, first=i == 0)]
    found += [(("shift", name), sentence) for name, sentence in _look(study, shift)]
    cohorts = {cohort.name: cohort for cohort in study.cohorts}
    for i, name in enumerate(shift.cohorts):
        if name not in cohorts or cohorts[name].role not in COMPARED_ROLES:
            sentence = f"'{name}' is not an internal-test or external-test cohort"
            found.append((("shift", "cohorts", i), sentence))
        elif name in shift.cohorts[:i]:
            found.append((("shift", "cohorts", i), f"'{name}' is named twice"))
    return found


def _look(study: Study, shift: Shift) -> Iterator[tuple[str, str]]:
    """(field, sentence) of a look before anything is trained, or of what belongs to one only."""
    given = [name for name in ("predictors", "features", "cohort", "endpoint") if getattr(shift, name)]
    if shift.models:
        yield from ((name, "belongs to a look without `models`") for name in given)
        return
    if study.models:
        yield "models", "name those of [[models]] by which hospitals are compared: a look without is a study of its own"
        return
    cohort = next((c for c in study.cohorts if c.name == shift.cohort), None)
    if not shift.predictors:
        yield "predictors", "name `models`, or by which `predictors` hospitals are compared before any is trained"
    if cohort is None or cohort.role != "train":
        yield "cohort", "a look needs a cohort with the role train"
    elif len(cohort.sites) < study.limits.min_sites:
        yield "cohort", f"'{cohort.name}' has fewer than {study.limits.min_sites} sites: nothing can be summed"
    if shift.endpoint not in {e.name for e in study.endpoints if e.kind == "binary"}:
        yield "endpoint", "a look needs a binary endpoint of the study"
    if shift.leave_one_centre_out:
        yield "leave_one_centre_out", "there is no model to be developed: name `models`"


def _unlike(study: Study, model: Model, *, first: bool) -> list[str]:
    """Why a model cannot be what hospitals are compared by, or one more with a remedy."""
    found = []
    if first and any(is_score(term.variable) for term in model.predictors):
        found.append(f"'{model.name}' has scores among its predictors: they are not known before models are frozen")
    if first and model.harmonise is not None:
        found.append(f"'{model.name}' is harmonised: the first model is the one without a remedy")
    whole = compared_model(study)
    if not first and whole is not None and (model.cohort, model.endpoint) != (whole.cohort, whole.endpoint):
        found.append(f"'{model.name}' is not trained in the cohort, or not for the endpoint, of '{whole.name}'")
    if not first and model.harmonise is None:
        found.append(f"'{model.name}' has no remedy: give it `harmonise`, or name it first")
    return found
