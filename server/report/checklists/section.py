"""server/report: the section of the checklists, and each of them as a table of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from common.files import write_whole
from common.published import format as fmt
from common.published.results import Results
from server.report.blocks import Checklist, Entry, Paragraph, Section
from server.report.checklists.claim import CLAIM
from server.report.checklists.clear import CLEAR
from server.report.checklists.items import Answer, Facts, Filled, fill
from server.report.checklists.metrics import METRICS
from server.report.checklists.probast_ai import PROBAST_AI
from server.report.checklists.tripod_ai import TRIPOD_AI
from server.report.tables import csv_text

ANCHOR = "checklists"
GUIDELINES = (TRIPOD_AI, PROBAST_AI, CLAIM, CLEAR, METRICS)

_TITLE = "Reporting checklists"
_INTRO = (
    "What guidelines on reporting ask, in our own words: the guidelines themselves are what counts. An item is filled "
    "where this run has the answer, in part where something is left to say, and open where only the authors can answer "
    "it; they do so in [reporting] of the protocol."
)
_JUDGED = "This one asks for a judgement on the study: the program shows where to look, and leaves the answer open."
_COLUMNS = ("item", "section", "asked", "status", "answer", "where")


def filled_checklists(results: Results, sections: Sequence[Section]) -> tuple[Filled, ...]:
    """The guidelines for a study like this one, answered from its results and the page's other sections."""
    facts = Facts(results, _titles(sections))
    return tuple(fill(guideline, facts) for guideline in GUIDELINES if guideline.applies(facts))


def checklists(filled: Sequence[Filled], sections: Sequence[Section]) -> Section:
    """The section, with a part for each guideline; `sections` are the page's others, which its answers lead to."""
    titles = _titles(sections)
    section = Section(ANCHOR, _TITLE, [Paragraph(_INTRO)])
    for one in filled:
        name, title = one.guideline.name, one.guideline.title
        groups = groupby(one.answers, key=lambda answer: answer.section)
        entries = tuple((head, tuple(_entry(name, a, titles) for a in answers)) for head, answers in groups)
        part = Section(f"checklist-{name}", title, [Paragraph(f"{one.guideline.source}.")])
        part.blocks += [Paragraph(_JUDGED, "note")] if one.guideline.judged else []
        part.blocks.append(Checklist(f"{title}: all items", tally(one), entries))
        section.parts.append(part)
    return section


def tally(filled: Filled) -> str:
    """How many items have which status, in words."""
    counts = ", ".join(f"{number} {status}" for status, number in filled.tally.items())
    return f"{fmt.plural(len(filled.answers), 'item')}: {counts}"


def write_checklists(filled: Sequence[Filled], folder: Path) -> list[Path]:
    """Write `checklist-<name>.csv` into the folder of tables, a row an item as on the page."""
    paths = []
    for one in filled:
        rows = [
            (a.item.number, a.section, a.item.words, a.status.value, fmt.plain(a.words), " ".join(a.anchors))
            for a in one.answers
        ]
        path = folder / f"checklist-{one.guideline.name}.csv"
        write_whole(path, csv_text(_COLUMNS, rows).encode())
        paths.append(path)
    return paths


def _titles(sections: Sequence[Section]) -> Mapping[str, str]:
    """The page's sections by their anchors, with its summary and this one."""
    parts = [part for section in sections for part in (section, *section.parts)]
    return {"summary": "Summary", ANCHOR: _TITLE} | {part.anchor: part.title for part in parts}


def _entry(name: str, answer: Answer, titles: Mapping[str, str]) -> Entry:
    item = answer.item
    links = tuple((anchor, titles[anchor]) for anchor in answer.anchors)
    anchor = f"checklist-{name}-{item.number}"
    return Entry(anchor, item.number, item.words, answer.status, fmt.plain(answer.words), links)
