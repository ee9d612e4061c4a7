"""simulation: benchmarks: shift: the command `fedmvi-simulate benchmark shift`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress

from common.errors import FedmviError
from common.terminal import EXIT_PROBLEMS, err, need, print_json
from simulation.benchmarks.shift.scenarios import ALL_KINDS, EVALUATION_SEED

if TYPE_CHECKING:
    from simulation.benchmarks.shift.campaign import Found

Data = Literal["simulated", "heart-disease", "tcga-lihc"]


def add_commands(benchmarks: typer.Typer) -> None:
    """Put the command among the others."""
    benchmarks.command("shift", epilog="Example: fedmvi-simulate benchmark shift --seeds 30")(shift)


def shift(
    seeds: Annotated[int, typer.Option(min=1, help="Drawn consortia, each with every kind of shift.")] = 30,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = EVALUATION_SEED,
    tested: Annotated[int, typer.Option(min=200, help="Patients of the target hospital, of each seed.")] = 2000,
    every_severity: Annotated[bool, typer.Option("--every-severity", help="Areas at every severity.")] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help=f"A kind of shift, or several; all by default: {', '.join(ALL_KINDS)}.")
    ] = None,
    data: Annotated[Data, typer.Option(help="Simulated pictures, or real centres, each left out once.")] = "simulated",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a processor.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Make hospitals differ on purpose, and measure what is found, what is named, and what every action recovers.

    Exit code 1 if a target is missed or a seed failed; by how much is printed.
    """
    need("exactness", "sklearn")
    from simulation.benchmarks.shift.campaign import run_campaign
    from simulation.benchmarks.shift.centres import REAL
    from simulation.benchmarks.shift.cohorts import Drawing
    from simulation.benchmarks.shift.figures import Campaign
    from simulation.benchmarks.shift.showing import show_campaign, show_real_centres

    if data in REAL:
        show_real_centres(REAL[data], json_=json_)
        return
    unknown = sorted(set(kind or ()) - set(ALL_KINDS))
    if unknown:
        raise FedmviError(828, kind=unknown[0], known=", ".join(ALL_KINDS))
    drawing = Drawing(tested=tested, every_severity=every_severity, kinds=tuple(kind or ()))
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("shifted consortia", total=seeds)

        def done(_: Found) -> None:
            progress.advance(task)

        campaign = Campaign(run_campaign(range(first, first + seeds), drawing, workers, done), drawing)
    if json_:
        print_json(campaign.report())
    else:
        show_campaign(campaign)
    if not campaign.passed:
        raise typer.Exit(EXIT_PROBLEMS)
