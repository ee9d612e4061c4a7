"""server/report: the section on a study's further analyses: its curves, and one table of estimates for each."""

from __future__ import annotations

from collections.abc import Mapping

from common.published import format as fmt
from server.report.blocks import Block, Drawing, Paragraph, Row, Section, Table
from server.report.contents import Labels, of, where
from server.report.explanations import status_words
from server.report.figures import Picture, slug
from server.study.results import Estimate, Result, Results

ROWS = 40
"""A longer table is cut here: all of it is in `tables/analyses.csv`."""


def analyses(results: Results, pictures: Mapping[str, Picture]) -> Section:
    """All analyses, in the order of the study."""
    section = Section("analyses", "Further analyses")
    labels = Labels(results)
    for result in of(results, "analysis"):
        part = Section(f"analysis-{slug(result.id)}", fmt.plain(result.title))
        if result.status != "estimated":
            part.blocks.append(Paragraph(status_words(result), "warning", result.id))
        else:
            told, table = _estimated(result, labels)
            picture = pictures.get(slug(result.id))
            part.blocks += [told, *([Drawing(picture)] if picture is not None else []), table]
        section.parts.append(part)
    return section


def _estimated(result: Result, labels: Labels) -> tuple[Block, Block]:
    facts = [f"Cohort {where(result)}"]
    facts += [f"{result.n} patients"] if result.n is not None else []
    facts += [f"{result.events} with the endpoint"] if result.events is not None else []
    words = f"{', '.join(facts)}. {fmt.plain(result.note)}".strip()
    rows = tuple(
        Row(_head(e, labels), (_value(e), fmt.p_value(e.p), fmt.plain(e.note))) for e in result.estimates[:ROWS]
    )
    left = len(result.estimates) - len(rows)
    notes = (f"{left} more rows are in tables/analyses.csv.",) if left > 0 else ()
    columns = ("Estimate", "Value (95 % CI)", "p", "Note")
    return (
        Paragraph(words, anchor=result.id, how=(result.how,)),
        Table(f"{fmt.plain(result.title)}: estimates", columns, rows, notes=notes),
    )


def _head(found: Estimate, labels: Labels) -> str:
    name = fmt.plain(found.name.replace("_", " "))
    return f"{name}: {labels.term(found.term)}" if found.term else name


def _value(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{fmt.number(found.value)} {fmt.plain(found.unit)}".strip()
    interval = f"{fmt.number(found.value)} ({fmt.number(found.low)} to {fmt.number(found.high)})"
    return f"{interval} {fmt.plain(found.unit)}".strip()
