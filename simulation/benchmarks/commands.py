"""simulation: benchmarks: the commands `fedmvi-simulate benchmark null` and `startup`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from common.terminal import EXIT_PROBLEMS, err, need, out, print_json

if TYPE_CHECKING:
    from simulation.benchmarks.null import Found, Null
    from simulation.benchmarks.startup import Startup


def add_commands(benchmarks: typer.Typer) -> None:
    """Put the commands among the others."""
    benchmarks.command("null", epilog="Example: fedmvi-simulate benchmark null --seeds 20")(null)
    benchmarks.command("startup", epilog="Example: fedmvi-simulate benchmark startup --repeats 11")(startup)


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
    from simulation.benchmarks.null import benchmark_null

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


def startup(
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is started, in turn.")] = 7,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Time the start of the programs, beside bare Flower and a bare interpreter; medians.

    Help of the three programs; the process that answers messages, until it could take one; a hospital's node, until it
    first tries to reach the hub. All modules are compiled before. A repeat takes some 20 seconds.
    """
    need("simulation")
    from simulation.benchmarks.startup import benchmark_startup

    done = benchmark_startup(repeats, lambda step: err.print(f"[dim]{escape(step)} …[/]"))
    if json_:
        print_json(done.report())
    else:
        _print_starts(done)


def _print_starts(done: Startup) -> None:
    times = len(next(iter(done.spent.values())))
    table = Table("started", "seconds", "of processors", title=f"Medians of {times} starts", title_justify="left")
    for name in done.spent:
        table.add_row(escape(name), f"{done.wall(name):.2f}", f"{done.processor(name):.2f}")
    out.print(table)
    for name, seconds in done.differences.items():
        out.print(f"{escape(name)}: {seconds:+.2f} s beside bare Flower")
