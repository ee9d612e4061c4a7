"""tests/client/cohort: every kind of bad input has its number, row and column, and one pass finds all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from client.cohort.problems import CellError
from client.cohort.reading import read_table
from common.errors import FedmviError, Severity
from common.study.loader import parse_study
from common.study.protocol import Study
from tests.client.cohort.conftest import STUDY


def found(problems: list[FedmviError]) -> set[tuple[int, int, str]]:
    return {
        (p.number, p.place.row, p.place.column) if isinstance(p, CellError) else (p.number, 0, "") for p in problems
    }


BAD_CELLS: list[tuple[int, str, str, int]] = [
    (5, "patient_id", "p4", 301),
    (6, "patient_id", "", 302),
    (7, "patient_id", "Müller", 302),
    (8, "afp", "n/a", 303),
    (9, "afp", "1,200", 304),
    (10, "afp", "<400", 305),
    (11, "total_bilirubin", "<20", 305),
    (12, "albumin", "90", 306),
    (13, "sex", "1", 308),
    (14, "child_pugh", "D", 308),
    (15, "os_event", "", 309),
    (16, "os_months", "", 309),
    (17, "os_months", "-2", 310),
    (18, "os_months", "7.25", 311),
    (19, "os_months", "121", 312),
    (20, "vascular_invasion", "unclear", 316),
    (21, "os_event", "maybe", 316),
    (22, "imaging_to_surgery_days", "soon", 303),
    (23, "os_months", "<3", 305),
    (24, "platelets", "inf", 303),
]


@pytest.mark.parametrize(("row", "column", "cell", "number"), BAD_CELLS)
def test_a_bad_cell_has_its_number_row_and_column(
    row: int, column: str, cell: str, number: int, make_site: Any, study: Study
) -> None:
    problems = read_table(make_site({row: {column: cell}}), study)[1]
    wrong = [p for p in problems if p.severity is Severity.ERROR]
    assert found(wrong) == {(number, row + 2, column)}
    assert "patients.csv" in wrong[0].local and f"row {row + 2}" in wrong[0].local and f"'{column}'" in wrong[0].local
    assert all(not cell or cell not in str(fact) for fact in wrong[0].public().values())


def test_all_bad_cells_are_found_in_one_pass(make_site: Any, study: Study) -> None:
    change = {row: {column: cell} for row, column, cell, _ in BAD_CELLS}
    problems = read_table(make_site(change), study)[1]
    assert found(problems) >= {(number, row + 2, column) for row, column, _, number in BAD_CELLS}


def test_a_clean_table_has_no_problem(make_site: Any, study: Study) -> None:
    table, problems = read_table(make_site(), study)
    assert problems == []
    assert table.n == 60 and table.labels[:2] == ("2015", "2018")
    assert table.columns["sex"].levels == ("female", "male") and table.columns["sex"].values[:2].tolist() == [0, 1]
    assert np.nansum(table.endpoints["mvi"]) == 20 and table.endpoints["os.time"][0] == 1.5


def test_bounds_that_the_cutoff_decides_are_kept(make_site: Any, study: Study) -> None:
    table, problems = read_table(make_site({3: {"afp": "<20"}, 4: {"afp": ">1210"}, 5: {"afp": "≤ 5"}}), study)
    assert problems == []
    assert table.columns["afp"].values[3:6].tolist() == [20, 1210, 5]
    assert table.columns["afp"].censored[3:6].tolist() == [-1, 1, -1]


def test_a_duplicate_names_both_rows(make_site: Any, study: Study) -> None:
    (problem,) = read_table(make_site({9: {"patient_id": "p2"}}), study)[1]
    assert "'p2' is in rows 4 and 11" in problem.local


def test_an_ineligible_level_is_excluded_not_refused(make_site: Any, study: Study) -> None:
    table, problems = read_table(make_site({3: {"vascular_invasion": "macro"}}), study)
    assert problems == []
    assert table.failed["no_macrovascular_invasion"].sum() == 1 and np.isnan(table.endpoints["mvi"][3])


def test_none_is_a_level_and_missing_is_case_sensitive(make_site: Any, study: Study) -> None:
    table, problems = read_table(make_site({1: {"vascular_invasion": "none"}, 2: {"vascular_invasion": "NA"}}), study)
    assert table.endpoints["mvi"][1] == 0 and np.isnan(table.endpoints["mvi"][2])
    assert [(p.number, p.severity) for p in problems] == [(318, Severity.NOTE)]
    assert "1 of 60" in problems[0].local


def test_codes_units_and_headers_of_the_hospital_are_applied(make_site: Any, study: Study) -> None:
    toml = """[columns]
