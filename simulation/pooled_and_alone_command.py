"""simulation: the command `fedmvi-simulate pooled-and-alone`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from common.terminal import err, need
from server.publishing import publish


def add_commands(app: typer.Typer) -> None:
    """Put the command among the others."""
    example = "Example: fedmvi-simulate pooled-and-alone runs/tcga --sites sites/tcga"
    app.command("pooled-and-alone", epilog=example)(pooled_and_alone)


def pooled_and_alone(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    sites: Annotated[Path, typer.Option(help="Folder whose sub-folders are the simulated sites of the run.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Develop a finished run's models on pooled rows, and by each hospital alone; put them beside it in its report.

    Only where patients are simulated or public: nobody else has their rows. Networks are compared by compare-training.
    """
    need("simulation", "pyarrow", "matplotlib")
    from server.study.run_directory import RunDirectory
    from simulation.pooled_and_alone import compare_run

    finished = RunDirectory(run)
    compare_run(finished, sites, lambda step: err.print(f"[dim]{escape(step)} …[/]"))
    publish(finished, json_=json_)
