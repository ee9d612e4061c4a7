"""server/report: the sections on who was in the study: patient flow, endpoints, sample size, missing values."""

from __future__ import annotations

from collections.abc import Callable

from common.published import format as fmt
from common.published.results import ALL_SITES, Count, Result, Results
from server.report.blocks import Block, Paragraph, Row, Section, Table
from server.report.contents import estimate, models, of
from server.report.explanations import hidden_note, status_words

_FLOW_WORDS = {
    "other label": "of another labelled cohort",
    "other role": "in another role (for instance set aside for testing)",
}
_SIZES = (
    ("candidate_parameters", "Candidate parameters"),
    ("events_per_parameter", "Events per parameter"),
    ("needed_for_shrinkage", "Needed: shrinkage at least 0.9"),
    ("needed_for_optimism", "Needed: optimism at most 0.05"),
    ("needed_for_prevalence", "Needed: risk within 0.05"),
    ("needed", "Needed: largest"),
)


def patients(results: Results) -> Section:
    """Patient flow, a table a cohort."""
    section = Section("patients", "Patients")
    intro = (
        "How many patients left at which step, and why, by site. The rows between the first and the last hold every "
        "patient who is not in the cohort, once."
    )
    section.blocks.append(Paragraph(intro))
    for result in of(results, "patient-flow"):
        caption = f"Patient flow, cohort {fmt.plain(result.cohort)}"
        section.blocks += _count_table(results, [result, *_sequenced(results, result.cohort)], caption, _step)
    return section


def _sequenced(results: Results, cohort: str) -> list[Result]:
    """Comparisons of expression with the steps from the cohort to them; one for all that have the same steps."""
    found: dict[tuple[int | None, ...], list[Result]] = {}
    for result in of(results, "differential-expression"):
        if result.cohort == cohort and result.counts:
            found.setdefault(tuple(row.pooled for row in result.counts), []).append(result)
    shared = []
    for alike in found.values():
        title = "Gene expression" if len(found) == 1 else "; ".join(result.title for result in alike)
        # Their first row is the flow's last; the name of the result is that of the table of genes.
        shared.append(alike[0].model_copy(update={"id": "", "title": title, "counts": alike[0].counts[1:]}))
    return shared


def endpoints(results: Results) -> Section:
    """Endpoint classes, a table a cohort."""
    section = Section("endpoints", "Endpoints")
    found = of(results, "endpoint-counts")
    for cohort in dict.fromkeys(result.cohort for result in found):
        of_cohort = [result for result in found if result.cohort == cohort]
        section.blocks += _count_table(results, of_cohort, f"Endpoints, cohort {fmt.plain(cohort)}", _class)
    return section


def missing(results: Results) -> Section:
    """Missing values, a table a training cohort."""
    section = Section("missing", "Missing values")
    for result in of(results, "missing-values"):
        title = f"Patients without a value, cohort {fmt.plain(result.cohort)}"
        section.blocks += _count_table(results, [result], title, lambda _, row: fmt.plain(row.name))
    return section


def sample_size(results: Results) -> Section:
    """Riley's criteria for every model, and the verdicts."""
    section = Section("sample-size", "Sample size")
    shown = [(m.title, m.sample_size) for m in models(results) if m.sample_size is not None]
    names = [fmt.plain(title) for title, _ in shown]
    parts = [result for _, result in shown]
    for name, result in zip(names, parts, strict=True):
        poor = result.status != "estimated" or _short(result)
        text = status_words(result) if result.status != "estimated" else fmt.plain(result.note)
        section.blocks.append(Paragraph(f"{name}: {text}", "warning" if poor else "plain", result.id))
    for model in models(results):
        for result in model.evaluation_sizes:
            text = f"{fmt.plain(model.title)}, evaluated in {fmt.plain(result.cohort)}: {fmt.plain(result.note)}"
            section.blocks.append(Paragraph(text, "plain", result.id))
    rows = [Row("Patients", tuple(fmt.optional_count(r.n) for r in parts))]
    rows.append(Row("Patients with the endpoint", tuple(fmt.optional_count(r.events) for r in parts)))
    for key, words in _SIZES:
        cells = tuple(_size(key, e.value) if (e := estimate(r, key)) else fmt.MISSING for r in parts)
        rows.append(Row(words, cells, strong=key == "needed"))
    note = (
        "Criteria of Riley et al. (Stat Med 2019;38:1276; BMJ 2020;368:m441) at the observed prevalence; the "
        "anticipated R² is 15 % of the largest possible. All candidate parameters count, chosen or not."
    )
    if parts:
        section.blocks.append(Table("Patients needed and patients there are", ("Quantity", *names), tuple(rows),
                                    notes=(note,)))  # fmt: skip
    return section


