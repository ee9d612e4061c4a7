"""server: prints a plan: patients, events and sample sizes of a study, before anything is fitted."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from common.study.protocol import Study
from common.terminal import out
from server.study.results import Count, Result, Results


def under_limits(planned: Results, study: Study) -> list[str]:
    """Sites that fall under the study's limits in some cohort, in words; a site's own policy may be stricter."""
    found = []
    for cohort in study.cohorts:
        members = planned.get(f"flow.{cohort.name}").counts[-1]
        for site, n in members.by_site.items():
            if n is None or n < study.limits.min_patients:
                shown = f"<{study.limits.min_cell}" if n is None else str(n)
                found.append(f"{site}: {shown} patients in {cohort.name}; the limit is {study.limits.min_patients}")
        endpoints = {m.endpoint for m in study.models if cohort.name in (m.cohort, *m.evaluate)}
        for endpoint in sorted(endpoints):
            for row in planned.get(f"classes.{cohort.name}.{endpoint}").counts[:2]:
                found += [
                    f"{site}: fewer than {study.limits.min_class} of '{row.name}' in {cohort.name}"
                    for site, n in row.by_site.items()
                    if n is not None and n < study.limits.min_class
                ]
    return found


def print_plan(planned: Results, study: Study) -> None:
    """Print the plan for people."""
    for result in planned.results:
        if result.statistic in ("patient-flow", "endpoint-counts"):
            _print_counts(result, planned.min_cell)
    for result in planned.results:
        if result.statistic == "sample-size":
            _print_sample_size(result)
    problems = under_limits(planned, study)
    out.print("[bold]Sites under the study's limits[/]")
    for problem in problems:
        out.print(f"  {escape(problem)}")
    if not problems:
        out.print("  none")


def _print_counts(result: Result, min_cell: int) -> None:
    table = Table("", *map(escape, result.sites), "all", title=escape(result.title), title_justify="left")
    for row in result.counts:
        table.add_row(escape(row.name), *_cells(row, result.sites, min_cell))
    out.print(table)


def _cells(row: Count, sites: list[str], min_cell: int) -> list[str]:
    values = [*(row.by_site.get(site) for site in sites), row.pooled]
    return [f"<{min_cell}*" if value is None else str(value) for value in values]


def _print_sample_size(result: Result) -> None:
    out.print(f"[bold]{escape(result.title)}[/]")
    for estimate in result.estimates:
        if estimate.value is not None:
            out.print(f"  {estimate.name.replace('_', ' ')}: {estimate.value:g}")
    out.print(f"  {escape(result.note)}")
