"""server/report: whether a network sees the patients of one cohort as others: two-sample areas, centres, figures."""

from __future__ import annotations

from collections.abc import Mapping

from server.report import format as fmt
from server.report.blocks import Block, Drawing, Paragraph, Row, Table
from server.report.contents import estimate
from server.report.explanations import status_words
from server.report.figures import Picture, slug
from server.report.projection_figure import centres
from server.study.results import Estimate, Result


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
    pairs = list(dict.fromkeys(e.term for r in known for e in r.estimates if e.name == "two_sample_auc"))
    rows = tuple(
        Row(_sequence(result), tuple(_area(estimate(result, "two_sample_auc", pair)) for pair in pairs), result.id)
        for result in known
    )
    notes = [fmt.plain(e.note) for r in known for e in r.estimates if e.name == "two_sample_auc" and e.note]
    notes += [fmt.plain(r.note) for r in known]
    columns = ("Sequence", *map(fmt.plain, pairs))
    how = tuple(dict.fromkeys(result.how for result in known))
    caption = "Two-sample AUC (95 % CI): how well the network tells the patients of two cohorts apart"
    return Table(caption, columns, rows, notes=tuple(dict.fromkeys(notes)), how=how)


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
