"""simulation: the exactness command measures what it says, and fails where it must."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from typer.testing import CliRunner

from common.federation.runner import Conclusion
from common.statistics.moments import moments
from common.study.recipe import Recipe
from simulation.cli import app
from simulation.exactness import Case, Difference, measure
from simulation.exactness.tables import breast_cancer
from simulation.views import COHORT


def test_every_statistic_is_within_its_tolerance_masked_and_plain_alike() -> None:
    done = CliRunner().invoke(app, ["exactness", "--json"])
    rows = json.loads(done.stdout)
    assert done.exit_code == 0, rows
    assert len(rows) >= 16
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
