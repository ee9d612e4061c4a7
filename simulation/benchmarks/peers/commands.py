"""simulation: benchmarks: peers: the command `fedmvi-simulate benchmark peers`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from common.terminal import EXIT_PROBLEMS, err, need, out, print_json
from simulation.benchmarks.peers.question import Question

if TYPE_CHECKING:
    from simulation.benchmarks.peers.measuring import Row


def add_commands(benchmarks: typer.Typer) -> None:
    """Put the command among the others."""
    benchmarks.command("peers", epilog="Example: fedmvi-simulate benchmark peers --json")(peers)


def peers(
    environments: Annotated[
        Path | None,
        typer.Option(help="Folder for the peers' environments, to use them again. [default: none is kept]"),
    ] = None,
    question: Annotated[
        list[Question] | None, typer.Option(help="What is asked; may be repeated. [default: all three]")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Fit a logistic regression, a Kaplan-Meier curve and a Cox regression by FedMVI and by established tools, compare.

    Each peer is installed by pip into an environment of its own; one that cannot be is skipped, and the table says why.
    An interruption loses no row: what was measured before is printed with it.
    """
    need("simulation", "ray", "pyarrow")
    need("exactness", "statsmodels", "sklearn")
    from simulation.benchmarks.peers.field import CONTENDERS
    from simulation.benchmarks.peers.measuring import compare, report
    from simulation.exactness.measuring import Absent

    asked = [one for one in CONTENDERS if one.question in (question or list(Question))]
    rows: list[Row] = []
    complete = False
    with TemporaryDirectory(prefix="fedmvi-environments-") as name:
        cache = Path(name) if environments is None else environments
        cache.mkdir(parents=True, exist_ok=True)
        try:
            for row in compare(cache.resolve(), lambda step: err.print(f"[dim]{escape(step)} …[/]"), asked):
                rows.append(row)
            complete = True
        except Absent as error:
            err.print(escape(str(error)))
            raise typer.Exit(EXIT_PROBLEMS) from error
        finally:
            if json_:
                print_json({**report(rows), "complete": complete})
            elif rows:
                _print(rows)


def _print(rows: list[Row]) -> None:
    from simulation.benchmarks.peers.contenders import ENVIRONMENTS, installed_by

    for question in dict.fromkeys(row.contender.question for row in rows):
        table = Table(
            "contender", "distance", "rounds", "seconds", "kB", "what leaves a site", "program",
            title=question.value, title_justify="left",
            caption="Distance: the largest difference from the reference, of a coefficient per SD of its predictor, or "
            "of survival at an event time. Seconds: from the start of the process to its end. kB: all messages, both "
            "ways; of NVIDIA FLARE the arrays in them only, a lower bound.",
        )  # fmt: skip
        asked = [row for row in rows if row.contender.question is question]
        for row in asked:
            table.add_row(*map(escape, _cells(row)))
        out.print(table)
        for row in asked:
            if row.fit is not None:
                out.print(escape(f"{row.contender.name}: {row.fit.command}"), soft_wrap=True)
                if row.fit.parts:
                    parts = (f"{step} {seconds:.1f}" for step, seconds in row.fit.parts.items())
                    out.print(f"  seconds of it: {', '.join(parts)}", soft_wrap=True)
        out.print()
    for name in ENVIRONMENTS:
        out.print(escape(f"{name}: {installed_by(name)}"), soft_wrap=True)


def _cells(row: Row) -> tuple[str, ...]:
    name = f"{row.contender.name}: {row.contender.about}"
    if row.fit is None:
        return name, "skipped", "", "", "", "", row.skipped
    apart = "no reference" if row.apart is None else f"{row.apart:.1e}"
    rounds = "" if row.fit.rounds is None else str(row.fit.rounds)
    sent = "" if row.fit.message_bytes is None else f"{row.fit.message_bytes / 1e3:.1f}"
    return name, apart, rounds, f"{row.fit.seconds:.1f}", sent, row.contender.leaves, row.fit.program
