"""server/study: agreement of two readers on traits, from the hospitals' tables to the report, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from client.cohort.reading import read_table
from client.cohort.site import load_site
from common.errors import Severity
from common.federation.query import Query, each, total
from common.federation.runner import conclude
from common.published.results import Results
from common.statistics.kappa import ReaderTable
from common.statistics.moments import Deviations
from common.statistics.variance import LevelCounts
from common.study.coding import CodedColumn
from common.study.features import second_reading
from common.study.fingerprint import preparation_fingerprint
from common.study.loader import load_study, parse_study
from common.study.readings import BothReadings, second_column
from common.study.recipe import Complete, Recipe, Select
from server.report.page import write_report
from server.study.conduct import conduct
from tests.disclosure.consortium import POLICY, STUDY, Consortium, Row, make

TRAITS = ("imaging_capsule", "tumour_margin_smooth")
CAPSULE, SMOOTH = TRAITS
ANALYSIS = """
[[analyses]]
name = "readers"
statistic = "reader-kappa"
cohort = "train"
predictors = ["imaging_capsule", "tumour_margin_smooth"]
"""
TEXT = STUDY.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "d"]').replace(
    'sites = ["d", "e", "f"]', 'sites = ["e", "f", "g"]'
)


def change(rows: list[Row]) -> None:
    """Capsules that the second reader sees otherwise in every fifth patient, and margins on which few differ; hospital
    d has one reader."""
    for i, row in enumerate(rows):
        row[CAPSULE] = "yes" if i % 3 else "no"
        row[SMOOTH] = "yes" if i % 2 else "no"
        if not row["patient_id"].startswith("d"):
            other = {"yes": "no", "no": "yes"}
            row[second_column(CAPSULE)] = other[row[CAPSULE]] if i % 5 == 0 else row[CAPSULE]
            row[second_column(SMOOTH)] = other[row[SMOOTH]] if i < 2 else row[SMOOTH]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    sites = "abcdefg"
    return make(tmp_path_factory.mktemp("sites"), dict.fromkeys(sites, change), study=TEXT + ANALYSIS, sites=sites)


@pytest.fixture(scope="module")
def results(made: Consortium) -> Results:
    return conduct(made.study, made.port(), lambda _: None).results


def test_kappa_is_that_of_the_patients_whom_two_have_read(made: Consortium, results: Results) -> None:
    rows = pd.concat([pd.read_csv(made.folders[site] / "patients.csv") for site in "abc"])
    result = results.get("analysis.readers")
    told = {e.name: e for e in result.estimates if e.term == CAPSULE}
    assert told["kappa"].value == pytest.approx(
        cohen_kappa_score(rows[CAPSULE], rows[second_column(CAPSULE)]), abs=1e-9
    )
    assert told["kappa"].low is not None
    assert told["agreement"].value == pytest.approx(0.8)
    assert [told[name].value for name in ("patients", "sites", "sites_left_out")] == [180.0, 3.0, 0.0]


def test_where_few_disagree_nothing_is_told_but_why(results: Results) -> None:
    (smooth,) = (e for e in results.get("analysis.readers").estimates if e.term == SMOOTH)
    assert (smooth.name, smooth.value) == ("kappa", None)
    assert "FEDMVI-653" in smooth.note


def test_the_report_has_a_row_a_trait(results: Results, tmp_path: Path) -> None:
    write_report(results, None, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    kappa = next(e for e in results.get("analysis.readers").estimates if e.name == "kappa")
    assert f"{kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})" in text
    assert "Capsule on imaging" in text
    assert "FEDMVI-653" in text
    assert "kappa" in (tmp_path / "tables" / "analyses.csv").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------ what a site answers

READ = Recipe((BothReadings(CAPSULE),))
TABLE = ReaderTable("train", READ, CAPSULE, 2, 5)
AGAIN = second_reading(CAPSULE)
KNOWN = Select((CodedColumn("age", "age", "known"),))
ASKED: dict[str, tuple[Query, int]] = {
    "as declared": (TABLE, 0),
    "of smaller cells": (replace(TABLE, min_cell=1), 414),
    "of more levels": (replace(TABLE, levels=3), 414),
    "of the tested": (replace(TABLE, cohort="external"), 414),
    "of a trait that is not declared": (ReaderTable("train", Recipe((BothReadings("sex"),)), "sex", 2, 5), 414),
    "of another trait's readings": (replace(TABLE, recipe=Recipe((BothReadings(SMOOTH),))), 414),
    "of those who have a column": (replace(TABLE, recipe=READ.then(Complete((AGAIN,), ()))), 414),
    "of no readings": (replace(TABLE, recipe=Recipe((KNOWN,))), 414),
    "beside another column": (replace(TABLE, recipe=Recipe((KNOWN, BothReadings(CAPSULE)))), 414),
    "levels of the second reading": (LevelCounts("train", READ, (AGAIN,), (2,)), 414),
    "its mean": (Deviations("train", READ, (AGAIN,), np.zeros(1)), 414),
}


@pytest.mark.parametrize("name", ASKED)
def test_nothing_else_is_asked_of_the_second_readings(made: Consortium, name: str) -> None:
    query, number = ASKED[name]
    site = made.study.cohort(query.cohort).sites[0]
    assert made.open(*"abcdefg").number(site, total(query)) == number


def test_a_site_does_not_tell_its_own_table(made: Consortium) -> None:
    assert made.open(*"abcdefg").number("a", each(TABLE)) in (402, 408)


def test_a_stricter_limit_of_a_hospital_keeps_its_table(tmp_path: Path) -> None:
    strict = f"{POLICY}min_cell = 21\n"
    one = make(tmp_path, dict.fromkeys("abcdefg", change), study=TEXT + ANALYSIS, policy=strict, sites="abcdefg")

    def asking():  # type: ignore[no-untyped-def]
        return (yield total(TABLE))

    (told,) = conclude(one.open(*"abcdefg").port(), [asking()])
    assert (int(told["sites"]), int(told["left_out"]), int(told["counts"].sum())) == (0, 3, 0), "20 have no capsule"


# ----------------------------------------------------------------------------------------------- what a table may hold


def test_a_wrong_word_of_the_second_reader_is_an_error_and_no_second_reader_is_none(tmp_path: Path) -> None:
    one = make(tmp_path, dict.fromkeys("ad", change), study=TEXT + ANALYSIS, sites="ad")
    table, problems = read_table(load_site(one.folders["d"]), one.study)
    assert not [p for p in problems if p.severity is Severity.ERROR]
    assert np.isnan(table.second[CAPSULE].values).all()
    path = one.folders["a"] / "patients.csv"
    rows = pd.read_csv(path)
    rows.loc[3, second_column(CAPSULE)] = "perhaps"
    rows.to_csv(path, index=False)
    problems = read_table(load_site(one.folders["a"]), one.study)[1]
    assert [p.number for p in problems if p.severity is Severity.ERROR] == [308]


def test_only_a_study_that_asks_prepares_second_readings() -> None:
    plain, asking = parse_study(TEXT), parse_study(TEXT + ANALYSIS)
    assert (plain.traits_read_twice(), asking.traits_read_twice()) == ((), tuple(sorted(TRAITS)))
    assert preparation_fingerprint(plain) != preparation_fingerprint(asking)


def test_a_number_has_no_kappa(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(TEXT + ANALYSIS.replace('"imaging_capsule"', '"afp"'), encoding="utf-8")
    with pytest.raises(Exception, match="103") as met:
        load_study(path)
    assert "traits with levels" in str(getattr(met.value, "local", met.value))
