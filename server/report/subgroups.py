"""server/report: the section on subgroups: areas under the curve with a forest plot, and one test a variable."""

from __future__ import annotations

from collections.abc import Mapping

from common.published import format as fmt
from common.published.results import Result, Results
from server.report.blocks import Drawing, Paragraph, Row, Section, Table
from server.report.contents import of, where
from server.report.explanations import hidden_note, status_words
from server.report.figures import Picture, slug
from server.report.subgroup_forest import Line, area_words, lines_of


def subgroups(results: Results, pictures: Mapping[str, Picture]) -> Section:
    """All subgroups, in the order of the study."""
    section = Section("subgroups", "Subgroups")
    for result in of(results, "subgroups"):
        part = Section(slug(result.id), fmt.plain(result.title))
        if result.status != "estimated":
            part.blocks.append(Paragraph(status_words(result), "warning", result.id))
        else:
            part.blocks.append(_told(result))
            picture = pictures.get(slug(result.id))
            part.blocks += [Drawing(picture, wide=True)] if picture is not None else []
            part.blocks.append(_table(results, result))
        section.parts.append(part)
    return section


def _told(result: Result) -> Paragraph:
    facts = [f"Cohort {where(result)}"]
    facts += [f"{result.n} patients"] if result.n is not None else []
    facts += [f"{result.events} with the endpoint"] if result.events is not None else []
    return Paragraph(f"{', '.join(facts)}. {fmt.plain(result.note)}", anchor=result.id, how=(result.how,))


def _table(results: Results, result: Result) -> Table:
    lines = lines_of(result)
    rows = tuple(_row(results, line) for line in lines)
    notes = [f"{_name(lines, line)}: {fmt.plain(line.area.note)}" for line in lines
             if line.area is not None and line.area.note]  # fmt: skip
    notes += [f"{line.words}: {fmt.plain(line.test.note)}" for line in lines
              if line.test is not None and line.test.note.count(";")]  # fmt: skip
    if any(fmt.MARK in cell for row in rows for cell in row.cells):
        notes.append(hidden_note(results.min_cell))
    columns = ("Subgroup", "Patients", "With endpoint", "AUC (95 % CI)", "Interaction p")
    return Table(f"{fmt.plain(result.title)}: numbers", columns, rows, notes=tuple(dict.fromkeys(notes)))


def _name(lines: list[Line], line: Line) -> str:
    """A level with its variable."""
    before = [other for other in lines[: lines.index(line)] if other.test is not None]
    return f"{before[-1].words}: {line.words}" if line.level and before else line.words


def _row(results: Results, line: Line) -> Row:
    if line.test is not None:
        return Row(line.words, ("", "", "", fmt.p_value(line.test.p)), strong=True)
    counts = (fmt.MISSING if e is None else fmt.count(e.value, results.min_cell) for e in (line.patients, line.events))
    return Row(line.words, (*counts, area_words(line.area), ""), strong=not line.level)
