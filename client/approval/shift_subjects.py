"""client/approval: what `[shift]` asks about: columns of a model or a look, in training and in compared cohorts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from client.approval.model_subjects import draft_recipe, parts_of
from client.approval.subject import Subject
from common.federation.query import Mode
from common.statistics.confusion import HUNDREDTHS
from common.study.coding import coded_columns
from common.study.protocol import Model, Study
from common.study.ranges import plausible_range
from common.study.recipe import Recipe
from common.study.scores import plain_columns
from common.study.shifted import (
    compared_by,
    compared_cohorts,
    compared_model,
    known_recipe,
    labelled_cohorts,
    look_frame,
    number_columns,
)

_PART = "comparison of hospitals"
_OWN, _DRAWN = frozenset({"query.site_profile"}), frozenset({"query.site_permutations"})


def shift_subjects(study: Study) -> Iterator[Subject]:
    """A hospital's own profile, the sums that it is compared with, and, with outcomes, its own calibration."""
    model, by = compared_model(study), compared_by(study)
    if by is not None:
        yield from _unlabelled(study, by, look_frame(study, by) if model is None else _model_frame(study, by))
    if model is not None:
        yield from _labelled(study, model)


def _model_frame(study: Study, model: Model) -> Recipe:
    return Recipe(parts_of(study, model).recipe(study.endpoint(model.endpoint).keys).steps[:-1])


def _unlabelled(study: Study, by: Model, frame: Recipe) -> Iterator[Subject]:
    """What is asked without any outcome but that of the training cohort."""
    columns = coded_columns(study, by.predictors)
    # Of a model with a reduction no more are left than it allows.
    columns = columns if by.reduction is None else columns[: by.reduction.count]
    names, ranges = tuple(c.name for c in columns), tuple(plausible_range(study, c) for c in columns)
    for cohort in (by.cohort, *compared_cohorts(study)):
        yield Subject(_PART, cohort, _OWN, frame, names, ranges=ranges, modes=(Mode.EACH,))
    whole = Subject(_PART, by.cohort, _DRAWN, frame, names, ranges=ranges, modes=(Mode.TOTAL,))
    yield whole
    yield replace(whole, questions=frozenset({"query.training_profile"}), endpoint=by.endpoint)
    for recipe in (frame, known_recipe(frame)):
        yield replace(whole, questions=frozenset({"query.deviations"}), recipe=recipe)


def _labelled(study: Study, model: Model) -> Iterator[Subject]:
    """What is asked of the frozen score beside outcomes."""
    score, scored = (f"score.{model.name}",), parts_of(study, model).recipe(study.endpoint(model.endpoint).keys)
    yield Subject(
        _PART, model.cohort, frozenset({"query.score_moments"}), scored, score, model.endpoint, ranges=((0.0, 1.0),),
        modes=(Mode.TOTAL,),
    )  # fmt: skip
    if model.reduction is not None:
        yield Subject(
            _PART, model.cohort, frozenset({"query.threshold_counts"}), draft_recipe(study, model), score,
            model.endpoint, ranges=((0.0, 1.0),), thresholds=tuple(HUNDREDTHS.tolist()), modes=(Mode.TOTAL,),
        )  # fmt: skip
    own = plain_columns(study, model) if model.reduction is None else ()
    names, ranges = tuple(c.name for c in own), tuple(plausible_range(study, c) for c in own)
    for cohort in labelled_cohorts(study) if own else ():
        yield Subject(
            _PART, cohort, frozenset({"query.residuals_alone"}), scored, names, model.endpoint, ranges=ranges,
            modes=(Mode.EACH,),
        )  # fmt: skip
    for cohort in labelled_cohorts(study):
        yield Subject(
            _PART, cohort, frozenset({"query.score_shift_alone"}), scored, score, model.endpoint, ranges=((0.0, 1.0),),
            modes=(Mode.EACH,),
        )  # fmt: skip


def shift_fields(subject: Subject, study: Study) -> dict[str, Any]:
    """The fields of such a question that the study, or its columns, decide."""
    model = compared_by(study)
    if model is None or subject.part != _PART:
        return {}
    p = len(subject.columns)
    return {
        "numbers": number_columns(study, model, subject.columns),
        "scale": np.ones(p),
        "direction": np.zeros(p + 1),
        "shares": np.full(len(study.cohort(model.cohort).sites), 1.0 / len(study.cohort(model.cohort).sites)),
        "samples": np.full(_others(study), 0.5),
        "deals": 1,
        "reference": np.array([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]]),
        "column": f"score.{model.name}",
        "information": np.zeros(p),
        "part": subject.cohort == model.cohort,
    }


def _others(study: Study) -> int:
    return sum(len(study.cohort(cohort).sites) for cohort in compared_cohorts(study))