def _size(key: str, value: float | None) -> str:
    return fmt.per_parameter(value) if key == "events_per_parameter" else fmt.number(value)


def _short(result: Result) -> bool:
    needed = estimate(result, "needed")
    return needed is not None and needed.value is not None and result.n is not None and result.n < needed.value


def _step(result: Result, row: Count) -> str:
    name = fmt.plain(row.name)
    if result.statistic == "differential-expression":
        return f"{fmt.plain(result.title)}: {name}"
    if name in _FLOW_WORDS:
        return _FLOW_WORDS[name][0].upper() + _FLOW_WORDS[name][1:]
    if name.startswith("excluded by "):
        return f"Criterion not met: {name.removeprefix('excluded by ').replace('_', ' ')}"
    return name[:1].upper() + name[1:]


def _class(result: Result, row: Count) -> str:
    name = fmt.plain(row.name)
    title = fmt.plain(result.title.removesuffix(f", cohort {result.cohort}"))
    return name if name.startswith(title) else f"{title}: {name}"


def _count_table(
    results: Results, parts: list[Result], caption: str, label: Callable[[Result, Count], str]
) -> list[Block]:
    """One table of the counts of some results of one cohort; a result's first row carries its id."""
    sites = sorted({site for result in parts for site in result.sites})
    bad: list[Block] = [Paragraph(f"{fmt.plain(r.title)}. {status_words(r)}", "warning", r.id)
                        for r in parts if not r.counts]  # fmt: skip
    several = len(sites) > 1
    rows = []
    for result in parts:
        for i, row in enumerate(result.counts):
            keys: list[str | None] = [*sites, None] if several else [*sites]
            cells = tuple(_cell(row, key, results.min_cell) for key in keys)
            last = row.name in ("in the cohort",)
            rows.append(Row(label(result, row), (*cells, _share(result, row, i)), "" if i else result.id, last))
    if not rows:
        return bad
    columns = ["", *(fmt.plain(site) for site in sites), *(["All sites"] if several else []), "Share"]
    if not any(row.cells[-1] for row in rows):
        columns, rows = columns[:-1], [Row(r.head, r.cells[:-1], r.anchor, r.strong) for r in rows]
    hidden = any(fmt.MARK in cell for row in rows for cell in row.cells)
    notes = [hidden_note(results.min_cell)] if hidden else []
    if any(result.how == "site-alone" for result in parts) and several:
        notes.append("Too few sites for a secure sum: each site's own counts, hidden where small, before any total.")
    how = tuple(dict.fromkeys(result.how for result in parts))
    return [*bad, Table(caption, tuple(columns), tuple(rows), notes=tuple(notes), by_site=True, how=how)]


def _cell(row: Count, site: str | None, min_cell: int) -> str:
    """A count of a site, or of all (`None`)."""
    if site is not None and site not in row.by_site:
        return fmt.MISSING
    return fmt.hidden_or(_count_at(row, site), min_cell, large=(site or ALL_SITES) in row.large)


def _count_at(row: Count, site: str | None) -> int | None:
    return row.pooled if site is None else row.by_site.get(site)


def _share(result: Result, row: Count, place: int) -> str:
    """Of all patients whose class is known, or of all patients of the cohort, where both numbers are shown."""
    if row.pooled is None or not result.n:
        return ""
    if result.statistic == "missing-values" or (result.statistic == "endpoint-counts" and place < 2):
        return fmt.share(row.pooled / result.n)
    return ""
