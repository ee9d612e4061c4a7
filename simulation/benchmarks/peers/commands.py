"""simulation: benchmarks: peers: the command `fedmvi-simulate benchmark peers`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from common.terminal import EXIT_PROBLEMS, err, need, out, print_json

if TYPE_CHECKING:
    from simulation.benchmarks.peers.measuring import Row


def add_commands(benchmarks: typer.Typer) -> None:
    """Put the command among the others."""
    benchmarks.command("peers", epilog="Example: fedmvi-simulate benchmark peers --json")(peers)


def peers(
    environments: Annotated[
        Path | None, typer.Option(help="Folder for the peers' environments, to use them again. [default: none is kept]")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Fit one logistic regression over four real centres by FedMVI and by established tools, and compare.

    Each peer is installed by pip into an environment of its own; one that cannot be is skipped, and the table says why.
    """
    need("simulation", "ray", "pyarrow")
    need("exactness", "statsmodels", "sklearn")
    from simulation.benchmarks.peers.measuring import compare, report
    from simulation.exactness.measuring import Absent

    with TemporaryDirectory(prefix="fedmvi-environments-") as name:
        cache = Path(name) if environments is None else environments
        cache.mkdir(parents=True, exist_ok=True)
        try:
            rows = compare(cache.resolve(), lambda step: err.print(f"[dim]{escape(step)} …[/]"))
        except Absent as error:
            err.print(escape(str(error)))
            raise typer.Exit(EXIT_PROBLEMS) from error
    if json_:
        print_json(report(rows))
    else:
        _print(rows)


def _print(rows: list[Row]) -> None:
    table = Table(
        "contender", "distance", "rounds", "seconds", "MB", "program",
        title="One logistic regression over four centres", title_justify="left",
        caption="Distance: the largest difference of a coefficient from the pooled maximum likelihood, per SD of its "
        "predictor. Seconds count start-up in. MB: all messages, where the program counts them.",
    )  # fmt: skip
    for row in rows:
        if row.fit is None:
            table.add_row(escape(row.contender.name), "skipped", "", "", "", escape(row.skipped))
            continue
        sent = "" if row.fit.message_bytes is None else f"{row.fit.message_bytes / 1e6:.2f}"
        rounds = "" if row.fit.rounds is None else str(row.fit.rounds)
        name = escape(f"{row.contender.name}: {row.contender.about}")
        table.add_row(name, f"{row.apart:.1e}", rounds, f"{row.fit.seconds:.1f}", sent, escape(row.fit.program))
    out.print(table)
