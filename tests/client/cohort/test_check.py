"""tests/client/cohort: the check lists everything, worst first, and never raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.cohort.check import as_json, check_site
from common.errors import Severity
from common.study.protocol import Study


def test_problems_are_worst_first_then_by_number_then_by_row(make_site: Any, study: Study) -> None:
    change: dict[int, dict[str, str]] = {
        9: {"afp": "x"},
        4: {"afp": "x"},
        7: {"patient_id": "p1"},
        2: {"os_months": "-1"},
    }
    change[5] = {"vascular_invasion": ""}
    problems = check_site(make_site(change).folder, study)
    keys = [(-p.severity, p.number) for p in problems]
    assert keys == sorted(keys)
    assert [p.number for p in problems if p.severity is Severity.ERROR] == [301, 303, 303, 310]
    assert [as_json(p)["row"] for p in problems[:4]] == [9, 6, 11, 4]


def test_a_clean_site_gets_hints_about_limits_only(make_site: Any, study: Study) -> None:
    problems = check_site(make_site().folder, study)
    assert {(p.number, p.severity) for p in problems} == {(403, Severity.WARNING)}
    assert {p.facts["cohort"] for p in problems} == {"test", "calibrate"}
    assert check_site(make_site(n=300).folder, study) == []


def test_the_stricter_limit_counts(make_site: Any, study: Study) -> None:
    problems = check_site(make_site(n=60, toml="[policy]\nmin_patients = 50\nmin_class = 30\n").folder, study)
    assert {p.facts["limit"] for p in problems} == {50}


def test_a_site_that_the_study_does_not_know_is_told(make_site: Any, study: Study) -> None:
    folder = make_site().folder
    (folder / "site.toml").write_text('[site]\nname = "elsewhere"\n')
    (problem,) = check_site(folder, study)
    assert (problem.number, problem.facts) == (209, {"site": "elsewhere"})


def test_without_a_study_form_and_ids_are_checked(make_site: Any) -> None:
    change = {3: {"patient_id": "p 3"}, 4: {"patient_id": "p5", "afp": "n/a"}}
    assert [p.number for p in check_site(make_site(change).folder, None)] == [301, 302]


def test_a_missing_folder_study_or_secret_is_a_problem_not_a_crash(
    make_site: Any, study: Study, tmp_path: Path
) -> None:
    site = make_site()
    assert [p.number for p in check_site(tmp_path / "none", tmp_path / "none.toml")] == [101, 201]
    site.secret_file.unlink()
    assert [p.number for p in check_site(site.folder, study)] == [322]
    (site.folder / "site.toml").write_text("[site]\nname = 'a'\nnom = 1\n")
    assert [p.number for p in check_site(site.folder, study)] == [203]


@pytest.mark.parametrize("cell", ["SECRETCELL", "SECRET,CELL"])
def test_the_public_face_has_no_cell_file_or_patient(cell: str, make_site: Any, study: Study) -> None:
    columns = ["patient_id", "afp", "sex", "os_months", "os_event", "vascular_invasion", "albumin"]
    problems = check_site(make_site({i: {c: cell} for i, c in enumerate(columns)}).folder, study)
    assert len(problems) >= len(columns)
    public = json.dumps([p.public() for p in problems])
    assert "SECRET" not in public and "patients.csv" not in public
    assert "SECRET" in json.dumps([as_json(p) for p in problems])
