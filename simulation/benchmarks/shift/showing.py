"""simulation: benchmarks: shift: what was found, for a person at a terminal."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Column, Table

from common.terminal import err, out, print_json
from simulation.benchmarks.shift.averaging import FEDAVG, OPTIMISERS
from simulation.benchmarks.shift.centres import RealData
from simulation.benchmarks.shift.detecting import PATIENTS
from simulation.benchmarks.shift.figures import Campaign, Recovered
from simulation.benchmarks.shift.methods import ACTIONS, CEILING, COMBAT, LOCAL, NOTHING, POOLED
from simulation.benchmarks.shift.real import each_left_out
from simulation.exactness.measuring import Absent


def show_real_centres(data: RealData, *, json_: bool) -> None:
    """Leave each real centre out once, and print what that says; nothing fails where the data are not here."""
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


def show_campaign(campaign: Campaign) -> None:
    """Print a campaign's tables, and what failed."""
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
    methods = (NOTHING, *ACTIONS, *OPTIMISERS, LOCAL, CEILING)
    title = f"Area under the curve at the target, mean of {len(campaign.sound)} seeds"
    heads = (Column(method, min_width=5, overflow="fold") for method in methods)
    table = Table(Column("shift", no_wrap=True), *heads, title=title, title_justify="left", box=SIMPLE, padding=0)
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
    for name, row in campaign.report()["recalibration"]["prior"].items():
        errors = (f"{row['logit_oe_before']:.3f}", f"{row['logit_oe_after']:.3f}")
        table.add_row(name, "no outcome", f"prior ({row['draws']} draws)", *errors, "")
    return table


def _targets(campaign: Campaign) -> Table:
    table = Table("target", "asked", "measured", "", title="Targets", title_justify="left", box=SIMPLE)
    for target in campaign.targets:
        value = "no value" if target.value is None else f"{target.value:.3f}"
        value += f" ({target.low:.3f} to {target.high:.3f})" if target.low is not None else ""
        said = "met" if target.met else "[red]missed" + (f" by {target.missed_by:.3f}" if target.missed_by else "")
        table.add_row(target.name, f"{'>=' if target.least else '<'} {target.bound:g}", value, said)
    return table
