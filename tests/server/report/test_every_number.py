"""tests: every number on the page is one of `results.json`, or follows from it by a step that is listed here.

The steps: rounding, per cent, days as months, the absolute value (a sign is a hyphen on the page), patients without the
endpoint, and the share of one count of a result in another. Years and pages of cited papers are left out, and so are
the numbers of a checklist's items and how many of them are answered, which have tests of their own.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from common.published.results import read_results
from server.report.page import write_report
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation
from simulation.shipped import shipped_study

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[-+]\d+)?(?![\w])")
CITED = re.compile(r"[A-Z][\w.&' ]*(?: et al\.)?,? \(?[^()]*(?:19|20)\d\d(?:;[\d:e]+)?[^()]*\)|\([^()]*(?:19|20)\d\d\)")


class Page(HTMLParser):
    """The words of the page's main part that people read; figures are held by their own tests."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._main, self._drawn, self._counted = False, 0, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._main |= tag == "main"
        self._drawn += tag == "svg"
        self._counted = ("class", "number") in attrs or ("class", "tally") in attrs

    def handle_endtag(self, tag: str) -> None:
        self._main &= tag != "main"
        self._drawn -= tag == "svg"
        self._counted = False

    def handle_data(self, data: str) -> None:
        if self._main and not self._drawn and not self._counted and data.strip():
            self.words.append(CITED.sub(" ", data))


def told(value: object) -> Iterator[float]:
    """Every number of a JSON value, also those in sentences and names."""
    if isinstance(value, str):
        yield from (float(found) for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from told(key)
            yield from told(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from told(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield abs(float(value))


def derived(result: dict[str, Any]) -> Iterator[float]:
    """What follows from the counts of one result."""
    if result["n"] is not None and result["events"] is not None:
        yield result["n"] - result["events"]
    for site in (*result["sites"], None):
        column = [c["pooled"] if site is None else c["by_site"].get(site) for c in result["counts"]]
        known = [count for count in column if count]
        yield from (100.0 * part / whole for whole in (sum(known), *known) for part in known if part <= whole)


def numbers(content: dict[str, Any]) -> list[float]:
    plain = list(told(content))
    steps = [value for result in content["results"] for value in derived(result)]
    return sorted({*plain, *(100.0 * v for v in plain), *(v * 12.0 / 365.25 for v in plain), *steps})


def unknown(page: str, content: dict[str, Any]) -> list[str]:
    """Numbers of the page that `results.json` does not have."""
    known = numbers(content)

    def missing(token: str) -> bool:
        digits, _, power = token.partition("e")
        half = 0.5 * 10.0 ** (int(power or 0) - len(digits.partition(".")[2])) * (1 + 1e-9)
        place = bisect.bisect_left(known, float(token) - half)
        return place == len(known) or known[place] > float(token) + half

    return [
        f"{found.group()} in {words!r}"
        for words in Page(page).words
        for found in NUMBER.finditer(words)
        if missing(found.group())
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped demonstration, with two draws of its hospitals."""
    folders = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp(f"draw{seed}")
        make_hospitals(load_consortium("demo"), folder / "sites", seed)
        simulated = Simulation.of(shipped_study(Path("demo")), folder / "sites", folder / "run", in_process=True)
        simulated.conduct(Action.RUN, lambda _: None)
        write_report(read_results(simulated.run.results_file), None, simulated.run.folder)
        folders.append(simulated.run.folder)
    return folders


def read(folder: Path) -> tuple[str, dict[str, Any]]:
    page = (folder / "report.html").read_text(encoding="utf-8")
    return page, json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_every_number_of_the_report_is_in_the_results(runs: list[Path]) -> None:
    page, content = read(runs[0])
    assert len([n for words in Page(page).words for n in NUMBER.findall(words)]) > 1000
    assert unknown(page, content) == []


def test_what_the_protocol_says_of_the_study_is_in_the_results_and_on_the_page(runs: list[Path]) -> None:
    page, content = read(runs[0])
    assert content["reporting"]["ethics"] == "None needed: all patients are simulated."
    assert any(content["reporting"]["ethics"] in words for words in Page(page).words)


def test_the_report_of_other_results_is_found_out(runs: list[Path]) -> None:
    """So that the test above can fail: the same study's page with other patients has hundreds of strange numbers."""
    page, content = read(runs[0])[0], read(runs[1])[1]
    assert len(unknown(page, content)) > 100
