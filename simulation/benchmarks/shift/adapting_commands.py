"""simulation: benchmarks: shift: the command `fedmvi-simulate benchmark adaptation`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from common.parallel import in_processes
from common.terminal import EXIT_PROBLEMS, need, out, print_json
from simulation.benchmarks.shift.scenarios import EVALUATION_SEED, NONE

if TYPE_CHECKING:
    from common.study.table import FloatArray
    from simulation.benchmarks.shift.adapting import AdaptedTarget

COST = 0.005
"""Area that adaptation may cost where nothing differs."""


def add_commands(benchmarks: typer.Typer) -> None:
    """Put the command among the others."""
    benchmarks.command("adaptation", epilog="Example: fedmvi-simulate benchmark adaptation --seeds 4")(adaptation)


def adaptation(
    seeds: Annotated[int, typer.Option(min=1, help="Drawn consortia, each with every target.")] = 10,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = EVALUATION_SEED,
    here: Annotated[int, typer.Option(min=20, help="Patients of the target by whom the network is adapted.")] = 100,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a processor.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Adapt a small network to hospitals whose images, or patients, differ, and measure what that brings and costs.

    Exit code 1 if it costs more than is asked for where nothing differs.
    """
    need("exactness", "torch")
    from simulation.benchmarks.shift.adapting import Sizes, adapted_seed

    work = partial(adapted_seed, sizes=Sizes(here=here))
    found = list(in_processes(work, range(first, first + seeds), workers))
    report = figures(found)
    if json_:
        print_json(report)
    else:
        _print(report)
    if not all(target["met"] for target in report["targets"]):
        raise typer.Exit(EXIT_PROBLEMS)


def figures(found: list[dict[str, AdaptedTarget]]) -> dict[str, Any]:
    """What all seeds say, by target of adaptation."""
    import numpy as np

    from simulation.benchmarks.shift.adapting import ALWAYS, BY_SCORES, IMAGES, TRAINED, WAYS
    from simulation.benchmarks.shift.figures import recovered, upper_bound
    from simulation.benchmarks.shift.targets import Target

    def values(name: str, way: str) -> FloatArray:
        return np.array([one[name].areas[way] for one in found])

    rows: dict[str, Any] = {}
    for name in found[0]:
        row: dict[str, Any] = {
            "areas": {way: float(values(name, way).mean()) for way in WAYS},
            "risk_errors": {way: float(np.mean([one[name].risk_errors[way] for one in found])) for way in WAYS},
            "verdicts": dict(Counter(one[name].verdict for one in found)),
        }
        if name in IMAGES:
            ceiling = values(NONE.name, TRAINED)
            row["recovered"] = {
                way: asdict(recovered(values(name, way), values(name, TRAINED), ceiling)) for way in WAYS[1:]
            }
        rows[name] = row
    bounds = {way: upper_bound(values(NONE.name, TRAINED) - values(NONE.name, way)) for way in WAYS[1:]}
    targets = [
        Target(f"cost where nothing differs, {way}", bounds[way], COST, least=False) for way in (ALWAYS, BY_SCORES)
    ]
    told = [target.report() for target in targets]
    return {"seeds": len(found), "targets": told, "costs_without_shift": bounds, "by_target": rows}


def _print(report: dict[str, Any]) -> None:
    from simulation.benchmarks.shift.adapting import WAYS

    title = f"Area, below it |logit O/E|, mean of {report['seeds']} seeds"
    heads = (Column(way, min_width=5) for way in WAYS)
    table = Table("target", *heads, "verdicts", title=title, title_justify="left", box=SIMPLE, padding=0)
    for name, row in report["by_target"].items():
        cells = (f"{row['areas'][way]:.3f}\n{row['risk_errors'][way]:.2f}" for way in WAYS)
        table.add_row(name, *cells, ", ".join(f"{verdict} {n}" for verdict, n in row["verdicts"].items()))
    out.print(table)
    for target in report["targets"]:
        value = "no value" if target["value"] is None else f"{target['value']:.4f}"
        out.print(f"{target['name']}: below {target['below']:g} asked, {value} measured")
