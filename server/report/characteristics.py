"""server/report: the section on the patients' characteristics: by cohort, and by class of the endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.published import format as fmt
from common.published.results import Result, Results
from server.report.blocks import Block, Paragraph, Row, Section, Table
from server.report.contents import Labels, estimate, of
from server.report.explanations import hidden_note, status_words

_SMD = "SMD"
_MEANING = (
    "Mean (standard deviation), or patients (per cent of those with a value). SMD: standardised mean difference; of "
    "more than two levels the Mahalanobis distance of their shares, which has no sign."
)


@dataclass(frozen=True)
class _Column:
    """A group of patients: a result, and what follows the names of its estimates there; or differences."""

    head: str
    result: Result
    suffix: str = ""
    difference: bool = False


def characteristics(results: Results) -> Section:
    """One table of all cohorts, and one by class for each cohort whose endpoint is open."""
    section = Section("characteristics", "Patients' characteristics")
    found = of(results, "characteristics")
    cohorts, by_class = [r for r in found if not r.kind], [r for r in found if r.kind]
    if not found:
        return section
    section.blocks += _table(results, "Characteristics of the patients by cohort", list(_by_cohort(cohorts)), cohorts)
    for result in by_class:
        section.blocks += _table(results, fmt.plain(result.title), list(_by_class(results, result)), [result])
    left = [c.name for c in results.cohorts if c.name not in {r.cohort for r in cohorts}]
    if left:
        words = (
            f"Not described: {', '.join(fmt.plain(name) for name in left)}. A cohort is described if it has enough "
            "sites for a sum, and shares no patients with one that is."
        )
        section.blocks.append(Paragraph(words, "note"))
    return section


def _by_cohort(cohorts: Sequence[Result]) -> Iterator[_Column]:
    for result in cohorts:
        yield _Column(_with_n(fmt.plain(result.cohort), result.n), result)
        if any(e.name == "smd" for e in result.estimates):
            yield _Column(_SMD, result, difference=True)


def _by_class(results: Results, result: Result) -> Iterator[_Column]:
    names = next((r.counts for r in of(results, "endpoint-counts")
                  if r.id == f"classes.{result.cohort}.{result.kind}"), [])  # fmt: skip
    for place, suffix in enumerate(("_absent", "_present")):
        head = fmt.plain(names[place].name) if len(names) > place else suffix.strip("_")
        yield _Column(_with_n(head, names[place].pooled if len(names) > place else None), result, suffix)
    yield _Column(_SMD, result, difference=True)


def _with_n(head: str, n: int | None) -> str:
    return head if n is None else f"{head} (n = {n})"


def _table(results: Results, caption: str, columns: list[_Column], parts: Sequence[Result]) -> list[Block]:
    poor: list[Block] = [Paragraph(f"{fmt.plain(r.title)}. {status_words(r)}", "warning", r.id)
                         for r in parts if r.status != "estimated"]  # fmt: skip
    labels, rows, terms = Labels(results), [], _terms(parts)
    for term in terms:
        own = _own(term, terms)
        cells = tuple(_cell(results, column, term, own) for column in columns)
        rows.append(Row(_head(results, labels, term), cells))
        if any(_fewer(column, own) for column in columns):
            known = tuple("" if column.difference else _known(column, own) for column in columns)
            rows.append(Row(f"{_head(results, labels, term)}: known", known))
    if not rows:
        return poor
    notes = [_MEANING]
    if any(fmt.MARK in cell for row in rows for cell in row.cells):
        notes.append(hidden_note(results.min_cell))
    notes += dict.fromkeys(fmt.plain(r.note) for r in parts if r.note)
    notes += _reasons(labels, parts, results)
    anchors = [r.id for r in parts if r.status == "estimated"]
    rows[0] = Row(rows[0].head, rows[0].cells, anchors[1] if len(anchors) > 1 else "")
    how = tuple(dict.fromkeys(r.how for r in parts))
    heads = ("", *(column.head for column in columns))
    return [*poor, Table(caption, heads, tuple(rows), anchors[0] if anchors else "", tuple(notes), how=how)]


def _terms(parts: Sequence[Result]) -> list[str]:
    """The rows: variables with a mean, and levels; of a variable with two levels the second only."""
    named = [e.term for r in parts for e in r.estimates if e.name.startswith(("mean", "patients"))]
    terms = list(dict.fromkeys(named))
    levels = [term.partition("=")[0] for term in terms if "=" in term]
    shown = []
    for i, term in enumerate(terms):
        variable, found, _ = term.partition("=")
        first = found and term == next(t for t in terms if t.startswith(f"{variable}="))
        if not (first and levels.count(variable) == 2 and i + 1 < len(terms)):
            shown.append(term)
    return shown


def _head(results: Results, labels: Labels, term: str) -> str:
    variable, found, level = term.partition("=")
    if found:
        facts = results.variables.get(variable)
        plain_yes = facts is not None and facts.reference == "no" and level == "yes"
        return labels.variable(variable) if plain_yes else f"{labels.variable(variable)}: {fmt.plain(level)}"
    if ">" in term:
        return labels.term(term)
    facts = results.variables.get(term)
    return f"{labels.variable(term)}, {fmt.unit(facts.unit)}" if facts and facts.unit else labels.variable(term)


def _own(term: str, terms: list[str]) -> str:
    """What a row stands for as a whole, whose difference and known values stand there: itself, of the levels of a
    variable the first row the variable, and of the others nothing."""
    variable, found, _ = term.partition("=")
    first = next(t for t in terms if t == term or (found and t.startswith(f"{variable}=")))
    return "" if first != term else variable if found else term


def _cell(results: Results, column: _Column, term: str, own: str) -> str:
    if column.difference:
        found = estimate(column.result, "smd", own) if own else None
        return "" if found is None else fmt.MISSING if found.value is None else f"{found.value:.2f}"
    mean = estimate(column.result, f"mean{column.suffix}", term)
    if mean is not None:
        std = estimate(column.result, f"std{column.suffix}", term)
        spread = f" ({fmt.moment(std.value)})" if std is not None and std.value is not None else ""
        return fmt.MISSING if mean.value is None else f"{fmt.moment(mean.value)}{spread}"
    patients = estimate(column.result, f"patients{column.suffix}", term)
    if patients is None or patients.note:
        return fmt.MISSING
    share = estimate(column.result, f"share{column.suffix}", term)
    count = fmt.count(patients.value, results.min_cell)
    return f"{count} ({fmt.share(share.value)})" if share is not None else count


def _known(column: _Column, own: str) -> str:
    found = estimate(column.result, f"known{column.suffix}", own)
    return fmt.MISSING if found is None else fmt.number(found.value)


def _fewer(column: _Column, own: str) -> bool:
    """Whether some patients have no value, said once a variable."""
    n, known = column.result.n, estimate(column.result, f"known{column.suffix}", own)
    if column.difference or not own or ">" in own or known is None or known.value is None:
        return False
    if column.suffix and n is not None and column.result.events is not None:
        n = column.result.events if column.suffix == "_present" else n - column.result.events
    return n is not None and known.value < n


def _reasons(labels: Labels, parts: Sequence[Result], results: Results) -> list[str]:
    """Why something is not there, once for each reason."""
    found: dict[str, list[str]] = {}
    for result in parts:
        for e in result.estimates:
            if e.note and e.value is None and e.name != "smd":
                variable = e.term.partition("=")[0]
                place = f"{_head(results, labels, variable)} ({fmt.plain(result.cohort)})"
                found.setdefault(fmt.plain(e.note), []).append(place)
    return [f"{', '.join(dict.fromkeys(places))}: {note}" for note, places in found.items()]
