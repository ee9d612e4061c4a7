"""simulation: benchmarks: expression: the command `fedmvi-simulate benchmark expression`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from common.terminal import EXIT_PROBLEMS, err, need, out, print_json
from simulation.benchmarks.expression import scenarios as s

if TYPE_CHECKING:
    from simulation.benchmarks.expression.figures import Campaign
    from simulation.benchmarks.expression.studying import Studied


def add_commands(benchmarks: typer.Typer) -> None:
    """Put the command among the others."""
    benchmarks.command("expression", epilog="Example: fedmvi-simulate benchmark expression --studies 200")(expression)


def expression(
    studies: Annotated[int, typer.Option(min=1, help="Drawn studies of each size.")] = s.STUDIES,
    patients: Annotated[
        list[int] | None,
        typer.Option(
            min=30,
            max=2000,
            help=f"Patients of a study; may be repeated, and the first is the headline's. [default: {s.SIZES}]",
            show_default=False,
        ),
    ] = None,
    first: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1,
    enriched: Annotated[int, typer.Option(min=0, help="Studies in which gene sets are looked for.")] = s.ENRICHED,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default one a processor.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Draw studies of gene expression, and count what is called different and is not, and what is found of what is.

    Exit code 1 if a study failed or a mean false discovery proportion is above 0.05 and two of its standard errors; by
    how much is printed.
    """
    need("server", "gseapy")
    from simulation.benchmarks.expression.figures import Campaign
    from simulation.benchmarks.expression.studying import run_studies

    sizes = tuple(dict.fromkeys(patients or s.SIZES))
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("drawn studies", total=studies * len(sizes))

        def done(_: Studied) -> None:
            progress.advance(task)

        campaign = Campaign(run_studies(range(first, first + studies), sizes, enriched, workers, done))
    if json_:
        print_json(campaign.report())
    else:
        _print(campaign)
    if not campaign.passed:
        raise typer.Exit(EXIT_PROBLEMS)


def _print(campaign: Campaign) -> None:
    report = campaign.report()
    for patients, size in report["sizes"].items():
        title = f"{patients} patients at {len(size['hospitals'])} hospitals, {report['studies']} studies"
        effects = [f"log2 {effect:g}" for effect in s.EFFECTS]
        heads = ("false discovery proportion", "at most", "found of what differs", *effects)
        table = Table(Column("scenario", min_width=24), *heads, title=title, title_justify="left", box=SIMPLE)
        for name, row in size["scenarios"].items():
            proportion = row["false_discovery_proportion"]
            mark = "" if row["met"] else "[red]"
            shares = (
                [row["sensitivity"], *row["sensitivity_by_log2_fold_change"].values()] if "sensitivity" in row else []
            )
            cells = (f"{proportion['mean']:.3f} ({proportion['std_err']:.3f})", f"{row['bound']:.3f}")
            table.add_row(mark + name, *(mark + cell for cell in cells), *(f"{share['mean']:.2f}" for share in shares))
        out.print(table)
        _print_sets(size["scenarios"])
    for one in campaign.errors:
        err.print(f"seed {one.seed}, {one.patients} patients: {escape(one.error)}")
    for judged in campaign.judged:
        if not judged.met:
            out.print(f"[red]Missed by {judged.beyond:.3f}:[/] {judged.scenario}, {judged.patients} patients.")


def _print_sets(rows: dict[str, Any]) -> None:
    known = {name: row["gene_sets"] for name, row in rows.items() if "gene_sets" in row}
    if not known:
        return
    heads = (
        "studies",
        "pathway found by ranks",
        "by over-representation",
        "random null sets",
        "co-expressed null sets",
    )
    table = Table(Column("gene sets", min_width=24), *heads, box=SIMPLE)
    for name, sets in known.items():
        shares = (*sets["pathway_found"].values(), *sets["null_sets_found"].values())
        table.add_row(name, str(sets["studies"]), *(f"{share:.3f}" for share in shares))
    out.print(table)
