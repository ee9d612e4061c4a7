"""simulation/scale: the command `fedmvi-simulate scale`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from common.terminal import err, need, out, print_json
from simulation.scale.hospitals import Kind
from simulation.scale.measuring import Cost, measure, report

FEWEST, MOST = 3, 3000


def add_commands(app: typer.Typer) -> None:
    """Put the command among the others."""
    app.command("scale", epilog="Example: fedmvi-simulate scale --sites 10,100 --study statistics")(scale)


def scale(
    sites: Annotated[str, typer.Option(help="Numbers of hospitals, with commas between.")] = "10,100,1000",
    study: Annotated[
        list[Kind] | None, typer.Option(help="Which study; give it twice for both. [default: both]")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run a study of statistics and one of a small network over ever more hospitals; say what each costs.

    Every hospital has twenty made-up patients, and answers through its gate, ledger and masks, on Flower's simulation
    runtime. What it needs of the server is memory and processor time of ServerApp and SuperLink together. 1,000
    hospitals take about an hour.
    """
    need("simulation", "ray", "torch", "pyarrow", "SimpleITK")
    counts = _counts(sites)
    costs = measure(study or list(Kind), counts, lambda step: err.print(f"[dim]{escape(step)} …[/]"))
    if json_:
        print_json(report(costs))
    else:
        _print(costs)


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
        "study", "hospitals", "seconds", "messages", "MB to sites", "MB from sites", "server, peak MiB",
        "server, s of processor", "ms a message", title="What hospitals cost", title_justify="left",
    )  # fmt: skip
    for cost in costs:
        table.add_row(
            cost.study, str(cost.sites), f"{cost.seconds:.0f}", str(cost.messages), f"{cost.bytes_to_sites / 1e6:.1f}",
            f"{cost.bytes_from_sites / 1e6:.1f}", f"{cost.server_peak_mib:.0f}", f"{cost.server_cpu_seconds:.0f}",
            f"{cost.server_ms_a_message:.1f}",
        )  # fmt: skip
    out.print(table)
    found = report(costs)
    for name, ratio in found["memory_ratio"].items():
        work = found["work_ratio"][name]
        out.print(f"{name}: from fewest to most hospitals memory x {ratio:.2f}, work a message x {work:.2f}")