sex = { codes = { "m" = "male", "9" = "" } }
albumin = { unit = "g/dl" }
afp = { codes = { "LOW" = "<20" } }
"""
    change = {i: {"albumin": "4.1"} for i in range(60)} | {0: {"sex": "m", "albumin": "4.1"}}
    change[1] |= {"sex": "9", "afp": "LOW"}
    table, problems = read_table(make_site(change, toml=toml), study)
    assert problems == []
    assert table.columns["albumin"].values[0] == 41.0
    assert table.columns["sex"].values[0] == 1 and np.isnan(table.columns["sex"].values[1])
    assert table.columns["afp"].censored[1] == -1


def _renamed(make_site: Any, old: str, new: str, toml: str = "") -> Any:
    site = make_site(toml=toml)
    path = site.folder / "patients.csv"
    head, rest = path.read_text().split("\n", 1)
    path.write_text(f"{head.replace(old, new)}\n{rest}")
    return site


@pytest.mark.parametrize("header", ["AFP", "Alpha_Fetoprotein", "alpha fetoprotein", "AFP [ng/mL]", "afp_ng_ml"])
def test_a_column_is_found_by_alias_case_and_unit(header: str, make_site: Any, study: Study) -> None:
    assert read_table(_renamed(make_site, "afp", header), study)[1] == []


def test_a_column_is_found_by_its_mapped_header(make_site: Any, study: Study) -> None:
    site = _renamed(make_site, "afp", "Tumormarker", '[columns]\nafp = { header = "Tumormarker" }\n')
    assert read_table(site, study)[1] == []


@pytest.mark.parametrize("column", ["patient_id", "afp", "vascular_invasion", "os_event", "imaging_to_surgery_days"])
def test_a_missing_column_is_named_once(column: str, make_site: Any, study: Study) -> None:
    (problem,) = read_table(_renamed(make_site, column, "other"), study)[1]
    assert (problem.number, problem.facts) == (207, {"column": column})


def test_an_absent_label_column_is_no_problem(make_site: Any, study: Study) -> None:
    table, problems = read_table(_renamed(make_site, "cohort", "other"), study)
    assert problems == [] and set(table.labels) == {""}


def test_two_candidates_and_equal_headers_are_refused(make_site: Any, study: Study) -> None:
    ambiguous = _renamed(make_site, "total_bilirubin,albumin", "TB,TBil,albumin")
    text = (ambiguous.folder / "patients.csv").read_text().split("\n")
    wider = "\n".join([text[0], *(line.replace(",", ",,", 1) for line in text[1:])])
    (ambiguous.folder / "patients.csv").write_text(wider)
    assert 320 in {p.number for p in read_table(ambiguous, study)[1]}
    equal = read_table(_renamed(make_site, "cohort", "sex"), study)[1]
    assert (208, 1, "sex") in found(equal)


def test_a_unit_in_the_header_or_an_unknown_unit_is_refused(make_site: Any, study: Study) -> None:
    (problem,) = read_table(_renamed(make_site, "afp", "AFP (IU/ml)"), study)[1]
    assert problem.number == 323 and "IU/mL" in problem.local
    assert (
        read_table(_renamed(make_site, "afp", "AFP (IU/ml)", '[columns]\nafp = { unit = "IU/mL" }\n'), study)[1] == []
    )
    (problem,) = read_table(make_site(toml='[columns]\nafp = { unit = "mol/L" }\n'), study)[1]
    assert (problem.number, problem.facts["unit"]) == (319, "ng/mL")


def test_dates_become_days_and_bad_dates_are_named(make_site: Any, study: Study) -> None:
    toml = '[columns]\nimaging_to_surgery_days = { start = "ct", end = "operation" }\n'
    site = make_site(toml=toml)
    lines = (site.folder / "patients.csv").read_text().splitlines()
    dates = ["ct,operation", "2024-01-01,2024-03-01", "2024-02-28,2024-03-01", "1.2.2024,2024-03-01", ","]
    dates += ["2024-05-02,2024-05-01"] + ["2024-05-01,2024-05-01"] * 55
    (site.folder / "patients.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, dates, strict=False)))
    table, problems = read_table(site, study)
    assert table.failed["imaging_to_surgery_days"][:6].tolist() == [True, False, False, False, True, False]
    assert found(problems) == {(317, 4, "ct")}


def test_a_bad_date_of_an_event_is_one_problem_and_not_two(make_site: Any) -> None:
    study = parse_study(STUDY.replace('unit = "months"\nprecision = 0.1\nmaximum = 120', 'unit = "days"'))
    site = make_site(toml='[columns]\nos_months = { start = "operation", end = "last_seen" }\n')
    lines = (site.folder / "patients.csv").read_text().splitlines()
    dates = ["operation,last_seen", "2024-01-01,2024-13-01"] + ["2024-01-01,2024-03-01"] * 59
    (site.folder / "patients.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, dates, strict=True)))
    noted = found(read_table(site, study)[1])
    assert (317, 2, "last_seen") in noted
    assert not [problem for problem in noted if problem[0] == 309]


BROKEN_TABLES: list[tuple[bytes, int, str]] = [
    ("patient_id,größe\nM1,2\n".encode("latin-1"), 205, "line 1"),
    ("patient_id,姓名,病史\nM1,肝细胞癌患者,乙肝肝硬化\n".encode("gb18030") * 5, 205, "it looks like"),
    # One accent in a table is enough: any Western code page reads it, and no Asian one is suggested.
    (("patient_id,hospital\n" + "".join(f"a{i},Süd\n" for i in range(8))).encode("latin-1"), 205, '"cp125'),
    ("patient_id,afp\nM1,2\n".encode("utf-16"), 205, "patients.csv"),
    (b"", 206, "no headers"),
    (b"patient_id;afp\n1;2\n", 206, "delimiter"),
    (b"patient_id,afp\np1,1\np2\n\np3,1,1\n", 206, "row 3"),
    (b'patient_id,afp\np1,1\n"p2"x,1\np3,1\n', 206, "row 3"),
    (b'patient_id,afp\np1,"1\n', 206, "row 2"),
    (b"patient_id,afp\n", 211, "patients.csv"),
]


@pytest.mark.parametrize(("content", "number", "said"), BROKEN_TABLES)
def test_a_broken_table_has_its_number(content: bytes, number: int, said: str, make_site: Any, study: Study) -> None:
    site = make_site()
    (site.folder / "patients.csv").write_bytes(content)
    problems = [p for p in read_table(site, study)[1] if p.number != 207]
    assert {p.number for p in problems} == {number}
    assert said in problems[0].local


def test_rows_are_numbered_as_a_spreadsheet_shows_them(make_site: Any, study: Study) -> None:
    content = b'patient_id,afp\r\n"p1","1"\r\n\r\n"p2","a\r\nb"\r\np2,3,4\r\n'
    site = make_site()
    (site.folder / "patients.csv").write_bytes(content)
    assert {(206, 5, ""), (303, 4, "afp")} <= found(read_table(site, study)[1])


def test_a_missing_table_and_a_byte_order_mark(make_site: Any, study: Study) -> None:
    site = make_site()
    path = site.folder / "patients.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_table(site, study)[1] == []
    path.unlink()
    assert [p.number for p in read_table(site, study)[1]] == [204]
    assert read_table(site, study)[0].n == 0


def test_a_declared_legacy_encoding_is_read(make_site: Any, study: Study) -> None:
    site = make_site(toml='[tables]\nencoding = "latin-1"\n[columns]\ncirrhosis = { codes = { "für" = "yes" } }\n')
    path = site.folder / "patients.csv"
    path.write_bytes(path.read_text().replace(",yes,", ",für,").encode("latin-1"))
    assert read_table(site, study)[1] == []


@pytest.mark.parametrize("swap", [False, True])
def test_a_column_that_equals_the_endpoint_is_a_leak(swap: bool, make_site: Any, study: Study) -> None:
    change = {i: {"cirrhosis": "yes" if (i % 3 == 0) != swap else "no"} for i in range(60)}
    change[4]["cirrhosis"] = ""
    (problem,) = read_table(make_site(change), study)[1]
    assert (problem.number, problem.facts) == (314, {"variable": "cirrhosis", "endpoint": "mvi"})
    change[5]["cirrhosis"] = "yes" if change[5]["cirrhosis"] == "no" else "no"
    assert read_table(make_site(change), study)[1] == []


def test_an_absent_endpoint_is_an_error_and_one_class_a_warning(make_site: Any, study: Study) -> None:
    absent = {i: {"vascular_invasion": ""} for i in range(60)}
    (problem,) = read_table(make_site(absent), study)[1]
    assert (problem.number, problem.severity) == (313, Severity.ERROR)
    one = {i: {"vascular_invasion": "Micro"} for i in range(60)}
    (problem,) = read_table(make_site(one), study)[1]
    assert (problem.number, problem.severity) == (315, Severity.WARNING)
