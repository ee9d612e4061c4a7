"""server/report: how well two readers agree on traits: a row a trait, with kappa and raw agreement."""

from __future__ import annotations

from common.published import format as fmt
from common.published.results import Result
from server.report.blocks import Row, Table
from server.report.contents import Labels, estimate


def readers(result: Result, labels: Labels) -> Table:
    """The traits of one analysis in its order; why one is not told stands below."""
    terms = [e.term for e in result.estimates if e.name == "kappa"]
    rows = tuple(Row(labels.variable(term), _cells(result, term)) for term in terms)
    whys: dict[str, list[str]] = {}
    for e in result.estimates:
        if e.name == "kappa" and e.note:
            whys.setdefault(fmt.plain(e.note), []).append(labels.variable(e.term))
    notes = [f"{', '.join(names)}: {why}" for why, names in whys.items()]
    left = [f"{labels.variable(e.term)}: {fmt.number(e.value)}"
            for e in result.estimates if e.name == "sites_left_out" and e.value]  # fmt: skip
    if left:
        notes.append(f"Hospitals with second readings that are too few, or of a level too few: {', '.join(left)}.")
    heads = ("Trait", "Read by both", "Hospitals", "Same reading", "Kappa (95 % CI)")
    return Table(f"{fmt.plain(result.title)}: two readers", heads, rows, notes=tuple(notes))


def _cells(result: Result, term: str) -> tuple[str, ...]:
    kappa, agreement = estimate(result, "kappa", term), estimate(result, "agreement", term)
    if kappa is None or agreement is None or agreement.value is None:
        return (fmt.MISSING,) * 4
    counts = (estimate(result, name, term) for name in ("patients", "sites"))
    shown = tuple(fmt.MISSING if e is None else fmt.number(e.value) for e in counts)
    value = fmt.MISSING if kappa.value is None else f"{kappa.value:.2f}"
    if kappa.low is not None and kappa.high is not None:
        value += f" ({kappa.low:.2f} to {kappa.high:.2f})"
    return (*shown, fmt.share(agreement.value), value)
