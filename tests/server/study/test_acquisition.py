"""server/study: how images were acquired, against the hospitals' rows; small counts and what tells them are hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from common.errors import FedmviError
from common.published.results import Count, Result, Results
from common.study.acquisition import UNKNOWN
from common.study.loader import parse_study
from server.report.figures import draw_all
from server.report.page import render
from server.study.acquisition import PATIENTS
from server.study.conduct import conduct
from server.study.results import to_text
from tests.disclosure.consortium import Consortium
from tests.server.report.test_every_number import unknown
from tests.server.study.acquired_study import FEW, HEAD, PREPARATION, WITH_IMAGES, consortium

CLOSED = 'approved_studies = ["any"]\n'
CELL = 5
TWO = HEAD.replace('["a", "b", "c"]', '["a", "b", "c", "d"]').replace('["d", "e", "f"]', '["e", "f"]')


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return consortium(tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="module")
def results(made: Consortium) -> Results:
    return conduct(made.study, made.port(), lambda _: None).results


def of(results: Results, cohort: str) -> Result:
    return results.get(f"acquisition.{cohort}")


def counts(result: Result) -> dict[str, Count]:
    return {count.name: count for count in result.counts}


def rows_of(made: Consortium, sites: str) -> pd.DataFrame:
    rows = pd.concat([pd.read_csv(made.folders[site] / "patients.csv").assign(site=site) for site in sites])
    return rows.assign(scanner_vendor=rows["scanner_vendor"].fillna(UNKNOWN))


def test_totals_are_the_pooled_rows_and_small_counts_of_a_site_are_hidden(made: Consortium, results: Results) -> None:
    result, rows = of(results, "train"), rows_of(made, "abc")
    assert (result.status, result.how, result.n) == ("estimated", "exact-masked", len(rows))
    found = counts(result)
    assert found[PATIENTS].by_site == rows.groupby("site").size().to_dict()
    for fact in ("scanner_vendor", "tube_voltage"):
        for level, patients in rows[fact].value_counts().items():
            assert found[f"{fact}={level}"].pooled == patients, (fact, level)
    for (site, level), patients in rows.groupby("site")["tube_voltage"].value_counts().items():
        assert found[f"tube_voltage={level}"].by_site[site] == patients, (site, level)
    assert found["scanner_vendor=Siemens"].by_site["c"] is None


def test_no_hidden_count_follows_from_sites_totals_and_levels(made: Consortium, results: Results) -> None:
    """The three patients of c whom Siemens scanned: neither c's row nor the total of Siemens gives them away."""
    found = counts(of(results, "train"))
    vendors = [count for name, count in found.items() if name.startswith("scanner_vendor=")]
    hidden_in_c = [count for count in vendors if count.by_site["c"] is None]
    assert len(hidden_in_c) > 1
    siemens = found["scanner_vendor=Siemens"]
    assert FEW == (rows_of(made, "c")["scanner_vendor"] == "Siemens").sum() < CELL
    # Who knows the total and the other hospitals' counts would have it.
    assert sum(siemens.by_site[site] is None for site in "abc") > 1 or siemens.pooled is None


def test_what_no_image_tells_is_counted_as_unknown(results: Results) -> None:
    found = counts(of(results, "train"))
    n = found[PATIENTS]
    unknown = found[f"slice_spacing={UNKNOWN}"]
    assert (unknown.pooled, unknown.by_site) == (n.pooled, n.by_site)
    assert all(count.pooled == 0 for name, count in found.items() if name.startswith("slice_spacing=") and
               not name.endswith(UNKNOWN))  # fmt: skip


def test_cohorts_that_share_patients_are_not_both_told(results: Results) -> None:
    """Sums of two cohorts that differ by a hospital would tell that hospital's."""
    told = [result.cohort for result in results.results if result.statistic == "acquisition"]
    assert told == ["train", "external"]


def test_a_study_without_images_asks_and_tells_nothing(tmp_path: Path) -> None:
    made = consortium(tmp_path, study=HEAD)
    results = conduct(made.study, made.port(), lambda _: None).results
    assert not [result for result in results.results if result.statistic == "acquisition"]


@pytest.mark.parametrize(("silent", "pooled", "alone"), [("a", False, "bc"), ("abc", True, "")])
def test_hospitals_that_do_not_tell_their_own_are_not_told_by_subtraction(
    silent: str, pooled: bool, alone: str, tmp_path: Path
) -> None:
    made = consortium(tmp_path, policies=dict.fromkeys(silent, CLOSED))
    result = of(conduct(made.study, made.port(), lambda _: None).results, "train")
    assert result.status == "estimated"
    assert ("FEDMVI-408" in result.note) == bool(silent)
    voltages = [count for count in result.counts if count.name.startswith("tube_voltage=")]
    assert all((count.pooled is not None) == pooled for count in voltages)
    assert {site for count in voltages for site in count.by_site} == set(alone)
    assert ("No table of all sites" in result.note) != pooled


def test_a_cohort_where_nobody_tells_anything_is_refused(tmp_path: Path) -> None:
    made = consortium(tmp_path, study=TWO + PREPARATION, policies=dict.fromkeys("ef", CLOSED))
    results = conduct(made.study, made.port(), lambda _: None).results
    result = of(results, "external")
    assert (result.status, result.counts, result.how) == ("refused", [], "site-alone")
    assert "No table of e, f alone: FEDMVI-408" in result.note


@pytest.mark.parametrize("table", ['variables = ["scanner_vendor", "age"]', 'variables = ["slice_spacing"]'])
def test_a_fact_is_told_in_one_table_only(table: str) -> None:
    with pytest.raises(FedmviError, match="103") as refused:
        parse_study(WITH_IMAGES + f"\n[characteristics]\n{table}\n")
    assert "is told in the table of how images were acquired" in refused.value.local


def test_hospitals_too_few_for_a_sum_tell_their_own_which_add_up(tmp_path: Path) -> None:
    made = consortium(tmp_path, study=TWO + PREPARATION)
    result, rows = of(conduct(made.study, made.port(), lambda _: None).results, "external"), rows_of(made, "ef")
    assert (result.status, result.how, result.note) == ("estimated", "site-alone", "")
    found = counts(result)
    for level, patients in rows["scanner_vendor"].value_counts().items():
        assert found[f"scanner_vendor={level}"].pooled == patients
    assert found["scanner_vendor=GE"].by_site == {"e": 54, "f": 0}


def test_every_number_of_the_section_is_in_the_results(results: Results) -> None:
    others = [result for result in results.results if result.statistic != "acquisition"]
    without = results.model_copy(update={"results": others})
    page, bare = (render(each, None, draw_all(each)) for each in (results, without))
    assert "Tube voltage: over 90 to 110 kV" in page
    content = json.loads(to_text(results))
    assert set(unknown(page, content)) <= set(unknown(bare, content))
    # So that it can fail: of other results the section's numbers are strange.
    assert set(unknown(page, json.loads(to_text(without)))) > set(unknown(bare, content))
