"""tests: the section on scanners and protocols says what the results hold, and no hidden count."""

from __future__ import annotations

from typing import Any

import pytest

from common.published.results import ALL_SITES, Count, Result, Results, VariableFacts
from server.report.acquisition import acquisition
from server.report.blocks import Paragraph, Table
from server.report.checklists.items import Answer, Status
from server.report.checklists.section import filled_checklists
from server.report.figures import draw_all
from server.report.page import page_sections, render
from server.report.tables import tables
from tests.server.report.conftest import SITES, Make

Row = tuple[str, dict[str, int | None], int | None]


def told(rows: list[Row], cohort: str = "train", large: tuple[str, ...] = (), **facts: Any) -> Result:
    counts = [Count(name=name, by_site=by_site, pooled=pooled, large=list(large) if pooled is None else [])
              for name, by_site, pooled in rows]  # fmt: skip
    given = {"sites": list(SITES), "how": "exact-masked", **facts}
    return Result(id=f"acquisition.{cohort}", statistic="acquisition", title=f"Acquisition of images, cohort {cohort}",
                  cohort=cohort, counts=counts, **given)  # fmt: skip


EVERYBODY: Row = ("patients", {"alpha": 60, "beta": 57, "gamma": 44}, 161)
POOLED = told(
    [EVERYBODY, ("scanner_vendor=GE", {}, 40), ("scanner_vendor=Siemens", {}, 121), ("scanner_vendor=Philips", {}, 0),
     ("scanner_vendor=unknown", {}, 0), ("slice_spacing=over 1.5 to 3 mm", {}, None),
     ("slice_spacing=unknown", {}, 101)],
    large=(ALL_SITES,), note="No table of alpha, beta, gamma alone: FEDMVI-408: not released.",
)  # fmt: skip
ALONE = told(
    [("patients", {"alpha": 60, "beta": 57}, 117), ("scanner_vendor=GE", {"alpha": 60, "beta": None}, None),
     ("scanner_vendor=unknown", {"alpha": 0, "beta": None}, None)],
    cohort="external", sites=["alpha", "beta"], how="site-alone",
)  # fmt: skip
REFUSED = told([], cohort="external", status="refused", note="No table of delta alone: FEDMVI-408: not released.")


@pytest.fixture
def with_images(make: Make) -> Results:
    facts = {"scanner_vendor": "Scanner's vendor", "slice_spacing": "Distance of slices"}
    variables = {name: VariableFacts(title=title, unit="", reference="") for name, title in facts.items()}
    results = make()
    return results.model_copy(update={"variables": {**results.variables, **variables}})


def having(results: Results, *added: Result) -> Results:
    return results.model_copy(update={"results": [*results.results, *added]})


def only_table(results: Results, *added: Result) -> Table:
    (table,) = [block for block in acquisition(having(results, *added)).blocks if isinstance(block, Table)]
    return table


def test_the_total_is_told_with_shares_of_the_cohort(with_images: Results) -> None:
    table = only_table(with_images, POOLED)
    assert table.columns == ("", "All sites")
    assert [(row.head, *row.cells) for row in table.rows] == [
        ("Patients", "161"),
        ("Scanner's vendor: GE", "40 (24.8 %)"),
        ("Scanner's vendor: Siemens", "121 (75.2 %)"),
        ("Distance of slices: over 1.5 to 3 mm", "hidden†"),
        ("Distance of slices: unknown", "101 (62.7 %)"),
    ]
    assert table.rows[0].anchor == "acquisition.train"
    assert table.how == ("exact-masked",)
    assert any("FEDMVI-408" in note for note in table.notes)
    assert any("complementary suppression" in note for note in table.notes)


def test_hospitals_have_columns_and_what_is_hidden_is_marked(with_images: Results) -> None:
    table = only_table(with_images, ALONE)
    assert table.columns == ("", "alpha", "beta")
    assert [(row.head, *row.cells) for row in table.rows] == [
        ("Patients", "60", "57"),
        ("Scanner's vendor: GE", "60 (100.0 %)", "<5†"),
        ("Scanner's vendor: unknown", "0", "<5†"),
    ]


def test_a_cohort_of_which_nothing_is_told_says_why(with_images: Results) -> None:
    section = acquisition(having(with_images, POOLED, REFUSED))
    (warning,) = [b for b in section.blocks if isinstance(b, Paragraph) and b.kind == "warning"]
    assert "Refused by a site: No table of delta alone" in warning.text
    assert warning.anchor == "acquisition.external"


def test_cohorts_that_are_not_told_are_named_and_a_study_without_images_has_no_section(with_images: Results) -> None:
    (note,) = [b for b in acquisition(having(with_images, POOLED)).blocks if isinstance(b, Paragraph)]
    assert note.text.startswith("Not told: external.")
    assert acquisition(with_images).blocks == []


def test_the_section_is_on_the_page_and_its_counts_are_a_table_of_their_own(with_images: Results) -> None:
    results = having(with_images, POOLED, ALONE)
    page = render(results, None, draw_all(results))
    assert "Scanners and protocols" in page
    assert 'id="acquisition.train"' in page
    assert "each as a level of a public list" in page
    lines = tables(results)["acquisition"].splitlines()
    (vendor,) = [line for line in lines if line.startswith("acquisition.train") and "scanner_vendor=GE" in line]
    assert vendor.endswith(f"scanner_vendor=GE,{ALL_SITES},40")
    assert sum("<5 or hidden" in line for line in lines) == 5


def test_checklists_of_images_find_the_section_and_leave_words_to_the_authors(with_images: Results) -> None:
    feature = {"portal.tumour.original_firstorder_Mean": VariableFacts(title="Mean", unit="", reference="")}
    pictured = with_images.model_copy(update={"variables": {**with_images.variables, **feature}})

    def item(results: Results) -> Answer:
        sections = page_sections(results, None, draw_all(results))
        (claim,) = [f for f in filled_checklists(results, sections) if f.guideline.name == "claim"]
        return next(answer for answer in claim.answers if answer.item.number == "13")

    found = item(having(pictured, POOLED))
    assert (found.status, found.anchors) == (Status.PART, ("acquisition",))
    assert found.words.endswith("Open: in words.")
    assert item(having(pictured, REFUSED)).status is Status.OPEN
