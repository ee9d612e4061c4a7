"""server/report: networks that were adapted to hospitals' images: with and without, and which hospital was adapted."""

from __future__ import annotations

from common.published import format as fmt
from common.published.results import Estimate, Result
from server.report.blocks import Block, Paragraph, Row, Table
from server.report.contents import estimate, interval_words, where
from server.report.explanations import status_words

_MEASURED = {"auc": ("AUC", 3), "calibration_intercept": ("Calibration in the large", 2),
             "calibration_slope": ("Calibration slope", 2)}  # fmt: skip


def adaptations(results: list[Result]) -> list[Block]:
    """Of one network: for each cohort, or each site that answers alone, what was done in a sentence, and a table."""
    blocks: list[Block] = []
    for result in results:
        if result.status != "estimated":
            blocks.append(_why(result))
            continue
        told = adaptation_sentence(result)
        blocks += [*([Paragraph(told)] if told else []), _table(result)]
    return blocks


def adaptation_sentence(result: Result) -> str:
    """For the clinician, from the estimates alone: what was done, where, and whether it helped; "" where no area is
    known with and without it."""
    before, after = (estimate(result, "auc", side) for side in ("before", "after"))
    change = estimate(result, "auc_difference", "")
    if before is None or after is None or change is None or change.value is None:
        return ""
    decided = [e for e in result.estimates if e.name == "adapted"]
    alone = result.how == "site-alone" and len(result.sites) == 1
    if alone and [e.value for e in decided] == [0.0]:
        kept = f"{_hospital(result)} the network stayed as it was trained, with an AUC of {fmt.area(before.value)}"
        return f"{kept}; {fmt.plain(decided[0].note)}."
    done = "the network was adapted to its images without labels" if alone else _by_hospital(decided)
    place = _hospital(result) if alone else f"In cohort {fmt.plain(result.cohort)}"
    moved = f"the AUC went from {fmt.area(before.value)} to {fmt.area(after.value)}"
    limits = f" (difference {fmt.area(change.value)}, 95 % CI {fmt.area(change.low)} to {fmt.area(change.high)})"
    return f"{place} {done}: {moved}{limits}. {_helped(change)}"


def _hospital(result: Result) -> str:
    return f"At hospital {fmt.plain(result.sites[0])} (cohort {fmt.plain(result.cohort)})"


def _by_hospital(decided: list[Estimate]) -> str:
    """What each hospital of a cohort decided, as far as it tells."""
    parts = []
    for words, value in (("adapted", 1.0), ("as trained", 0.0), ("not told", None)):
        named = [fmt.plain(e.term) for e in decided if e.value == value]
        parts += [f"{words}: {', '.join(named)}"] if named else []
    return f"each hospital decided without labels whether the network is adapted to its images ({'; '.join(parts)})"


def _helped(change: Estimate) -> str:
    """By the limits of the difference of the areas."""
    if change.low is not None and change.low > 0.0:
        return "It told patients apart better."
    if change.high is not None and change.high < 0.0:
        return "It told patients apart worse."
    return "That is no clear difference in telling patients apart."


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
