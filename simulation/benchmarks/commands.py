"""simulation: benchmarks: the command `fedmvi-simulate benchmark null`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from common.terminal import EXIT_PROBLEMS, err, out, print_json
from simulation.benchmarks.null import Found, Null, benchmark_null


def add_commands(benchmarks: typer.Typer) -> None:
    """Put the command among the others."""
    benchmarks.command("null", epilog="Example: fedmvi-simulate benchmark null --seeds 20")(null)


def null(
    seeds: Annotated[int, typer.Option(min=1, help="Studies, each over hospitals that are drawn anew.")] = 200,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a processor.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Conduct studies in which nothing tells of MVI, and count how often they find something.

    MVI is dealt out anew inside every hospital. The intervals of frozen models' external AUC must hold 0.5 as often as
    they say, and log-rank tests reject as often as they say. Exit code 1 if chance cannot explain the counts, or a
    study failed.
    """
    chosen = range(first, first + seeds)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("studies of nothing", total=seeds)

        def done(_: Found) -> None:
            progress.advance(task)

        found = benchmark_null(chosen, workers, done)
    if json_:
        print_json(found.report())
    else:
        _print(found)
    if not found.passed:
        raise typer.Exit(EXIT_PROBLEMS)


def _print(found: Null) -> None:
    table = Table("check", "times", "of", "chance allows", title="Studies of nothing", title_justify="left")
    for check in found.checks:
        mark = "" if check.passed else "[red]"
        table.add_row(mark + escape(check.name), str(check.times), str(check.of), f"{check.low} to {check.high}")
    out.print(table)
    out.print(f"No signal found, as the LASSO says: in {found.no_signal} of {len(found.found)} studies.")
    out.print(f"The same, as the reduced model says: in {found.empty_reductions} of {len(found.found)} studies.")
    for one in found.errors:
        err.print(f"seed {one.seed}: {escape(one.error)}")
