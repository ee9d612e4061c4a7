"""simulation/chaos: the command `fedmvi-simulate chaos`."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from common.terminal import EXIT_PROBLEMS, err, need, out, print_json
from simulation.shipped import shipped_study

if TYPE_CHECKING:
    from simulation.chaos.campaign import Campaign


def add_commands(app: typer.Typer) -> None:
    """Give the command line what disturbs a deployment."""
    app.command("chaos", epilog="Example: fedmvi-simulate chaos --faults 12 --seed 1")(chaos)


def chaos(
    study: Annotated[
        Path | None, typer.Argument(help="A study protocol, or a shipped one. [default: a small study of its own]")
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(help="Folder of simulated sites, which are copied. [default: three of its own]")
    ] = None,
    faults: Annotated[int, typer.Option(min=1, help="How many faults happen.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same faults.")] = 1,
    kind: Annotated[list[str] | None, typer.Option(help="Only faults of this kind; may be repeated.")] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="New folder in which everything stays. [default: none is kept]")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run a study on a whole deployment of this machine, again and again, while its parts fail.

    Processes are killed, a link is cut, disks fill, clocks are wrong, answers arrive twice or spoilt. Each run must
    give the bytes of a run without faults. Faults that need root are left out where it is not, and named. Exit code 1
    if a fault was not survived.
    """
    need("simulation", "matplotlib")
    from simulation.chaos.campaign import run_campaign
    from simulation.network.example import make_example_hospitals, write_example_study

    begun = time.monotonic()

    def progress(step: str) -> None:
        err.print(f"[dim]{time.monotonic() - begun:6.1f} s[/]  {escape(step)}")

    with TemporaryDirectory(prefix="fedmvi-chaos-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary, "chaos") if out_ is None else out_
        if sites is None:
            sites = Path(temporary, "hospitals")
            make_example_hospitals(sites)
        file = Path(temporary, "chaos.toml")
        if study is None:
            study = write_example_study(file, "chaos", models=True)
        campaign = run_campaign(shipped_study(study), sites, folder, faults, seed, progress, kind or ())
    if json_:
        print_json(campaign.report())
    else:
        _print(campaign)
    if not campaign.survived:
        raise typer.Exit(EXIT_PROBLEMS)


def _print(campaign: Campaign) -> None:
    table = Table("fault", "injected", "survived", "median s", "most s", title_justify="left",
                  title="Seconds until every part was there and the run was further")  # fmt: skip
    for name, told in campaign.by_kind().items():
        table.add_row(escape(name), *(str(told[key]) for key in ("injected", "survived", "median_seconds",
                                                                 "most_seconds")))  # fmt: skip
    out.print(table)
    for name, why in campaign.skipped.items():
        out.print(f"Left out: {escape(name)}: {escape(why)}")
    if campaign.slowed_by:
        out.print(f"Links were made slow by the kernel's {campaign.slowed_by}")
    same = sum(run.same for run in campaign.runs)
    resumed = sum(run.resumed for run in campaign.runs)
    out.print(f"{same} of {len(campaign.runs)} runs gave the bytes of a run without faults; resumed {resumed} times")
    out.print("Lines of the ledgers, each chain whole: " + ", ".join(f"{n} {m}" for n, m in campaign.ledgers.items())
              if not campaign.broken else f"[red]Broken ledgers:[/] {escape(', '.join(campaign.broken))}")  # fmt: skip
    if campaign.left:
        out.print(f"[red]Processes were left:[/] {campaign.left}")
    survived = sum(fault.survived for fault in campaign.faults)
    out.print(
        f"{survived} of {len(campaign.faults)} faults survived, in {campaign.seconds:.0f} s (seed {campaign.seed})"
    )
