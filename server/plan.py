"""server: prints a plan: patients, events and sample sizes of a study, before anything is fitted."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from common.published.results import ALL_SITES, Count, Result, Results
from common.terminal import out


def print_plan(planned: Results) -> None:
    """Print the plan for people."""
    for result in planned.results:
        if result.statistic in ("patient-flow", "endpoint-counts"):
            _print_counts(result, planned.min_cell)
    out.print(
        f"* 1 to {planned.min_cell - 1} patients, or hidden because such a count would follow from it", style="dim"
    )
    for result in planned.results:
        if result.statistic in ("sample-size", "evaluation-size"):
            _print_sample_size(result)
    out.print("[bold]What sites will refuse for want of patients[/]")
    for problem in planned.under_limits:
        out.print(f"  {escape(problem)}")
    if not planned.under_limits:
        out.print("  none")


def _print_counts(result: Result, min_cell: int) -> None:
    table = Table("", *map(escape, result.sites), "all", title=escape(result.title), title_justify="left")
    for row in result.counts:
        table.add_row(escape(row.name), *_cells(row, result.sites, min_cell))
    out.print(table)


def _cells(row: Count, sites: list[str], min_cell: int) -> list[str]:
    def shown(value: int | None, name: str) -> str:
        if value is not None:
            return str(value)
        return "hidden*" if name in row.large else f"<{min_cell}*"

    return [*(shown(row.by_site.get(site), site) for site in sites), shown(row.pooled, ALL_SITES)]


def _print_sample_size(result: Result) -> None:
    out.print(f"[bold]{escape(result.title)}[/]")
    for estimate in result.estimates:
        if estimate.value is not None:
            out.print(f"  {estimate.name.replace('_', ' ')}: {estimate.value:g}")
    out.print(f"  {escape(result.note)}")
