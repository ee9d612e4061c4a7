"""tests: the page: complete, self-contained, inert, the same each time, and usable without eyes or a mouse."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from common.published.results import Results
from server.report.figures import draw_all
from server.report.page import render, write_report
from tests.server.report.conftest import RUN, Make

VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect"}


class Page(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


@pytest.fixture
def html(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_every_result_is_an_anchor_and_no_id_comes_twice(results: Results, html: str) -> None:
    ids = Page(html).ids
    assert {result.id for result in results.results} <= set(ids)
    assert len(ids) == len(set(ids))


def test_the_contents_lead_to_headings(html: str) -> None:
    page = Page(html)
    links = [attributes["href"] for attributes in page.of("a")]
    assert links and all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(page.ids)
    assert len(page.of("h1")) == 1


def test_hidden_counts_are_shown_as_below_the_limit_and_explained(html: str) -> None:
    page = Page(html)
    assert "<5†" in page.text
    assert "complementary suppression" in page.text
    assert "hidden†" in page.text  # more patients than that were in the cohort: it cannot be small itself
    assert not re.search(r">\s*(None|nan|-1)\s*<", html)


def test_the_same_results_are_the_same_bytes(results: Results, folder: Path, tmp_path: Path) -> None:
    write_report(results, RUN, tmp_path / "again")
    files = sorted(path for path in (tmp_path / "again").rglob("*") if path.is_file())
    assert len(files) > 10
    for path in files:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "again")).read_bytes(), path.name


def test_the_page_asks_for_nothing_from_anywhere(html: str) -> None:
    page = Page(html)
    assert not page.of("script", "link", "img", "iframe", "object", "embed", "form", "image", "base")
    for _, attributes in page.elements:
        for name in ("src", "srcset", "data", "action", "poster", "xlink:href"):
            assert name not in attributes
        assert attributes.get("href", "#").startswith("#")
        assert "style" not in attributes
    assert not re.search(r"@import|url\((?!#)", html)
    assert re.findall(r"https?://\S+", html) == ["https://example.org/paper</li>"]  # a source, in plain text


def test_the_security_policy_allows_this_style_sheet_and_nothing_else(html: str) -> None:
    policy = next(a["content"] for a in Page(html).of("meta") if "content-security-policy" in str(a).lower())
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_hostile_names_are_inert(make: Make, tmp_path: Path) -> None:
    attack = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    hostile = make(title=attack, sites=("</style><svg onload=alert(3)>", "{{ 7 * 7 }}", "_$\\frac{$\x00"), far=attack)
    write_report(hostile, {"run_id": attack, "sites": {attack: {"numpy": attack}}}, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert not page.of("script", "img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count("alert(1)") >= 3
    assert "{{ 7 * 7 }}" in page.text
    assert "\x00" not in html


def test_tables_say_what_their_cells_are(html: str) -> None:
    page = Page(html)
    assert len(page.of("caption")) == len(page.of("table")) > 5
    assert all(attributes.get("scope") in ("col", "row", "rowgroup") for attributes in page.of("th"))
    assert next(a for t, a in page.elements if t == "html")["lang"] == "en"
    assert all(a.get("aria-label") for a in page.of("div") if a.get("tabindex") == "0")


def test_figures_are_described_with_their_numbers(html: str) -> None:
    page = Page(html)
    figures = page.of("svg")
    assert len(figures) == len(page.of("figure")) == 3
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in figures)
    assert "train (apparent): AUC 0.712 (0.650 to 0.770)." in page.text
    assert "absent: 82 at risk at first" in page.text


def test_what_was_refused_or_not_estimable_is_said_in_words(html: str) -> None:
    text = Page(html).text
    assert "FEDMVI-401: Site policy allows fewer parameters. Use fewer predictors." in text
    assert "Refused by a site: " in text
    assert "Not estimable: fewer than 5 events in a group." in text
    assert "The predictors separate the classes." in text


def test_how_each_number_was_computed_is_explained(html: str) -> None:
    page = Page(html)
    assert {"how-exact", "how-exact-masked", "how-site-alone"} <= set(page.ids)


def test_numbers_are_rounded_as_a_journal_would(html: str) -> None:
    text = Page(html).text
    for words in ("0.712 (0.650 to 0.770)", "3.00 (1.67 to 5.41)", "<0.001",
                  "log-rank chi-square 21.12 (df=1), p < 0.001",
                  "57.1 (11.0) years", "57.8 %", "400 days (13.1 months)", "700 days to not reached",
                  "AFP > 20 ng/mL", "Age, per year", "fewer than 5 patients at risk"):  # fmt: skip
        assert words in text, words


def test_the_run_is_described_only_if_its_facts_are_given(results: Results, html: str) -> None:
    text = Page(html).text
    for words in (
        "run-1",
        "1 h 2 min 3 s",
        "1.8 MB",
        "912 bytes",
        "alpha, beta: numpy 2.4.6; data: alpha ffffffffffff, beta 000000000000",
        "external 2",
    ):
        assert words in text, words
    assert "This run" not in render(results, None, draw_all(results))


def test_only_a_simulated_study_is_marked(make: Make, tmp_path: Path) -> None:
    for simulated in (True, False):
        results = make(simulated=simulated)
        html = render(results, None, draw_all(results))
        assert ("Simulated data." in html) is simulated


def test_a_plan_without_any_fit_and_an_empty_study_have_a_page_too(results: Results) -> None:
    for kept in (3, 0):
        part = results.model_copy(update={"results": results.results[:kept]})
        page = Page(render(part, None, draw_all(part)))
        assert {result.id for result in part.results} <= set(page.ids)
