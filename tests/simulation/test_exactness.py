"""simulation: the exactness command measures what it says, and fails where it must."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.moments import moments
from common.study.recipe import Recipe
from common.terminal import EXIT_PROBLEMS
from simulation.cli import app
from simulation.exactness import KEYS, Absent, Case, Difference, Measured, Row, as_markdown, measure
from simulation.exactness.tables import TABLES, breast_cancer
from simulation.views import COHORT

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "exactness.md"


@pytest.fixture(scope="module")
def measured() -> list[dict[str, Any]]:
    """What the command measures; skips where public data are absent."""
    done = CliRunner().invoke(app, ["exactness", "--json"])
    if "not run:" in done.stderr:
        pytest.skip(done.stderr)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.exit_code == 0, [row for row in rows if not row["pass"]]
    return rows


def table_of(page: str) -> list[dict[str, str]]:
    """The rows of the page's table by the names of its columns."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def row(difference: float, *, masked_equal: bool = True) -> Row:
    return Row("mean", "made", "itself", difference, 1e-12, masked_equal, 1, 1.0, 0.1)


def test_every_statistic_is_within_its_tolerance_masked_and_plain_alike(measured: list[dict[str, Any]]) -> None:
    assert len(measured) >= 340
    data = {row["data"] for row in measured}
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
    assert all(row["pass"] and row["masked_equal"] and row["difference"] <= row["tolerance"] for row in measured)
    assert {
        row["rounds"] for row in measured if row["data"].startswith("recidivism") and "Kaplan" in row["statistic"]
    } == {1}


def test_the_page_of_the_documents_has_the_rows_that_are_measured_now(measured: list[dict[str, Any]]) -> None:
    """Numbers change with the machine; what is measured, and on what, does not."""
    documented = Counter((line["statistic"], line["data"]) for line in table_of(PAGE.read_text(encoding="utf-8")))
    assert documented == Counter((row["statistic"], row["data"]) for row in measured)


def test_the_page_counts_what_passed_and_tells_of_equal_bits_only_where_all_are() -> None:
    page = as_markdown(Measured([row(0.0), row(0.0)]))
    assert "2 of 2 rows passed" in page
    assert "all with equal bits" in page
    page = as_markdown(Measured([row(0.0), row(1.0), row(0.0, masked_equal=False)], ["no data"]))
    assert "1 of 3 rows passed" in page
    assert "all with equal bits" not in page
    assert "Not run: no data" in page
    assert [line["pass"] for line in table_of(page)] == ["yes", "**no**", "**no**"]


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


def test_a_table_whose_data_are_absent_is_not_run_and_says_why(monkeypatch: pytest.MonkeyPatch):
    def absent() -> Case:
        raise Absent("its folder is absent")

    monkeypatch.setattr("simulation.exactness.CASES", (absent,))
    done = CliRunner().invoke(app, ["exactness", "--data", "heart-disease"])
    assert done.exit_code == EXIT_PROBLEMS
    assert "not run: its folder is absent" in done.stderr


def test_the_keys_of_the_tables_are_known_without_their_data():
    for make, key in zip(TABLES, KEYS, strict=True):
        try:
            assert make().key == key
        except Absent:
            continue


def test_a_case_without_its_data_is_not_run_and_says_why():
    def absent() -> Case:
        raise Absent("the public data folder nowhere is absent")

    measured = measure([absent])
    assert measured.rows == []
    assert measured.absent == ["the public data folder nowhere is absent"]
