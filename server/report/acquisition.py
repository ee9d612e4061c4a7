"""server/report: the section on scanners and protocols: how images were acquired, by cohort and by hospital."""

from __future__ import annotations

from collections.abc import Iterator

from common.published import format as fmt
from common.published.results import ALL_SITES, Count, Result, Results
from server.report.blocks import Block, Paragraph, Row, Section, Table
from server.report.contents import Labels, of
from server.report.explanations import hidden_note, status_words

_MEANING = (
    "Patients (per cent of the cohort). Vendor, voltage, field strength and spacing are those of the reference phase; "
    "times follow from the headers of the phases, or from the hospital's manifest. Unknown: the images do not tell, as "
    "NIfTI files do not. Levels without patients are left out."
)


def acquisition(results: Results) -> Section:
    """A table a cohort; nothing for a study without images."""
    section = Section("acquisition", "Scanners and protocols")
    for result in of(results, "acquisition"):
        section.blocks += _table(results, result)
    left = [c.name for c in results.cohorts if c.name not in {r.cohort for r in of(results, "acquisition")}]
    if section.blocks and left:
        words = (
            f"Not told: {', '.join(map(fmt.plain, left))}. A cohort that shares patients with one that is told is not."
        )
        section.blocks.append(Paragraph(words, "note"))
    return section


def _table(results: Results, result: Result) -> Iterator[Block]:
    title = f"How images were acquired, cohort {fmt.plain(result.cohort)}"
    if result.status != "estimated" or not result.counts:
        yield Paragraph(f"{title}. {status_words(result)}", "warning", result.id)
        return
    patients, *facts = result.counts
    sites: list[str | None] = [*sorted({site for row in facts for site in row.by_site})]
    if len(sites) != 1 and any(row.pooled is not None for row in facts):
        sites.append(None)
    labels = Labels(results)
    rows = [
        Row(_head(labels, row), tuple(_cell(row, patients, site, results.min_cell) for site in sites))
        for row in facts
        if any(_at(row, site) != 0 for site in sites)
    ]
    first = Row("Patients", tuple(fmt.optional_count(_at(patients, site)) for site in sites), result.id, strong=True)
    columns = ("", *("All sites" if site is None else fmt.plain(site) for site in sites))
    hidden = any(fmt.MARK in cell for row in rows for cell in row.cells)
    notes = [
        _MEANING,
        *([hidden_note(results.min_cell)] if hidden else []),
        *([fmt.plain(result.note)] * bool(result.note)),
    ]
    yield Table(title, columns, (first, *rows), notes=tuple(notes), by_site=True, how=(result.how,))


def _head(labels: Labels, row: Count) -> str:
    fact, _, level = row.name.partition("=")
    return f"{labels.variable(fact)}: {fmt.plain(level)}"


def _cell(row: Count, patients: Count, site: str | None, min_cell: int) -> str:
    """A count of a site, or of all (`None`), with its share where both numbers are shown."""
    count, whole = _at(row, site), _at(patients, site)
    shown = fmt.hidden_or(count, min_cell, large=(site or ALL_SITES) in row.large)
    return f"{shown} ({fmt.share(count / whole)})" if count and whole else shown


def _at(row: Count, site: str | None) -> int | None:
    return row.pooled if site is None else row.by_site.get(site)
