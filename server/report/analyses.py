"""server/report: the section on a study's further analyses: its curves, and one table of estimates for each."""

from __future__ import annotations

from collections.abc import Mapping

from common.published import format as fmt
from common.published.results import AFTER_SELECTION, Estimate, Result, Results
from server.report.blocks import Block, Drawing, Paragraph, Row, Section, Table
from server.report.contents import Labels, of, where
from server.report.explanations import after_selection, p_of, status_words
from server.report.figures import Picture, slug
from server.report.readers import readers

ADJUSTED = "adjusted_p"
"""A p value of its own, which its note names in words."""

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
            table = readers(result, labels) if result.kind == "reader-kappa" else table
            picture = pictures.get(slug(result.id))
            part.blocks += [told, *([Drawing(picture)] if picture is not None else []), table]
        section.parts.append(part)
    return section


def _estimated(result: Result, labels: Labels) -> tuple[Block, Block]:
    facts = [f"Cohort {where(result)}"]
    facts += [f"{result.n} patients"] if result.n is not None else []
    facts += [f"{result.events} with the endpoint"] if result.events is not None else []
    words = f"{', '.join(facts)}. {fmt.plain(result.note)}".strip()
    rows = tuple(Row(_head(e, labels), (_value(e), p_of(e), _note(e))) for e in result.estimates[:ROWS])
    left = len(result.estimates) - len(rows)
    notes: tuple[str, ...] = (f"{left} more rows are in tables/analyses.csv.",) if left > 0 else ()
    notes += after_selection(result)
    columns = ("Estimate", "Value (95 % CI)", "p", "Note")
    return (
        Paragraph(words, anchor=result.id, how=(result.how,)),
        Table(f"{fmt.plain(result.title)}: estimates", columns, rows, notes=notes),
    )


def _note(found: Estimate) -> str:
    return "" if found.name == ADJUSTED or found.note == AFTER_SELECTION else fmt.plain(found.note)


def _head(found: Estimate, labels: Labels) -> str:
    if found.name == ADJUSTED:
        return f"{fmt.plain(found.note)}: {labels.term(found.term)}"
    name = fmt.plain(found.name.replace("_", " "))
    return f"{name}: {labels.term(found.term)}" if found.term else name


def _value(found: Estimate) -> str:
    if found.name == ADJUSTED:
        return fmt.p_value(found.value)
    if found.low is None or found.high is None:
        return f"{fmt.number(found.value)} {fmt.plain(found.unit)}".strip()
    interval = f"{fmt.number(found.value)} ({fmt.number(found.low)} to {fmt.number(found.high)})"
    return f"{interval} {fmt.plain(found.unit)}".strip()
