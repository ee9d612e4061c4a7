"""tests: every number on a report's page is one of `results.json`, or follows from it by a step that is listed here.

The steps: rounding, per cent, days as months, the absolute value (a sign is a hyphen on the page), patients without the
endpoint, the share of one count of a result in another, and sums of patients over the cohorts of prediction, which
share none: of all, and of those of whom an endpoint is known, with it and in all. Years and pages of cited papers are
left out, and so are the numbers of a checklist's items and how many are answered, which have tests of their own.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[-+]\d+)?(?![\w])")
CITED = re.compile(r"[A-Z][\w.&' ]*(?: et al\.)?,? \(?[^()]*(?:19|20)\d\d(?:;[\d:e]+)?[^()]*\)|\([^()]*(?:19|20)\d\d\)")


def read(folder: Path) -> tuple[str, dict[str, Any]]:
    """The page of a run's folder, and its results."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    return page, json.loads((folder / "results.json").read_text(encoding="utf-8"))


def printed(page: str) -> int:
    """How many numbers the page has."""
    return len([n for words in Page(page).words for n in NUMBER.findall(words)])


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


def over_cohorts(content: dict[str, Any]) -> Iterator[float]:
    """What follows from the counts of all cohorts of prediction together."""
    predicts = {c["name"] for c in content["cohorts"] if c["role"] not in ("outcome", "genomics")}
    found = [r for r in content["results"] if r["cohort"] in predicts and r["n"] is not None]
    yield sum(r["n"] for r in found if r["statistic"] == "patient-flow")
    classes = [r for r in found if r["statistic"] == "endpoint-counts" and r["events"] is not None]
    for endpoint in {r["id"].rpartition(".")[2] for r in classes}:
        known = [r for r in classes if r["id"].rpartition(".")[2] == endpoint]
        n, events = sum(r["n"] for r in known), sum(r["events"] for r in known)
        yield from (n, events, 100.0 * events / n)


def numbers(content: dict[str, Any]) -> list[float]:
    """All that the page may print, ascending."""
    plain = list(told(content))
    steps = [*over_cohorts(content)]
    steps += [value for result in content["results"] for value in derived(result)]
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
