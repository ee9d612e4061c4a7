"""tests/client/cohort: ordinal and competing endpoints are read by their cells, checked and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.cohort.reading import read_table
from client.cohort.site import Site, load_site
from common.errors import FedmviError, Severity
from common.study.loader import parse_study
from common.study.protocol import Study

STUDY = """
[study]
name = "kinds"
title = "Kinds of endpoints"

[[endpoints]]
name = "grade"
kind = "ordinal"
columns = ["mvi_grade"]
levels = [["M0", "none"], ["M1"], ["M2", "2"]]

[[endpoints]]
name = "ttr"
kind = "competing"
columns = ["ttr_months", "ttr_event"]
positive = ["recurrence"]
competing = ["death"]
negative = ["censored"]
unit = "months"
maximum = 60

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[analyses]]
name = "incidence"
statistic = "competing-risks"
cohort = "train"
endpoint = "ttr"
group = "grade"
"""
GRADES = ("M0", "none", "m1", "2.0", "M2")
EVENTS = ("censored", "Recurrence", "death")


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY)


def site(folder: Path, *, grades: tuple[str, ...] = GRADES, events: tuple[str, ...] = EVENTS, n: int = 30) -> Site:
    rows = [f"p{i},{grades[i % len(grades)]},{1 + i % 50},{events[i % len(events)]}" for i in range(n)]
    (folder / "patients.csv").write_text("\n".join(["patient_id,mvi_grade,ttr_months,ttr_event", *rows]) + "\n")
    (folder / "site.toml").write_text('[site]\nname = "a"\n')
    (folder / "site.secret").write_text("5e" * 32)
    return load_site(folder)


def facts(problems: list[FedmviError]) -> list[tuple[int, Severity, str]]:
    return [(p.number, p.severity, p.facts.get("endpoint", "")) for p in problems]


def test_cells_are_read_as_the_codes_of_their_endpoint(tmp_path: Path, study: Study) -> None:
    table, problems = read_table(site(tmp_path), study)
    assert problems == []
    assert table.endpoints["grade"][:5].tolist() == [0, 0, 1, 2, 2]
    assert table.endpoints["ttr.event"][:3].tolist() == [0, 1, 2]
    assert table.endpoints["ttr.time"][:3].tolist() == [1, 2, 3]


def test_another_cell_is_refused_with_the_cells_that_are_known(tmp_path: Path, study: Study) -> None:
    _, problems = read_table(site(tmp_path, grades=("M0", "M1", "M3"), events=("0", "recurrence"), n=3), study)
    wrong = [p for p in problems if p.severity is Severity.ERROR]
    assert [p.number for p in wrong] == [316, 316, 316]
    assert "'M3'; M2: M2, 2; M1: M1; M0: M0, none" in wrong[0].local
    assert "'0'; competing: death; positive: recurrence; negative: censored" in wrong[1].local
    assert "M3" not in str(wrong[0].public())


@pytest.mark.parametrize(
    ("event", "words"), [("death", "all 30 eligible patients have none"), ("recurrence", "have it")]
)
def test_deaths_and_censorings_alone_are_no_event_of_interest(
    event: str, words: str, tmp_path: Path, study: Study
) -> None:
    events = ("censored", "death") if event == "death" else ("recurrence",)
    (problem,) = read_table(site(tmp_path, events=events), study)[1]
    assert facts([problem]) == [(315, Severity.WARNING, "ttr")]
    assert words in problem.local


def test_one_grade_for_all_is_named(tmp_path: Path, study: Study) -> None:
    (problem,) = read_table(site(tmp_path, grades=("M1",)), study)[1]
    assert facts([problem]) == [(315, Severity.WARNING, "grade")]
    assert "all 30 eligible patients have M1" in problem.local


def test_an_endpoint_that_an_analysis_asks_for_may_not_be_empty(tmp_path: Path, study: Study) -> None:
    _, problems = read_table(site(tmp_path, grades=("",)), study)
    assert facts(problems) == [(313, Severity.ERROR, "grade")], "it forms the groups"
    lone = STUDY.replace('group = "grade"\n', "")
    assert facts(read_table(site(tmp_path, grades=("",)), parse_study(lone))[1]) == [(313, Severity.WARNING, "grade")]


def test_a_time_without_event_is_named_and_neither_is_used(tmp_path: Path, study: Study) -> None:
    table, problems = read_table(site(tmp_path, events=("recurrence", "death", "", "censored")), study)
    assert (309, Severity.ERROR, "ttr") in facts(problems)
    assert np.isnan(table.endpoints["ttr.time"][2]) and np.isnan(table.endpoints["ttr.event"][2])
