"""simulation: the exactness command measures what it says, and fails where it must."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.moments import moments
from common.study.recipe import Recipe
from simulation.cli import app
from simulation.exactness import Absent, Case, Difference, measure
from simulation.exactness.tables import breast_cancer
from simulation.views import COHORT


def test_every_statistic_is_within_its_tolerance_masked_and_plain_alike() -> None:
    done = CliRunner().invoke(app, ["exactness", "--json"])
    rows = json.loads(done.stdout)
    assert done.exit_code == 0, rows
    assert len(rows) >= 300
    data = {row["data"] for row in rows}
    for table in (
        "breast cancer",
        "recidivism",
        "heart disease",
        "liver resection",
        "TCGA-LIHC",
        "dcurves",
        "scanners",
    ):
        assert any(table in name for name in data), (table, data)
    assert all(row["passed"] and row["masked_equal"] and row["difference"] <= row["tolerance"] for row in rows)
    assert {row["rounds"] for row in rows if row["statistic"].startswith("Kaplan")} == {1}


def test_a_difference_beyond_the_tolerance_is_a_failure() -> None:
    table = breast_cancer()

    def wrong(results: list[object]) -> list[Difference]:
        fit = results[0]
        assert dataclasses.is_dataclass(fit)
        true = np.mean(table.columns["mean_radius"]) + 1e-6
        return [Difference("mean", "a wrong oracle", float(abs(fit.mean_[0] - true)), 1e-12)]  # type: ignore[attr-defined]

    def asked() -> list[Conclusion[object]]:
        return [moments(COHORT, Recipe(), ("mean_radius",))]

    (row,) = measure([lambda: Case(table, asked, wrong)]).rows
    assert not row.passed


def test_cases_over_one_table_are_chosen_by_its_name():
    done = CliRunner().invoke(app, ["exactness", "--data", "recidivism", "--json"])
    rows = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {row["data"] for row in rows} == {"recidivism, 5 sites"}


def test_a_table_that_there_is_not_is_a_clear_error_that_names_those_there_are():
    with pytest.raises(FedmviError) as met:
        CliRunner().invoke(app, ["exactness", "--data", "breast"], catch_exceptions=False)
    assert met.value.number == 807
    assert "breast-cancer" in met.value.do


def test_a_case_without_its_data_is_not_run_and_says_why():
    def absent() -> Case:
        raise Absent("the public data folder nowhere is absent")

    measured = measure([absent])
    assert measured.rows == []
    assert measured.absent == ["the public data folder nowhere is absent"]
