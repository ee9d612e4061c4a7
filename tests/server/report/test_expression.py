"""tests: the report on gene expression: its numbers, tables and figures, on results of an in-process study."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from common.published.results import CohortFacts, GeneRows, Result, Results
from server.report.expression_figures import heat_columns, heat_genes
from server.report.figures import draw_all
from server.report.headlines import headlines
from server.report.page import write_report
from server.study.expression_results import publish_expression
from server.study.results import write_results
from tests.headless import requests, show
from tests.server.report.test_every_number import Page, read, unknown
from tests.server.study.expressed_study import SETS, SITES, expressed


def results_of(found: list[Result], sites: tuple[str, ...] = SITES) -> Results:
    return Results(
        study="expressed", title="Genes by predicted invasion", description="Three hospitals have RNA.", simulated=True,
        sources=[], study_fingerprint="a" * 64, code_fingerprint="b" * 64, preparation_fingerprint="c" * 64,
        min_cell=5, cohorts=[CohortFacts(name="rna", role="genomics", sites=list(sites))], under_limits=[],
        variables={}, results=found,
    )  # fmt: skip


@pytest.fixture(scope="module")
def expressed_results() -> Results:
    """All hospitals together."""
    made = expressed()
    return results_of(publish_expression(made.study, made.compare(), SETS))


@pytest.fixture(scope="module")
def reported(expressed_results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with the report."""
    folder = tmp_path_factory.mktemp("expressed")
    write_results(expressed_results, folder / "results.json")
    write_report(expressed_results, None, folder)
    return folder


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_of_the_section_is_in_the_results(reported: Path) -> None:
    page, content = read(reported)
    assert "Gene expression, high against low score of Clinical model" in page
    assert unknown(page, content) == []
    changed = json.loads(json.dumps(content).replace("0.", "7."))
    assert len(unknown(page, changed)) > 30


def test_the_first_words_are_how_many_genes_differ_and_the_strongest_set(
    expressed_results: Results, reported: Path
) -> None:
    told = [sentence for sentence in headlines(expressed_results) if sentence.startswith("Gene expression")]
    assert len(told) == 2
    assert "genes differ at a false discovery rate of 5 %" in told[0] and "'Clinical model: high score'" in told[0]
    assert "By rank the strongest gene set is 'Glucose metabolism'" in told[0] and "whose genes are higher" in told[0]
    assert "More of the genes that differ than expected are in 'Glucose metabolism'" in told[0]
    words = " ".join(Page(read(reported)[0]).words)
    assert "Groups are predictions" in words and "it causes anything is not shown" in words


def test_the_tables_have_every_gene_and_every_set_with_all_digits(expressed_results: Results, reported: Path) -> None:
    for result in expressed_results.results:
        if result.genes is not None:
            rows = rows_of(reported, result.id)
            assert [row["gene"] for row in rows] == result.genes.genes
            for name, column in result.genes.columns.items():
                assert [float(row[name]) if row[name] else None for row in rows] == column
        if result.sets:
            rows = rows_of(reported, result.id)
            assert [(row["set"], float(row["p"])) for row in rows] == [(one.name, one.p) for one in result.sets]
            assert rows[0]["leading"].split() == result.sets[0].leading


def test_figures_show_hospitals_and_genes_and_no_patient(expressed_results: Results) -> None:
    pictures = draw_all(expressed_results)
    names = {name.removeprefix("expression.by-group.") for name in pictures if "by-group" in name}
    assert names == {"volcano", "sites.levels", "sites.components", "gene-sets.preranked.sets"}
    assert all(picture.description.startswith("Simulated data. ") for picture in pictures.values())
    assert all(len(picture.svg) < 200_000 for picture in pictures.values())
    levels = next(r for r in expressed_results.results if r.id == "expression.by-group.sites")
    assert heat_columns(levels) == [(site, part) for site in SITES for part in ("low", "high")]
    assert len(heat_genes(levels)) == 30
    drawn = pictures["expression.by-group.sites.levels"].svg
    assert all(f">{gene}<" in drawn for gene in heat_genes(levels))
    assert draw_all(expressed_results)["expression.by-group.volcano"].svg == pictures["expression.by-group.volcano"].svg


def test_a_hospital_with_a_small_group_has_no_column_by_group(expressed_results: Results) -> None:
    result = next(r for r in expressed_results.results if r.id == "expression.by-group.sites")
    assert result.genes is not None
    columns = {name: values for name, values in result.genes.columns.items() if name not in ("low beta", "high beta")}
    fewer = result.model_copy(update={"genes": GeneRows(genes=result.genes.genes, columns=columns)})
    assert {site for site, _ in heat_columns(fewer)} == {"alpha", "gamma"}
    assert "beta" not in draw_all(results_of([fewer]))["expression.by-group.sites.levels"].description


def test_twenty_thousand_genes_are_a_figure_that_a_browser_can_carry(expressed_results: Results) -> None:
    whole = next(r for r in expressed_results.results if r.id == "expression.by-group")
    assert whole.genes is not None
    times = 60
    many = GeneRows(
        genes=[f"{gene}.{i}" for i in range(times) for gene in whole.genes.genes],
        columns={
            name: [None if v is None else v + 1e-4 * i for i in range(times) for v in values]
            for name, values in whole.genes.columns.items()
        },
    )
    picture = draw_all(results_of([whole.model_copy(update={"genes": many})]))["expression.by-group.volcano"]
    assert len(many.genes) > 20_000 and len(picture.svg) < 1_500_000


def test_what_was_refused_or_is_not_estimable_is_said(tmp_path: Path) -> None:
    base = {"cohort": "rna", "sites": list(SITES), "how": "exact"}
    found = [
        Result.model_validate({**base, "id": "expression.x", "statistic": "differential-expression", "title": "X",
                               "status": "refused", "note": "FEDMVI-403: Fewer patients."}),
        Result.model_validate({**base, "id": "expression.x.gene-sets.preranked", "statistic": "gene-sets",
                               "kind": "preranked", "title": "Sets", "status": "not-estimable", "note": "None."}),
    ]  # fmt: skip
    write_report(results_of(found), None, tmp_path)
    words = " ".join(Page((tmp_path / "report.html").read_text(encoding="utf-8")).words)
    assert "X: refused." in words and "Refused by a site: FEDMVI-403: Fewer patients." in words
    assert "Sets. Not estimable: None." in words


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_with_every_word_of_its_figures_inside(browser: Any, reported: Path, width: int) -> None:
    page = reported / "report.html"
    show(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert requests(browser) == [page.as_uri()]
    outside = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].flatMap(s => {"
        " const a = s.getBoundingClientRect();"
        " return [...s.querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect();"
        "  return b.left < a.left - 1 || b.right > a.right + 1 || b.bottom > a.bottom + 1 || b.top < a.top - 1; })"
        " .map(t => t.textContent); })"
    )
    assert outside == []
