"""tests/client/cohort: the check tells what two readers' agreement lacks of a site, and what follows from it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from client.cohort.check import check_site
from client.cohort.membership import members
from client.cohort.reading import read_table
from client.cohort.second_readers import undrawn_tumours
from common.errors import FedmviError, Severity
from common.study.loader import parse_study
from common.study.protocol import Study
from common.study.readings import second_column
from tests.client.cohort.conftest import STUDY, clean_row

ANALYSIS = """
[[analyses]]
name = "readers"
statistic = "reader-kappa"
cohort = "train"
predictors = ["cirrhosis", "sex"]
"""
ICC = """
[[models]]
name = "tumour"
endpoint = "mvi"
cohort = "train"
features = { regions = ["tumour"] }
reduction = { icc = 0.75 }

[preparation]
modality = "ct"
phases = ["portal"]
reference = "portal"
radiomics = { regions = ["tumour"], second_reader = true }
"""
TRAITS = ("cirrhosis", "sex")
WIDER = STUDY.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "d"]')


def table(patients: int, read: int) -> str:
    """Patients of whom the second reader has read the first `read`, and seen what the first has."""
    rows: list[dict[str, str]] = []
    for i in range(patients):
        row = clean_row(i) | {"cirrhosis": "yes" if i % 2 else "no"}
        rows.append(row | {second_column(name): row[name] if i < read else "" for name in TRAITS})
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def told(folder: Any, text: str = STUDY + ANALYSIS) -> list[FedmviError]:
    return [p for p in check_site(folder, parse_study(text)) if p.number in (224, 225)]


def test_a_table_without_a_second_readers_columns_is_told_what_is_not_estimated(make_site: Any) -> None:
    (problem,) = told(make_site(n=300).folder)
    assert (problem.number, problem.severity) == (224, Severity.WARNING)
    assert problem.facts == {"cohort": "train", "count": 2, "sites": 3, "limit": 3}
    assert problem.local == "cirrhosis_reader2, sex_reader2"
    assert problem.what.count(".") == 1 and "Cohen's kappa is estimated only where 3 of its 3 hospitals" in problem.what


def test_it_is_a_note_where_other_hospitals_may_be_enough(make_site: Any) -> None:
    (problem,) = told(make_site(n=300).folder, WIDER + ANALYSIS)
    assert (problem.number, problem.severity, problem.facts["sites"]) == (224, Severity.NOTE, 4)


def test_second_readings_of_enough_patients_are_no_problem(make_site: Any) -> None:
    assert told(make_site(text=table(300, 300)).folder) == []


def test_too_few_second_readings_are_told_with_the_limits(make_site: Any) -> None:
    (problem,) = told(make_site(text=table(300, 20), toml="[policy]\nmin_cell = 7\n").folder)
    assert (problem.number, problem.severity) == (225, Severity.WARNING)
    assert problem.facts["count"] == 2 and problem.facts["patients"] == 30 and problem.facts["cell"] == 7
    assert "cirrhosis_reader2 (" in problem.local and "sex_reader2 (" in problem.local
    assert set(problem.facts) == {"cohort", "count", "sites", "limit", "patients", "cell"}  # how many were read stays


def test_a_hospital_that_is_not_asked_and_a_study_that_does_not_ask_are_told_nothing(
    make_site: Any, study: Study
) -> None:
    folder = make_site(n=300).folder
    assert check_site(folder, study) == []
    assert told(folder, STUDY.replace('sites = ["a", "b", "c"]', 'sites = ["b", "c", "d"]', 1) + ANALYSIS) == []


@pytest.mark.parametrize("drawn, number", [(29, 226), (30, None)])
def test_tumours_that_one_reader_outlined_are_told_where_features_are_left_out_by_agreement(
    make_site: Any, drawn: int, number: int | None
) -> None:
    study = parse_study(STUDY.replace("[[cohorts]]", ICC + "[[cohorts]]", 1))
    site = make_site(n=120)
    read, _ = read_table(site, study)
    inside = members(site, read, study, study.cohort("train"))
    twice = [patient for patient, trains in zip(read.patients, inside, strict=True) if trains][:drawn]
    tested = [patient for patient, trains in zip(read.patients, inside, strict=True) if not trains]
    found = undrawn_tumours(site, read, study, {*twice, *tested})
    assert [(p.number, p.severity) for p in found] == ([(number, Severity.NOTE)] if number else [])
    if found:
        assert found[0].facts == {"model": "tumour", "cohort": "train", "limit": 30}
