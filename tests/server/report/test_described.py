"""tests: the sections on characteristics, subgroups and preparation say what the results hold, and no hidden count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from common.published.results import EVERYONE, Estimate, Result, Results
from common.study.preparation import Preparation
from server.report.blocks import Row, Section, Table
from server.report.characteristics import characteristics
from server.report.figures import draw_all
from server.report.page import render
from server.report.preparation import preparation
from server.report.subgroups import subgroups
from tests.server.report.conftest import SITES, Make


def described(cohort: str, estimates: list[tuple[Any, ...]], **facts: Any) -> Result:
    """Estimates are (name, term, value, note)."""
    found = [Estimate(name=n, term=t, value=v, note=note) for n, t, v, note in (e if len(e) == 4 else (*e, "")
             for e in estimates)]  # fmt: skip
    by = f".{facts['kind']}" if "kind" in facts else ""
    return Result(id=f"characteristics.{cohort}{by}", statistic="characteristics", title=f"Characteristics, {cohort}",
                  cohort=cohort, sites=list(SITES), how="exact-masked", estimates=found, **facts)  # fmt: skip


ALL = described("train", [
    ("known", "age", 150.0), ("mean", "age", 57.123), ("std", "age", 10.98),
    ("known", "afp>20", 161.0), ("patients", "afp>20", 93.0), ("share", "afp>20", 93 / 161),
    ("known", "sex", 161.0), ("patients", "sex=female", 40.0), ("share", "sex=female", 40 / 161),
    ("patients", "sex=male", 121.0), ("share", "sex=male", 121 / 161),
    ("known", "stage", 161.0), ("patients", "stage=A", 100.0), ("share", "stage=A", 100 / 161),
    ("patients", "stage=B", None), ("patients", "stage=C", None),
    ("patients", "ascites=no", None, "Site beta: FEDMVI-409: few"),
    ("patients", "ascites=yes", None, "Site beta: FEDMVI-409: few"),
], n=161)  # fmt: skip
FAR = described("outcome", [
    ("known", "age", 90.0), ("mean", "age", 60.0), ("std", "age", 9.0), ("smd", "age", 0.2868),
    ("known", "sex", 90.0), ("patients", "sex=female", 45.0), ("share", "sex=female", 0.5),
    ("patients", "sex=male", 45.0), ("share", "sex=male", 0.5), ("smd", "sex", -0.5408),
    ("smd", "stage", None, "not estimable"),
], n=90)  # fmt: skip
BY_CLASS = described("train", [
    ("known_absent", "age", 82.0), ("mean_absent", "age", 55.5), ("std_absent", "age", 11.0),
    ("known_present", "age", 70.0), ("mean_present", "age", 59.25), ("std_present", "age", 10.0), ("smd", "age", 0.357),
], n=159, events=77, kind="mvi")  # fmt: skip

AREAS = Result(
    id="subgroups.parts", statistic="subgroups", title="Clinical model in subgroups", cohort="train", sites=list(SITES),
    n=161, events=77, how="binned(20)", note="One test a variable.", estimates=[
        Estimate(name="patients", term=EVERYONE, value=161.0), Estimate(name="events", term=EVERYONE, value=77.0),
        Estimate(name="auc", term=EVERYONE, value=0.7123, low=0.63, high=0.79, std_err=0.04),
        Estimate(name="patients", term="Sex: female", value=40.0),
        Estimate(name="events", term="Sex: female", value=None),
        Estimate(name="auc", term="Sex: female", value=0.8012, low=0.66, high=0.94, std_err=0.07),
        Estimate(name="patients", term="Sex: male", value=121.0), Estimate(name="events", term="Sex: male", value=58.0),
        Estimate(name="auc", term="Sex: male", value=0.6789, low=0.58, high=0.77, std_err=0.05),
        Estimate(name="interaction_chi2", term="Sex", value=2.0, p=0.1573, note="df=1"),
        Estimate(name="auc", term="Age: at most 50 years", value=None, note="Site beta: FEDMVI-431: few"),
        Estimate(name="auc", term="Age: above 50 years", value=None, note="Site beta: FEDMVI-431: few"),
        Estimate(name="interaction_chi2", term="Age", value=None, note="fewer than two areas"),
    ],
)  # fmt: skip

SETTINGS = Preparation.model_validate({
    "modality": "ct", "phases": ("plain", "arterial"), "reference": "arterial",
    "subtractions": ("arterial-minus-plain",), "stacks": {"slices": 5},
    "radiomics": {"classes": ("firstorder", "glcm"), "log_sigma_mm": (2.5,)}, "registration": {"method": "rigid"},
})  # fmt: skip


@pytest.fixture
def content(results: Results) -> Results:
    more = [ALL, FAR, BY_CLASS, AREAS]
    return results.model_copy(update={"results": [*results.results, *more], "preparation": SETTINGS})


def tables(section: Section) -> list[Table]:
    inner = [block for part in section.parts for block in part.blocks]
    return [block for block in (*section.blocks, *inner) if isinstance(block, Table)]


def rows(table: Table) -> dict[str, tuple[str, ...]]:
    return {row.head: row.cells for row in table.rows}


def test_cohorts_stand_side_by_side_with_their_differences_from_training(content: Results) -> None:
    table = tables(characteristics(content))[0]
    assert table.columns == ("", "train (n = 161)", "outcome (n = 90)", "SMD")
    assert rows(table) == {
        "Age, years": ("57.1 (11.0)", "60.0 (9.00)", "0.29"),
        "Age, years: known": ("150", "90", ""),
        "AFP > 20 ng/mL": ("93 (57.8 %)", "–", ""),
        "Sex: male": ("121 (75.2 %)", "45 (50.0 %)", "-0.54"),
        "stage: A": ("100 (62.1 %)", "–", "–"),
        "stage: B": ("<5†", "–", ""),
        "stage: C": ("<5†", "–", ""),
        "ascites: yes": ("–", "–", ""),
    }
    assert any("hidden together" in note for note in table.notes)
    assert "ascites (train): Site beta: FEDMVI-409: few" in table.notes


def test_classes_stand_side_by_side_under_the_names_of_the_endpoint(content: Results) -> None:
    table = tables(characteristics(content))[1]
    assert table.columns == (
        "", "Microvascular invasion absent (n = 82)", "Microvascular invasion present (n = 77)", "SMD",
    )  # fmt: skip
    assert rows(table) == {"Age, years": ("55.5 (11.0)", "59.2 (10.0)", "0.36"), "Age, years: known": ("82", "70", "")}


def test_cohorts_that_are_not_described_are_named(content: Results) -> None:
    (note,) = (b for b in characteristics(content).blocks if getattr(b, "kind", "") == "note")
    assert "Not described: external." in note.text  # type: ignore[union-attr]
    assert characteristics(content.model_copy(update={"results": []})).blocks == []


def test_subgroups_have_areas_and_variables_have_tests(content: Results) -> None:
    (table,) = tables(subgroups(content, {}))
    assert table.columns[-1] == "Interaction p"
    assert [(row.head, *row.cells) for row in table.rows] == [
        ("All patients", "161", "77", "0.712 (0.630 to 0.790)", ""),
        ("Sex", "", "", "", "0.16"),
        ("female", "40", "<5†", "0.801 (0.660 to 0.940)", ""),
        ("male", "121", "58", "0.679 (0.580 to 0.770)", ""),
        ("Age", "", "", "", "–"),
        ("at most 50 years", "–", "–", "not estimable", ""),
        ("above 50 years", "–", "–", "not estimable", ""),
    ]
    assert "Age: above 50 years: Site beta: FEDMVI-431: few" in table.notes


def test_the_forest_plot_says_the_same_and_is_marked_where_simulated(content: Results, make: Make) -> None:
    picture = draw_all(content)["subgroups.parts"]
    shown = ["".join(e.itertext()) for e in ElementTree.fromstring(picture.svg).iter() if e.tag.endswith("text")]
    for words in ("All patients", "Sex", "p = 0.16", "0.679 (0.580 to 0.770)", "not estimable", "SIMULATED DATA"):
        assert words in shown, words
    assert shown.count("not estimable") == 2
    assert draw_all(content)["subgroups.parts"] == picture
    assert "Sex female: AUC 0.801 (0.660 to 0.940)." in picture.description
    assert "SIMULATED DATA" not in draw_all(content.model_copy(update={"simulated": False}))["subgroups.parts"].svg


def leaves(value: object) -> Iterator[str]:
    """Every setting as the table writes one."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield f"{value:g}" if isinstance(value, float) else str(value)


def test_every_setting_of_the_preparation_is_in_the_table(content: Results) -> None:
    section = preparation(content)
    (table,) = tables(section)
    told = {word for row in table.rows for cell in row.cells for word in cell.lower().split(", ")}
    assert set(leaves(SETTINGS.model_dump(mode="json"))) <= told
    assert Row("Registration: method", ("rigid",)) in table.rows
    assert Row("ROI stacks: slices", ("5",)) in table.rows
    assert preparation(content.model_copy(update={"preparation": None})).blocks == []


def test_the_sections_stand_on_the_page_in_the_order_of_a_paper(content: Results) -> None:
    page = render(content, None, draw_all(content))
    ids = re.findall(r' id="([a-z-]+)"', page)
    order = [ids.index(name) for name in ("patients", "characteristics", "preparation", "models", "subgroups")]
    assert order == sorted(order)
