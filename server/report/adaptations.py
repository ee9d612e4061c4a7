"""server/report: networks that were adapted to hospitals' images: with and without, and which hospital was adapted."""

from __future__ import annotations

from server.report import format as fmt
from server.report.blocks import Block, Paragraph, Row, Table
from server.report.contents import estimate, interval_words, where
from server.report.explanations import status_words
from server.study.results import Estimate, Result

_MEASURED = {"auc": ("AUC", 3), "calibration_intercept": ("Calibration in the large", 2),
             "calibration_slope": ("Calibration slope", 2)}  # fmt: skip


def adaptations(results: list[Result]) -> list[Block]:
    """Of one network: a table for each cohort, or each site that answers alone."""
    return [_table(result) if result.status == "estimated" else _why(result) for result in results]


def _why(result: Result) -> Paragraph:
    return Paragraph(f"{fmt.plain(result.title)}. {status_words(result)}", "warning", result.id)


def _table(result: Result) -> Table:
    rows = []
    for name, (words, decimals) in _MEASURED.items():
        sides = [estimate(result, name, side) for side in ("before", "after")]
        if any(side is not None for side in sides):
            rows.append(Row(words, tuple(interval_words(side, decimals) for side in sides)))
    notes = [_difference(estimate(result, "auc_difference", ""))]
    notes += [f"{fmt.plain(e.term)}: {fmt.plain(e.note)}." for e in result.estimates if e.name == "adapted"]
    notes += list(dict.fromkeys(fmt.plain(e.note) for e in result.estimates if e.name in _MEASURED and e.note))
    notes.append(fmt.plain(result.note))
    caption = f"Adapted to the images of cohort {where(result)}"
    columns = ("Measure (95 % CI)", "As trained", "As adapted")
    return Table(caption, columns, tuple(rows), result.id, tuple(n for n in notes if n), how=(result.how,))


def _difference(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return ""
    p = "" if found.p is None else f", {fmt.p_words(found.p)}"
    return f"AUC as adapted less as trained, in the same patients: {interval_words(found, 3)}{p} (DeLong)."
