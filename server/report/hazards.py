"""server/report: hazard ratios of survival by groups, alone and beside covariates, under a comparison's curves."""

from __future__ import annotations

from common.published import format as fmt
from common.published.results import Result, Results
from server.report.blocks import Block, Paragraph, Row, Table
from server.report.contents import Labels, estimate, of, where
from server.report.explanations import status_words

_PROPORTIONAL = (
    "p of proportional hazards: of the score test whether a log hazard ratio changes along the Kaplan-Meier curve of "
    "all patients compared; a small one doubts that one hazard ratio says it all."
)


def hazard_ratios(results: Results, comparison: Result) -> list[Block]:
    """One table for each regression of a comparison; nothing where it has none."""
    labels = Labels(results)
    own = [r for r in of(results, "cox-regression") if r.id.rpartition(".")[0] == comparison.id]
    return [block for result in own for block in _regression(result, labels)]


def _regression(result: Result, labels: Labels) -> list[Block]:
    title = fmt.plain(result.title)
    if result.status != "estimated":
        return [Paragraph(f"{title}. {status_words(result)}", "warning", result.id)]
    rows = []
    for found in (e for e in result.estimates if e.name == "hazard_ratio"):
        test = estimate(result, "proportional_hazards_chi2", found.term)
        interval = fmt.ratio_interval(found.value, found.low, found.high)
        head = fmt.plain(found.term) if ": " in found.term else labels.term(found.term)
        rows.append(Row(head, (interval, fmt.p_value(found.p), fmt.p_value(test.p if test else None))))
    every = estimate(result, "proportional_hazards_chi2", "all")
    if every is not None:
        rows.append(Row("All together", ("", "", fmt.p_value(every.p))))
    counted = [f"{result.n} patients"] if result.n is not None else []
    counted += [f"{result.events} events"] if result.events is not None else []
    head = ", ".join([f"Cohort {where(result)}", *counted])
    columns = ("", "Hazard ratio (95 % CI)", "p", "p of proportional hazards")
    notes = (f"{head}. {fmt.plain(result.note)}".strip(), _PROPORTIONAL)
    return [Table(title, columns, tuple(rows), result.id, notes=notes, how=(result.how,))]
