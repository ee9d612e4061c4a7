"""server/report: what a checklist is made of: items in our own words, what answers them, and how far it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from common.published.results import Result, Results, Statistic
from server.report.contents import all_sites


class Status(StrEnum):
    """How far an item is answered."""

    FILLED = "filled by the program"
    ANSWERED = "answered by the authors"
    PART = "in part"
    OPEN = "open"


@dataclass(frozen=True)
class Facts:
    """What a page knows: the results, and its own sections by their anchors.

    Software versions are in the section on the run, which only a page with `run.json` has.
    """

    results: Results
    titles: Mapping[str, str]

    def of(self, *statistics: Statistic, roles: Collection[str] = (), kind: str = "") -> list[Result]:
        """What was estimated of these statistics, in cohorts of these roles (of any where none is given)."""
        cohorts = {c.name for c in self.results.cohorts if not roles or c.role in roles}
        return [
            r
            for r in self.results.results
            if r.statistic in statistics and r.status == "estimated" and r.cohort in cohorts and kind in ("", r.kind)
        ]


@dataclass(frozen=True)
class Evidence:
    """An answer that is on the page: in words, and where; every anchor is one of the page's sections.

    `lacks` is what this study leaves open although another may have it.
    """

    words: str
    anchors: tuple[str, ...]
    lacks: str = ""


Known = Callable[[Facts], Evidence | None]
"""Finds the answer to an item in a study; None where this study has none."""


@dataclass(frozen=True)
class Item:
    """An item of a guideline.

    Attributes
    ----------
    number, words
        As the guideline counts it, and what it asks, in our own words.
    known
        Finds what the program knows of it.
    lacks
        What the program cannot know although it knows something; empty where its answer is whole.
    told
        The field of `[reporting]` in which the authors answer it, or what is lacking.
    """

    number: str
    words: str
    known: Known | None = None
    lacks: str = ""
    told: str = ""


@dataclass(frozen=True)
class Guideline:
    """A guideline: its items by section, and which studies it is for.

    `judged` ones ask for a judgement, so that nothing that the program finds answers them: it shows where to look.
    """

    name: str
    title: str
    source: str
    sections: tuple[tuple[str, tuple[Item, ...]], ...]
    applies: Callable[[Facts], bool] = lambda _: True
    judged: bool = False


@dataclass(frozen=True)
class Answer:
    """An item with its answer."""

    section: str
    item: Item
    status: Status
    words: str
    anchors: tuple[str, ...]


@dataclass(frozen=True)
class Filled:
    """A guideline with the answers of one study, in its order."""

    guideline: Guideline
    answers: tuple[Answer, ...]

    @property
    def tally(self) -> Mapping[Status, int]:
        """How many items have each status."""
        counted = Counter(answer.status for answer in self.answers)
        return {status: counted[status] for status in Status}


def fill(guideline: Guideline, facts: Facts) -> Filled:
    """Answer each item of a guideline as far as the study does."""
    answers = [
        _answer(section, item, facts, judged=guideline.judged)
        for section, items in guideline.sections
        for item in items
    ]
    return Filled(guideline, tuple(answers))


def _answer(section: str, item: Item, facts: Facts, *, judged: bool) -> Answer:
    found = item.known(facts) if item.known is not None else None
    told, untold = _told(item.told, facts)
    shown, anchors = (found.words, found.anchors) if found is not None else ("", ())
    lacking = (untold, item.lacks, found.lacks if found is not None else "", "the judgement." if judged else "")
    lacks = next(filter(None, lacking), "")
    if told and not untold and not judged:
        return Answer(section, item, Status.ANSWERED, " ".join(filter(None, (told, shown))), anchors)
    if found is not None and not lacks:
        return Answer(section, item, Status.FILLED, shown, anchors)
    if found is not None or told:
        words = " ".join(filter(None, (told, shown, f"Open: {lacks}")))
        return Answer(section, item, Status.PART, words, anchors)
    return Answer(section, item, Status.OPEN, "The authors must answer.", ())


def _told(field: str, facts: Facts) -> tuple[str, str]:
    """What the authors say in a field of `[reporting]`, and what they leave open in it."""
    if field != "ethics":
        return (str(getattr(facts.results.reporting, field)), "") if field else ("", "")
    reporting = facts.results.reporting
    by_site = [f"{site}: {words}" for site, words in sorted(reporting.site_ethics.items())]
    silent = [site for site in all_sites(facts.results) if site not in reporting.site_ethics]
    untold = f"a statement of {', '.join(silent)}." if by_site and silent and not reporting.ethics else ""
    return " ".join(filter(None, (reporting.ethics, "; ".join(by_site)))), untold
