"""client/release: the scope of `[shift]`: what a hospital tells of itself alone, and of drawn hospitals, to compare it.

Its own sums are told once a run and cohort, in one form: all columns of one model, or of a look before anything is
trained, all patients of whom they are known, one centre and scale. Another set of patients, another scale or another
cut-off would tell, by a difference, the few whom the two tell apart. Patients are dealt out to drawn hospitals by
shares that are set once, for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from common.federation.codec import pack
from common.federation.query import Query
from common.statistics.confusion import HUNDREDTHS, ThresholdCounts
from common.statistics.residuals import ResidualsAlone
from common.statistics.score_shift import ScoreMoments, ScoreShiftAlone
from common.statistics.site_permutation import SitePermutations
from common.statistics.site_profile import SiteProfile
from common.statistics.training_profile import TrainingProfile
from common.study.coding import coded_columns
from common.study.fingerprint import canonical_json
from common.study.protocol import Model, Study
from common.study.scores import plain_columns
from common.study.shifted import (
    compared_by,
    compared_cohorts,
    compared_model,
    is_drafted_frame,
    is_frame,
    is_scored_frame,
    labelled_cohorts,
    number_columns,
)


def shift_declares(query: Query, study: Study) -> bool:
    """Whether the study compares hospitals, and asks this to do so."""
    by, model = compared_by(study), compared_model(study)
    if isinstance(query, SiteProfile | TrainingProfile | SitePermutations) and by is not None:
        frame = is_frame(study, by, query.recipe) and _columns_of(query, study, by)
        return frame and _where(query, study, by) and (model is not None or _scoreless(query))
    if model is None:
        return False
    if isinstance(query, ScoreMoments | ScoreShiftAlone):
        return _about_score(query, study, model)
    if isinstance(query, ResidualsAlone):
        columns = model.reduction is None and _columns_of(query, study, model)
        return columns and _about_score(query, study, model)
    return isinstance(query, ThresholdCounts) and _out_of_fold(query, study, model)


def looked_at_sets(study: Study) -> list[tuple[frozenset[str], str]]:
    """The complete cases of a look before anything is trained, as (columns, endpoint)."""
    by = None if compared_model(study) is not None else compared_by(study)
    return [] if by is None else [(frozenset(column.name for column in plain_columns(study, by)), by.endpoint)]


def _scoreless(query: SiteProfile | TrainingProfile | SitePermutations) -> bool:
    """Whether no patients are counted by a score: before anything is trained there is none, and one that the
    coordinator made up would count whom it likes."""
    return isinstance(query, SitePermutations) or not query.direction.any()


def _about_score(query: ScoreMoments | ScoreShiftAlone | ResidualsAlone, study: Study, model: Model) -> bool:
    """Whether it is the model's frozen score, in training or where outcomes of it are used."""
    training = query.cohort == model.cohort
    if isinstance(query, ScoreShiftAlone | ResidualsAlone):
        where = query.cohort in labelled_cohorts(study) and query.part == training
    else:
        where = training
    own = (query.column, query.endpoint) == (f"score.{model.name}", model.endpoint)
    return where and own and is_scored_frame(study, model, query.recipe)


def _out_of_fold(query: ThresholdCounts, study: Study, model: Model) -> bool:
    """Whether it is what the score of a model with a reduction is in others than those it was chosen by."""
    own = (query.cohort, query.columns, query.endpoint) == (model.cohort, (f"score.{model.name}",), model.endpoint)
    at = np.array_equal(query.thresholds, HUNDREDTHS[np.newaxis])
    return own and at and is_drafted_frame(study, model, query.recipe)


def _where(query: SiteProfile | TrainingProfile | SitePermutations, study: Study, model: Model) -> bool:
    """Whether it is asked where the study asks it, and no more often."""
    if isinstance(query, SiteProfile):
        return query.cohort in (model.cohort, *compared_cohorts(study))
    if isinstance(query, TrainingProfile):
        return (query.cohort, query.endpoint) == (model.cohort, model.endpoint)
    most = study.shift.permutations if study.shift is not None else 0
    return query.cohort == model.cohort and query.first + query.deals - 1 <= most


def _columns_of(
    query: SiteProfile | TrainingProfile | SitePermutations | ResidualsAlone, study: Study, model: Model
) -> bool:
    """Whether it is about all columns of the model; of a reduced one, about those that were left."""
    columns = query.columns
    if model.reduction is None:
        sound = columns == tuple(column.name for column in plain_columns(study, model))
    else:
        sound = bool(columns) and set(columns) <= {column.name for column in coded_columns(study, model.predictors)}
    return sound and query.numbers == number_columns(study, model, columns)


def shift_values(query: Query) -> Iterator[tuple[str, str, int]]:
    """What such a question may have one value of in a run, that value, and 1: see `Once`."""
    if isinstance(query, SiteProfile | TrainingProfile | ScoreMoments | ScoreShiftAlone | ResidualsAlone):
        yield canonical_json(["shift", query.name, query.cohort]), pack(query, type(query)).digest, 1
    if isinstance(query, SitePermutations):
        yield canonical_json(["shift", query.name, query.cohort]), query.fixed, 1


def drawn_hospitals_hold(query: Query, patients: float, sites: int, min_cell: int) -> bool:
    """Whether each half of each drawn hospital has a cell of patients: of all sites of a sum, or of this one without
    masks."""
    return not isinstance(query, SitePermutations) or query.fewest(patients, sites) >= min_cell
