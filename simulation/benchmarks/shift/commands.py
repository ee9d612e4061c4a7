"""simulation: benchmarks: shift: the command `fedmvi-simulate benchmark shift`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from common.errors import FedmviError
from common.terminal import EXIT_PROBLEMS, err, need, out, print_json
from simulation.benchmarks.shift.campaign import Found, run_campaign
from simulation.benchmarks.shift.centres import REAL, RealData
from simulation.benchmarks.shift.cohorts import Drawing
from simulation.benchmarks.shift.detecting import PATIENTS
from simulation.benchmarks.shift.figures import Campaign, Recovered
from simulation.benchmarks.shift.methods import ACTIONS, CEILING, COMBAT, FEDAVG, LOCAL, NOTHING, POOLED
from simulation.benchmarks.shift.real import each_left_out
from simulation.benchmarks.shift.scenarios import ALL_KINDS, EVALUATION_SEED
from simulation.exactness.measuring import Absent

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
    if data in REAL:
        _real(REAL[data], json_=json_)
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
        _print(campaign)
    if not campaign.passed:
        raise typer.Exit(EXIT_PROBLEMS)


def _real(data: RealData, *, json_: bool) -> None:
    try:
        found = each_left_out(data)
    except Absent as absent:
        err.print(f"Not measured: {escape(str(absent))}.")
        return
    if json_:
        print_json(found.report())
        return
    methods = (NOTHING, COMBAT, FEDAVG, POOLED, LOCAL)
    title = "Area under the curve in the centre that was left out (standard error)"
    heads = ("centre", "patients", "with the outcome", *methods, "verdict", "ComBat in a study")
    table = Table(*heads, title=title, title_justify="left", box=SIMPLE)
    for name, centre in found.centres.items():
        areas = [
            f"{area:.3f}" + ("" if error is None else f" ({error:.3f})")
            for area, error in (centre.areas[method] for method in methods)
        ]
        table.add_row(
            name, str(centre.n), str(centre.events), *areas, centre.verdict, "withheld" if centre.withheld else "used"
        )
    out.print(table)
    if data.note:
        out.print(data.note)


def _print(campaign: Campaign) -> None:
    if campaign.sound:
        for table in (
            _areas(campaign),
            _recovered(campaign),
            _looks(campaign),
            _corrections(campaign),
            _targets(campaign),
        ):
            out.print(table)
    for one in campaign.found:
        if one.error:
            err.print(f"seed {one.seed}: {escape(one.error)}")


def _areas(campaign: Campaign) -> Table:
    methods = (NOTHING, *ACTIONS, FEDAVG, LOCAL, CEILING)
    title = f"Area under the curve at the target, mean of {len(campaign.sound)} seeds"
    table = Table(Column("shift", no_wrap=True), *methods, title=title, title_justify="left", box=SIMPLE)
    for scenario in campaign.scenarios:
        areas = [campaign.areas(scenario, method) for method in methods]
        table.add_row(scenario, *("refused" if area is None else f"{area.mean():.3f}" for area in areas))
    return table


def _recovered(campaign: Campaign) -> Table:
    table = Table(
        Column("shift", no_wrap=True),
        "costs",
        *ACTIONS,
        title="Part of that recovered",
        title_justify="left",
        box=SIMPLE,
    )
    for scenario in campaign.scenarios:
        found = [campaign.recovered(scenario, action) for action in (NOTHING, *ACTIONS)]
        if found[0] is not None and found[0].fraction is not None:
            table.add_row(scenario, f"{found[0].cost:.3f}", *map(_share, found[1:]))
    return table


def _share(found: Recovered | None) -> str:
    return "refused" if found is None else f"{found.fraction:.2f} ({found.low:.2f} to {found.high:.2f})"


def _looks(campaign: Campaign) -> Table:
    title = f"Found, with {PATIENTS} patients of the target"
    table = Table(
        "shift", "looks", "without outcomes", "named", "with outcomes", title=title, title_justify="left", box=SIMPLE
    )
    for name, row in campaign.report()["detection"].items():
        if "verdicts" in row:
            power, later = row["power"], row["power_with_outcomes"]
            named = ", ".join(f"{verdict} {times}" for verdict, times in row["verdicts"].items())
            table.add_row(name, str(power["of"]), f"{power['share']:.2f}", named, f"{later['share']:.2f}")
    return table


def _corrections(campaign: Campaign) -> Table:
    title = "Recalibrated on the target's patients with known outcomes"
    heads = ("shift", "patients", "rule", "|logit O/E| before", "after", "slope in 0.8 to 1.2")
    table = Table(*heads, title=title, title_justify="left", box=SIMPLE)
    for name, by_n in campaign.report()["recalibration"].items():
        # Single kinds of shift are in the JSON.
        for n, rules in by_n.items() if name.startswith("all") else ():
            for rule, row in rules.items():
                if row["draws"]:
                    share = f"{row['slope_within']['share']:.2f}" if "slope_within" in row else ""
                    errors = (f"{row['logit_oe_before']:.3f}", f"{row['logit_oe_after']:.3f}")
                    table.add_row(name, n, rule, *errors, share)
    return table


def _targets(campaign: Campaign) -> Table:
    table = Table("target", "asked", "measured", "", title="Targets", title_justify="left", box=SIMPLE)
    for target in campaign.targets:
        value = "no value" if target.value is None else f"{target.value:.3f}"
        said = "met" if target.met else "[red]missed" + (f" by {target.missed_by:.3f}" if target.missed_by else "")
        table.add_row(target.name, f"{'>=' if target.least else '<'} {target.bound:g}", value, said)
    return table
