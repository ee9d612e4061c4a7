"""simulation/network: the commands `network` and `benchmark network` of `fedmvi-simulate`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from common.terminal import EXIT_PROBLEMS, err, need, out, print_json
from simulation.shipped import shipped_study

if TYPE_CHECKING:
    from simulation.benchmarks.network import NetworkBenchmark

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def add_commands(app: typer.Typer, benchmarks: typer.Typer) -> None:
    """Give the command line what is about deployments."""
    app.command("network", epilog="Example: fedmvi-simulate network --out runs/network")(network)
    benchmarks.command("network", epilog="Example: fedmvi-simulate benchmark network --rounds 10 --repeats 2")(
        benchmark_network_
    )


def network(
    study: Annotated[Path, typer.Argument(help="A study protocol, or the name of a shipped one.")] = Path("demo"),
    sites: Annotated[
        Path | None,
        typer.Option(help="Folder of simulated sites, which are copied. [default: made-up hospitals]"),
    ] = None,
    out_: Annotated[Path, typer.Option("--out", help="New folder; all that the deployment wrote stays in it.")] = Path(
        "runs/network"
    ),
    json_: AsJson = False,
) -> None:
    """Show a deployment on this machine: keys, hub, proxy and hospitals as real processes, by the real commands.

    A consortium is provisioned and enrolled, the study approved, prepared, submitted and run. Then the same study is
    run in one process, and results are compared byte for byte. Needs nginx. Exit code 1 if a ledger's chain is broken.
    """
    need("simulation", "matplotlib")
    from simulation.network.showing import show_network

    begun = time.monotonic()

    def progress(step: str) -> None:
        err.print(f"[dim]{time.monotonic() - begun:6.1f} s[/]  {escape(step)}")

    shown = show_network(shipped_study(study), sites, out_, progress)
    if json_:
        print_json({name: str(v) if isinstance(v, Path) else v for name, v in dataclasses.asdict(shown).items()})
    else:
        out.print(
            f"{shown.rounds} rounds of {shown.exchange_seconds:.2f} s each; results.json is that of one process, "
            "byte for byte."
        )
        out.print("Lines of the ledgers: " + ", ".join(f"{name} {n}" for name, n in shown.releases.items()))
        out.print(f"Look at: {escape(str(shown.run))}: the run, with its report")
        out.print(f"         {escape(str(shown.sites))}: the hospitals, each with its enrolment and its ledger")
        out.print(f"         {escape(str(shown.network))}: kits, passphrases, the hub, logs")
    if not shown.whole:
        err.print("[red]A ledger's chain is broken.[/] `fedmvi-site ledger verify` says where.")
        raise typer.Exit(EXIT_PROBLEMS)


def benchmark_network_(
    rounds: Annotated[int, typer.Option(min=2, help="Rounds of the bare app in each repeat.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="How often each deployment is timed, in turn.")] = 2,
    json_: AsJson = False,
) -> None:
    """Time a round of a deployed study beside one of a bare Flower app with empty replies, on three sites each.

    The bare app runs on Flower's own SuperLink and SuperNodes, with TLS and node authentication. Ours runs a real study
    twice over: with the node's launcher, and with Flower's stock node. Takes some five minutes. Needs nginx. Exit code
    1 if a deployed study does not give the bytes of one process.
    """
    need("simulation", "matplotlib")
    from simulation.benchmarks.network import benchmark_network

    done = benchmark_network(rounds, repeats, lambda step: err.print(f"[dim]{escape(step)} …[/]"))
    if json_:
        print_json(done.report())
    else:
        _print(done)
    if not done.equal:
        raise typer.Exit(EXIT_PROBLEMS)


def _print(done: NetworkBenchmark) -> None:
    table = Table("deployment", "s a round", "spread", "KiB up", "KiB down", "processor s", title_justify="left",
                  title="A round on three sites; bytes of one site, processors of all")  # fmt: skip
    for name, rounds in done.rounds.items():
        low, high = min(rounds.seconds), max(rounds.seconds)
        used = sum(rounds.processor.values())
        spread, kib = f"{low:.2f} to {high:.2f}", [f"{count / 1024:.1f}" for count in (rounds.up, rounds.down)]
        table.add_row(escape(name), f"{rounds.median:.2f}", spread, *kib, f"{used:.2f}")
    out.print(table)
    for name, rounds in done.rounds.items():
        each = ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in rounds.processor.items() if seconds >= 0.005)
        out.print(f"Processor seconds a round, {escape(name)}: {escape(each)}")
    for name, kinds in done.idle.items():
        words = ", ".join(f"{kind} {mib:.0f}" for kind, mib in kinds.items())
        out.print(f"Resident MiB when idle, {escape(name)}: {sum(kinds.values()):.0f} ({escape(words)})")
    for name, ratio in done.ratios.items():
        out.print(f"Bare Flower over {escape(name)}: {ratio:.2f}")
    out.print("Deployed studies gave the bytes of one process." if done.equal else "[red]The results differ.[/]")
