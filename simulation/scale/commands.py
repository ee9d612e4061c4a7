"""simulation/scale: the command `fedmvi-simulate scale`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from common.terminal import err, need, out, print_json
from simulation.scale.kinds import Kind

if TYPE_CHECKING:
    from simulation.scale.measuring import Cost

FEWEST, MOST = 3, 3000


def add_commands(app: typer.Typer) -> None:
    """Put the command among the others."""
    app.command("scale", epilog="Example: fedmvi-simulate scale --sites 10,100 --study statistics")(scale)


def scale(
    sites: Annotated[str, typer.Option(help="Numbers of hospitals, with commas between.")] = "10,100,1000",
    study: Annotated[
        list[Kind] | None, typer.Option(help="Which study; give it twice for both. [default: both]")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a Ray cluster that answers for the hospitals. [default: this machine]"),
    ] = None,
    rows: Annotated[
        Path | None, typer.Option(help="A file that gets a line of JSON as soon as each number is measured.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run a study of statistics and one of a small network over ever more hospitals; say what each costs.

    Hospitals are made up, and answer through gate, ledger and masks, on Flower's simulation runtime. What they need of
    the server is memory and processor time of ServerApp and SuperLink together. Statistics over 1,000
    hospitals took an hour on two processors. A failure, or an interruption, loses no row: what was measured before is
    printed with it.
    """
    need("simulation", "ray", "torch", "pyarrow", "SimpleITK")
    from simulation.scale.measuring import measure, report, row

    counts = _counts(sites)
    costs: list[Cost] = []
    complete = False
    try:
        for cost in measure(study or list(Kind), counts, _tell, ray_address):
            costs.append(cost)
            if rows is not None:
                with rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row(cost), sort_keys=True) + "\n")
        complete = True
    finally:
        if json_:
            print_json({**report(costs), "complete": complete})
        elif costs:
            _print(costs)


def _tell(step: str) -> None:
    err.print(f"[dim]{escape(step)} …[/]")


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or not all(FEWEST <= count <= MOST for count in counts) or sorted(set(counts)) != counts:
        raise typer.BadParameter(f"'{text}': rising numbers from {FEWEST} to {MOST}, as 10,100", param_hint="--sites")
    return counts


def _print(costs: list[Cost]) -> None:
    table = Table(
        "study", "hospitals", "seconds", "rounds", "messages", "MB to sites", "MB from sites", "server, peak MiB",
        "server, ms a message", "ServerApp", "hospital, ms a message", "disk, MiB",
        title="What hospitals cost", title_justify="left",
    )  # fmt: skip
    for cost in costs:
        table.add_row(
            cost.study, str(cost.sites), f"{cost.seconds:.0f}", str(cost.rounds), str(cost.messages),
            f"{cost.bytes_to_sites / 1e6:.1f}", f"{cost.bytes_from_sites / 1e6:.1f}", f"{cost.server_peak_mib:.0f}",
            f"{cost.server_ms_a_message:.1f}", f"{cost.serverapp_ms_a_message:.1f}",
            "-" if cost.site_ms_a_message is None else f"{cost.site_ms_a_message:.1f}", f"{cost.disk_mib:.0f}",
        )  # fmt: skip
    out.print(table)
    from simulation.scale.measuring import report

    found = report(costs)
    for name, ratio in found["memory_ratio"].items():
        work = found["work_ratio"][name]
        out.print(f"{name}: from fewest to most hospitals memory x {ratio:.2f}, work a message x {work:.2f}")
