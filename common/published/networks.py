"""common/published: what results say of a network: its sequences, its cut-offs, and where it is worth little."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from common.published.results import Estimate, Result, Results
from common.study.networks import Network

ALWAYS: Mapping[str, str] = MappingProxyType({"accuracy": "majority_class", "grade_accuracy": "grade_majority_class"})
"""Each accuracy, and that of saying the commonest class to everybody in the same patients."""


def not_shown_better(result: Result) -> list[tuple[Estimate, Estimate]]:
    """Accuracies whose interval does not lie above that of saying the commonest class to everybody, each with that."""
    by_name = {(one.name, one.term): one for one in result.estimates}
    found = []
    for one in result.estimates:
        always = by_name.get((ALWAYS.get(one.name, ""), one.term))
        if always is None or always.value is None or one.low is None:
            continue
        if one.low <= always.value:
            found.append((one, always))
    return found


def chosen(selection: Result) -> str | None:
    """The combination that a result says was chosen."""
    return next((e.term for e in selection.estimates if e.name == "chosen" and e.value == 1), None)


def frozen_cutoffs(network: Network, results: Results, sequences: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """By way of inference the cut-off that was frozen with the network on these sequences."""
    combination = "+".join(sequences)
    head = f"network.{network.name}.performance.{combination}."
    found = [
        e
        for r in results.results
        if r.id.startswith(head) or (r.id == f"network.{network.name}.selection" and chosen(r) == combination)
        for e in r.estimates
        if e.name == "cutoff"
    ]
    return tuple({e.term: e.value for e in found if e.value is not None}.items())
