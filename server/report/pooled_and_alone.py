"""server/report: the section on what there would be without the federation, which a simulation can say."""

from __future__ import annotations

from common.published import format as fmt
from common.published.results import Estimate, Result, Results
from server.report.blocks import Block, Paragraph, Row, Section, Table
from server.report.contents import estimate, models, of
from server.report.explanations import status_words

_INTRO = (
    "This run is a simulation, so that what it learned could be learned twice more by the same steps: from the rows of "
    "all training hospitals in one place, and from those of each alone. All of them scored the same patients. What "
    "the federation is worth is its distance from the hospitals alone; what it loses is its distance from the pooled "
    "rows."
)


def pooled_and_alone(results: Results) -> Section:
    """One table a model or network; nothing where no simulation compared."""
    section = Section("pooled-and-alone", "Federated, pooled, and each hospital alone")
    found = of(results, "pooled-and-alone")
    for model in models(results):
        own = [result for result in found if result.id.startswith(f"model.{model.name}.")]
        if own:
            section.parts.append(Section(f"{section.anchor}-{model.name}", model.title, _blocks(own)))
    for choice in of(results, "network-selection"):
        own = [result for result in found if result.id.startswith(f"network.{choice.id.split('.')[1]}.")]
        if own:
            title = fmt.plain(choice.title.rpartition(", ")[2])
            section.parts.append(Section(f"{section.anchor}-{choice.id.split('.')[1]}", title, _blocks(own)))
    if section.parts:
        section.blocks.append(Paragraph(_INTRO))
    return section


def _blocks(own: list[Result]) -> list[Block]:
    blocks: list[Block] = []
    for result in own:
        if result.status != "estimated":
            words = f"Cohort {fmt.plain(result.cohort)}. {status_words(result)}"
            blocks.append(Paragraph(words, "warning", result.id, (result.how,)))
            continue
        ways = dict.fromkeys(one.term for one in result.estimates)
        rows = tuple(
            Row(_words(way), (_area(estimate(result, "auc", way)), _area(estimate(result, "auc_difference", way))))
            for way in ways
        )
        events = "" if result.events is None else f", {result.events} with the endpoint"
        caption = f"Cohort {fmt.plain(result.cohort)}, {result.n} patients{events}"
        columns = ("Developed", "AUC (95 % CI)", "Less federated (95 % CI)")
        notes = tuple(
            f"{_words(one.term)}, not estimable: {fmt.plain(one.note)}."
            for one in result.estimates
            if one.value is None and one.note
        )
        blocks.append(Table(caption, columns, rows, result.id, (*notes, fmt.plain(result.note)), how=(result.how,)))
    return blocks


def _words(way: str) -> str:
    return fmt.plain(way[:1].upper() + way[1:])


def _area(found: Estimate | None) -> str:
    if found is None:
        return fmt.MISSING
    return "not estimable" if found.value is None else fmt.area_interval(found.value, found.low, found.high)
