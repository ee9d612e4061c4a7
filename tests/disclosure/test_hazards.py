"""disclosure: beside covariates a closed cohort's survival is told to a comparison's regressions, and to none else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.federation.query import Ask, perform, total
from common.federation.tasks import Freeze
from common.statistics.cox import CoxSums
from common.statistics.life_table import LifeTable
from common.statistics.moments import Deviations
from common.statistics.partial_likelihood import Ties
from common.study.hazards import covariates_of, hazards_by_table
from common.study.recipe import Complete, Group, Recipe, Select
from common.study.scores import GROUP
from tests.disclosure.consortium import STUDY, Consortium, make
from tests.server.study.hazard_study import COHORT, COX, comparison, consortium, followed

BESIDE = ("afp>20", "albumin")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    study = STUDY + COHORT + comparison("later-by-mvi", "mvi", COX)
    made = consortium(tmp_path_factory.mktemp("sites"), study=study).open()
    assert made.number("d", perform(Freeze((), ("later-by-mvi",)))) == 0
    return made


def frame_of(made: Consortium) -> Recipe:
    return hazards_by_table(made.study, made.study.comparisons[-1], ("0", "1"))


def step(recipe: Recipe, *columns: str, horizon: float | None = None, coefficients: float = 0.0) -> Ask:
    beta = np.full(len(columns), coefficients)
    return total(CoxSums("later", recipe, "os", columns, (), Ties.EFRON, beta, horizon=horizon))


def test_a_regression_is_answered_after_the_freeze_only(made: Consortium, tmp_path: Path):
    recipe = frame_of(made)
    assert made.number("d", step(recipe, GROUP, *BESIDE)) == 0
    assert made.number("d", step(recipe, GROUP)) == 0
    # At a site that was told of no freeze the endpoints are closed.
    assert made.number("e", step(recipe, GROUP, *BESIDE)) == 407


def test_other_columns_horizons_and_patients_are_no_part_of_it(made: Consortium):
    recipe, study = frame_of(made), made.study
    more = covariates_of(study, study.comparisons[-1])
    keys = study.endpoint("os").keys
    group = Group("mvi", ("0", "1"))
    assert made.number("d", step(recipe, *BESIDE)) == 414
    assert made.number("d", step(recipe, GROUP, "albumin")) == 414
    assert made.number("d", step(recipe, GROUP, *BESIDE, horizon=24.0)) == 414
    # Without one covariate a few patients more are known: the difference would be theirs.
    fewer = Recipe((Select(more[:1]), group, Complete((GROUP, more[0].name), keys)))
    assert made.number("d", step(fewer, GROUP)) == 414
    everybody = Recipe((group, Complete((GROUP,), keys)))
    assert made.number("d", step(everybody, GROUP)) == 414


def test_no_curve_is_told_of_those_whose_covariates_are_known(made: Consortium):
    """Less the curve of the groups it would be that of the few who lack a covariate."""
    endpoint = made.study.endpoint("os")
    grid = (endpoint.precision, endpoint.grid_points)
    assert made.number("d", total(LifeTable("later", frame_of(made), "os", 2, *grid))) == 414


def test_fewer_than_ten_events_a_coefficient_are_refused(tmp_path: Path):
    """Few of a hundred patients die: with three coefficients the sums would be all but their rows."""

    def few(rows: list[dict[str, str]]) -> None:
        followed(rows)
        for i, row in enumerate(rows):
            row["os_event"] = str(int(i % 8 == 0))

    study = STUDY + COHORT + comparison("later-by-mvi", "mvi", COX)
    made = make(tmp_path, dict.fromkeys("abcdef", few), study=study).open()
    assert made.number("d", perform(Freeze((), ("later-by-mvi",)))) == 0
    assert made.number("d", step(frame_of(made), GROUP, *BESIDE)) == 439


def test_moments_of_covariates_are_of_the_same_patients(made: Consortium):
    asked = total(Deviations("later", frame_of(made), BESIDE, np.zeros(2)))
    assert made.number("d", asked) == 414
