"""server/report: whether a network sees the patients of one cohort as others: two-sample areas, centres, figures."""

from __future__ import annotations

from collections.abc import Mapping

from common.published import format as fmt
from common.published.results import Estimate, Result
from server.report.blocks import Block, Drawing, Paragraph, Row, Table
from server.report.contents import estimate
from server.report.explanations import status_words
from server.report.figures import Picture, slug
from server.report.projection_figure import centres


def projections(results: list[Result], pictures: Mapping[str, Picture]) -> list[Block]:
    """Of one network: a table of the areas of all sequences, then each sequence's figure and centres."""
    blocks: list[Block] = []
    known = [result for result in results if result.status == "estimated"]
    if known:
        blocks.append(_areas(known))
    for result in results:
        if result.status != "estimated":
            blocks.append(Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id))
            continue
        if slug(result.id) in pictures:
            blocks.append(Drawing(pictures[slug(result.id)]))
        blocks.append(_centres(result))
    return blocks


def _areas(known: list[Result]) -> Table:
    """A column for each two cohorts; a row for each sequence, and one for each grade within it."""
    terms = [e.term.partition(", ") for r in known for e in r.estimates if e.name == "two_sample_auc"]
    pairs = list(dict.fromkeys(pair for pair, _, _ in terms))
    rows = []
    for result in known:
        own = [e.term for e in result.estimates if e.name == "two_sample_auc"]
        for level in dict.fromkeys(term.partition(", ")[2] for term in own):
            names = [f"{pair}, {level}" if level else pair for pair in pairs]
            cells = tuple(_area(estimate(result, "two_sample_auc", name)) for name in names)
            head = f"{_sequence(result)}, {fmt.plain(level)}" if level else _sequence(result)
            rows.append(Row(head, cells, "" if level else result.id))
    notes = [fmt.plain(e.note) for r in known for e in r.estimates if e.name == "two_sample_auc" and e.note]
    notes += [fmt.plain(r.note) for r in known]
    how = tuple(dict.fromkeys(result.how for result in known))
    caption = "Two-sample AUC (95 % CI): how well the network tells the patients of two cohorts apart"
    columns = ("Sequence, and within a grade", *map(fmt.plain, pairs))
    return Table(caption, columns, tuple(rows), notes=tuple(dict.fromkeys(notes)), how=how)


def _sequence(result: Result) -> str:
    return fmt.plain(result.id.split(".")[-1].upper())


def _area(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return "not estimable"
    return fmt.area_interval(found.value, found.low, found.high)


def _centres(result: Result) -> Table:
    rows = [Row(group.name, (fmt.number(group.n), *map(_place, group.axes))) for group in centres(result)]
    rows += [
        Row(fmt.plain(e.term), (fmt.plain(e.note), fmt.MISSING, fmt.MISSING))
        for e in result.estimates
        if e.name == "centre" and e.value is None
    ]
    columns = ("Group", "Patients", "Axis 1 (95 % CI)", "Axis 2 (95 % CI)")
    return Table(f"Means of groups: {fmt.plain(result.title)}", columns, tuple(rows))


def _place(found: Estimate) -> str:
    return f"{fmt.number(found.value)} ({fmt.number(found.low)} to {fmt.number(found.high)})"
