"""disclosure: how images were acquired: one question a cohort in one form; a hospital's own only if it allows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.federation.query import HIDDEN, Ask, each, total
from common.statistics.chi_square import ClassTable, CrossTable
from common.statistics.level_table import LevelTable, OwnLevelTable
from common.statistics.variance import LevelCounts
from common.study.acquisition import acquisition_facts
from common.study.described import acquired_columns
from common.study.loader import parse_study
from common.study.recipe import Complete, Recipe, Select
from common.study.subset import Subset
from tests.disclosure.consortium import Consortium
from tests.server.study.acquired_study import FEW, HEAD, WITH_IMAGES, consortium

STUDY = parse_study(WITH_IMAGES)
ASKED = acquired_columns(STUDY)
COLUMNS, LEVELS = tuple(column for column, _ in ASKED), tuple(levels for _, levels in ASKED)
NAMES = tuple(column.name for column in COLUMNS)
WHOLE = Recipe((Select(COLUMNS),))
POOLED = LevelTable("train", WHOLE, NAMES, LEVELS)
OWN = OwnLevelTable("train", WHOLE, NAMES, LEVELS, min_cell=5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """All hospitals but a let results of their own leave."""
    closed = {"a": 'approved_studies = ["any"]\n'}
    return consortium(tmp_path_factory.mktemp("sites"), policies=closed).sign().open()


def test_what_the_study_asks_is_answered(made: Consortium) -> None:
    assert made.number("a", total(POOLED)) == 0
    assert made.number("b", each(OWN)) == 0


def test_a_hospitals_own_table_leaves_by_its_policy_only_and_never_unhidden(made: Consortium) -> None:
    assert made.number("a", each(OWN)) == 408
    assert made.number("b", total(OWN)) == 408
    assert made.number("b", each(POOLED)) == 402
    assert made.number("b", each(replace(OWN, min_cell=1))) == 402


def test_small_counts_of_a_hospital_stay(made: Consortium) -> None:
    counts = np.asarray(made.put("c", each(OWN))[0].blocks["counts"])[NAMES.index("scanner_vendor")]
    assert 0 < FEW < 5
    assert not np.any((counts > 0) & (counts < 5))
    assert np.count_nonzero(counts == HIDDEN) > 1


PART = (NAMES[:1], LEVELS[:1])
OTHERS = [
    # One fact, or few: with a set of its own each would be another question to compare.
    total(LevelTable("train", Recipe((Select(COLUMNS[:1]),)), *PART)),
    total(LevelTable("train", WHOLE, *PART)),
    total(replace(POOLED, columns=NAMES[::-1], levels=LEVELS[::-1])),
    total(replace(POOLED, levels=tuple(levels + 1 for levels in LEVELS))),
    # A part of the patients.
    total(replace(POOLED, recipe=WHOLE.then(Complete(NAMES[:1], ())))),
    total(replace(POOLED, recipe=WHOLE.then(Complete((), ("mvi",))))),
    total(replace(POOLED, recipe=WHOLE.then(Subset(NAMES[0], 0)))),
    # A cohort that shares patients with one that is told.
    total(replace(POOLED, cohort="alone")),
    each(replace(OWN, cohort="alone")),
    # Facts by class, or one by another, or by the older question.
    total(ClassTable("train", Recipe((Select(COLUMNS[:1]),)), "mvi", NAMES[0], LEVELS[0])),
    total(CrossTable("train", WHOLE, NAMES[:2], LEVELS[:2])),
    total(LevelCounts("train", Recipe((Select(COLUMNS[:1]),)), *PART)),
]


@pytest.mark.parametrize("ask", OTHERS, ids=range(len(OTHERS)))
def test_nothing_else_is(ask: Ask, made: Consortium) -> None:
    assert made.number("b" if ask.cohort != "alone" else "a", ask) in (406, 408, 414)


def test_other_columns_of_the_hospital_cannot_be_counted_so(tmp_path: Path) -> None:
    """A study without images has no such question, whatever its columns are called."""
    made = consortium(tmp_path, study=HEAD).sign().open()
    assert made.number("b", total(POOLED)) == 414
    assert made.number("b", each(OWN)) == 414
    assert acquisition_facts(made.study.preparation) == ()
