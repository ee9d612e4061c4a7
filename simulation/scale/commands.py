"""simulation/scale: the command `fedmvi-simulate scale`."""

from __future__ import annotations

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
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run a study of statistics and one of a small network over ever more hospitals; say what each costs.

    Hospitals are made up, and answer through gate, ledger and masks, on Flower's simulation runtime. What they need of
    the server is memory and processor time of ServerApp and SuperLink together. Statistics over 1,000
    hospitals took an hour on two processors.
    """
    need("simulation", "ray", "torch", "pyarrow", "SimpleITK")
    from simulation.scale.measuring import measure, report

    counts = _counts(sites)
    costs = measure(study or list(Kind), counts, lambda step: err.print(f"[dim]{escape(step)} …[/]"), ray_address)
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
        "study", "hospitals", "seconds", "rounds", "messages", "MB to sites", "MB from sites", "server, peak MiB",
        "server, ms a message", "hospital, ms a message", title="What hospitals cost", title_justify="left",
    )  # fmt: skip
    for cost in costs:
        table.add_row(
            cost.study, str(cost.sites), f"{cost.seconds:.0f}", str(cost.rounds), str(cost.messages),
            f"{cost.bytes_to_sites / 1e6:.1f}", f"{cost.bytes_from_sites / 1e6:.1f}", f"{cost.server_peak_mib:.0f}",
            f"{cost.server_ms_a_message:.1f}", f"{cost.site_ms_a_message:.1f}",
        )  # fmt: skip
    out.print(table)
    from simulation.scale.measuring import report

    found = report(costs)
    for name, ratio in found["memory_ratio"].items():
        work = found["work_ratio"][name]
        out.print(f"{name}: from fewest to most hospitals memory x {ratio:.2f}, work a message x {work:.2f}")
