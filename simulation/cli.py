"""simulation: the command `fedmvi-simulate`, for a methodologist on one machine.

A command loads what it needs when it is called: all of it together takes seconds.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from common.errors import FedmviError
from common.terminal import EXIT_PROBLEMS, err, need, out, print_json, run_app
from server.publishing import publish
from server.study.action import Action
from simulation import gene_listing, pooled_and_alone_command
from simulation.benchmarks import commands as null_commands
from simulation.benchmarks.expression import commands as expression_commands
from simulation.benchmarks.peers import commands as peers_commands
from simulation.benchmarks.shift import adapting_commands
from simulation.benchmarks.shift import commands as shift_commands
from simulation.chaos import commands as chaos_commands
from simulation.importers import IMPORTERS
from simulation.learning.commands import add_commands
from simulation.network import commands as network_commands
from simulation.scale import commands as scale_commands
from simulation.shipped import shipped_consortia, shipped_study

if TYPE_CHECKING:
    from simulation.benchmarks.measuring import Benchmark
    from simulation.cohorts.consortium import Consortium
    from simulation.exactness import Measured
    from simulation.importers.folder import ImportReport

app = typer.Typer(
    help="Run federated studies over many sites on one machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # Local variables hold patients.
    pretty_exceptions_show_locals=False,
)

benchmarks = typer.Typer(help="Measure what the product costs, beside what people would use instead.",
                         no_args_is_help=True)  # fmt: skip
app.add_typer(benchmarks, name="benchmark")
add_commands(app, benchmarks)
null_commands.add_commands(benchmarks)
shift_commands.add_commands(benchmarks)
peers_commands.add_commands(benchmarks)
adapting_commands.add_commands(benchmarks)
expression_commands.add_commands(benchmarks)
network_commands.add_commands(app, benchmarks)
gene_listing.add_commands(app)
pooled_and_alone_command.add_commands(app)
chaos_commands.add_commands(app)
scale_commands.add_commands(app)

StudyFile = Annotated[Path, typer.Argument(help="A study protocol, or the name of a shipped one.")]
ConsortiumFile = Annotated[
    str, typer.Argument(help=f"A consortium file, or a shipped one: {', '.join(shipped_consortia())}.")
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed makes the same patients, byte for byte.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that make images; as many as processors if not given.")
]
Sites = Annotated[Path, typer.Option(help="Folder whose sub-folders are sites.")]
InProcess = Annotated[bool, typer.Option("--in-process", help="Without Flower: the same questions, in this process.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEMO_SEED = 1
_BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@app.command(epilog="Example: fedmvi-simulate demo --out runs/demo")
def demo(
    out_: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/demo"), json_: AsJson = False
) -> None:
    """Make four synthetic hospitals and two external ones, run the demo study over Flower, write the report."""
    _demonstrate("demo", out_, json_=json_)


@app.command(epilog="Example: fedmvi-simulate demo-imaging --out runs/demo-imaging")
def demo_imaging(
    out_: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/demo-imaging"),
    json_: AsJson = False,
) -> None:
    """Make seven synthetic hospitals with CT in DICOM, prepare them, run a radiomics study over Flower, report it."""
    _demonstrate("demo-imaging", out_, json_=json_)


def _demonstrate(name: str, folder: Path, *, json_: bool) -> None:
    """Make a consortium's hospitals, where they are not there already, and run the study of its name."""
    from simulation.cohorts.consortium import load_consortium

    _clear_finished_demo(name, folder)
    sites = folder.with_name(f"{folder.name}-sites")
    if not sites.exists():
        _make(load_consortium(name), sites, DEMO_SEED, None)
    _run(shipped_study(Path(name)), sites, folder, in_process=False, json_=json_, compared=True)


def _clear_finished_demo(name: str, folder: Path) -> None:
    """A demo may be run again: what the earlier one wrote, and nothing else, makes way."""
    from server.study.run_directory import RunDirectory

    run = RunDirectory(folder)
    if not run.run_file.exists() or not run.results_file.exists():
        return
    if run.study().study.name != name:
        raise FedmviError(701, str(folder))
    stamp = str(run.facts()["run_id"])
    folder.rename(folder.with_name(f"{folder.name}-{stamp}"))
    err.print(f"The earlier demo is kept in {escape(str(folder.with_name(f'{folder.name}-{stamp}')))}.")


@app.command(epilog="Example: fedmvi-simulate cohort ct-federated --out sites/ct --seed 7 --preview")
def cohort(
    consortium: ConsortiumFile,
    out_: Annotated[Path, typer.Option("--out", help="New folder for the sites.")],
    seed: Seed = DEMO_SEED,
    preview: Annotated[bool, typer.Option("--preview", help="Also write a contact sheet, preview.html.")] = False,
    workers: Workers = None,
    json_: AsJson = False,
) -> None:
    """Make the simulated hospitals that a consortium file declares: tables, images, expression, and the truth."""
    from simulation.cohorts.consortium import load_consortium
    from simulation.previewing import preview_consortium

    declared = load_consortium(consortium)
    if preview and declared.imaging is None:
        raise FedmviError(813, name=declared.name)
    _print_import(_make(declared, out_, seed, workers), json_=json_)
    if preview:
        sheet = out_ / "preview.html"
        _progress("draw the contact sheet")
        preview_consortium(declared, sheet, seed)
        if not json_:
            out.print(f"Look at it: {escape(str(sheet))}")


def _make(declared: Consortium, folder: Path, seed: int, workers: int | None) -> ImportReport:
    """Make a consortium's hospitals, and show how many patients are pictured."""
    from simulation.hospitals import make_hospitals

    with Progress(*_BAR, console=err, transient=True) as bar:
        task = bar.add_task("patients pictured", total=None, visible=declared.imaging is not None)

        def progress(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)
            if not err.is_terminal and done * 10 // of > (done - 1) * 10 // of:  # a line per tenth, for a log
                _progress(f"{done} of {of} patients pictured")

        return make_hospitals(declared, folder, seed, workers=workers, progress=progress)


@app.command(epilog="Example: fedmvi-simulate signal ct-as-published --seeds 5")
def signal(
    consortium: ConsortiumFile,
    seeds: Annotated[int, typer.Option(min=1, help="How often the consortium is drawn anew.")] = 3,
    seed: Seed = DEMO_SEED,
    train: Annotated[str, typer.Option(help="The group that models are fitted on.")] = "train",
    tested: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            help="A group to test; may be repeated. [default: internal-test, external-test]",
            show_default=False,
        ),
    ] = None,
    workers: Workers = None,
    json_: AsJson = False,
) -> None:
    """Measure how well plain models predict MVI from a consortium's pictures, beside the best that is possible."""
    need("exactness", "sklearn")
    from simulation.cohorts.consortium import load_consortium
    from simulation.signal import measure_signal

    chosen = tested or ["internal-test", "external-test"]
    rows = measure_signal(
        load_consortium(consortium),
        range(seed, seed + seeds),
        train,
        chosen,
        workers,
        lambda n: _progress(f"seed {n} measured"),
    )
    if json_:
        print_json([{**dataclasses.asdict(row), "mean": row.mean, "error": row.error} for row in rows])
        return
    table = Table(Column("group", no_wrap=True), "model", "patients", "AUC", "error", "best",
                  title=f"Simulated: means over {len(rows[0].aucs)} seed(s)", title_justify="left")  # fmt: skip
    for row in rows:
        error = "" if row.error is None else f"{row.error:.3f}"
        table.add_row(
            escape(row.label), row.model, str(row.patients), f"{row.mean:.3f}", error, f"{fmean(row.best):.3f}"
        )
    out.print(table)
    out.print("error: standard error of the mean; best: AUC of the latent truth of the same variables.")


@app.command(name="import", epilog="Example: fedmvi-simulate import tcga-lihc data/tcga_lihc --out sites/tcga")
def import_(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(IMPORTERS)}.")],
    source: Annotated[Path, typer.Argument(help="Folder with the data as published.")],
    out_: Annotated[Path, typer.Option("--out", help="New folder for the sites.")],
    json_: AsJson = False,
) -> None:
    """Turn a public data set into site folders, by stated rules."""
    if name not in IMPORTERS:
        raise typer.BadParameter(f"'{name}' is none of: {', '.join(IMPORTERS)}", param_hint="NAME")
    report = IMPORTERS[name].run(source, out_)
    _print_import(report, json_=json_)
    if not json_:
        study = IMPORTERS[name].study.removesuffix(".toml")
        out.print(f"Next: fedmvi-simulate run {study} --sites {escape(str(out_))} --out RUN")


def _print_import(report: ImportReport, *, json_: bool) -> None:
    if json_:
        print_json(json.loads(report.as_json()))
        return
    joined = any(site.members for site in report.sites)
    table = Table("site", "patients", "classes", *(["made of"] if joined else []), title=f"Sites of {report.importer}")
    for site in report.sites:
        classes = ", ".join(f"{name} {count}" for name, count in site.classes.items())
        members = [escape(" ".join(site.members))] if joined else []
        table.add_row(escape(site.name), str(site.patients), escape(classes), *members)
    out.print(table)
    for rule in report.rules:
        if rule.count:
            out.print(f"{rule.count:>5}  {escape(rule.variable)}: {rule.action}: {escape(rule.text)}")
    for note in report.notes:
        out.print(escape(note))


@app.command(epilog="Example: fedmvi-simulate plan tcga-lihc-mvi --sites sites/tcga --out plans/tcga")
def plan(
    study: StudyFile,
    sites: Sites,
    out_: Annotated[Path, typer.Option("--out", help="Folder for the plan.")],
    json_: AsJson = False,
) -> None:
    """Before any fit: patients, events, events per parameter and Riley's sample sizes, sites under the limits."""
    from common.published.results import read_results
    from server.plan import print_plan
    from simulation.running import Simulation

    simulation = Simulation.of(shipped_study(study), sites, out_, in_process=True)
    simulation.conduct(Action.PLAN, _progress)
    planned = read_results(simulation.run.plan_file)
    if json_:
        print_json(planned.model_dump(mode="json"))
    else:
        print_plan(planned)


@app.command(epilog="Example: fedmvi-simulate run tcga-lihc-mvi --sites sites/tcga --out runs/tcga")
def run(
    study: StudyFile,
    sites: Sites,
    out_: Annotated[Path, typer.Option("--out", help="Folder for the run; an unfinished run there is resumed.")],
    in_process: InProcess = False,
    json_: AsJson = False,
) -> None:
    """Run a study over site folders and write its report."""
    _run(shipped_study(study), sites, out_, in_process=in_process, json_=json_)


@app.command(epilog="Example: fedmvi-simulate exactness --out exactness.md")
def exactness(
    data: Annotated[str | None, typer.Option(help="Only the cases over this table, such as breast-cancer.")] = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Also write the table as Markdown to this file.")] = None,
    json_: AsJson = False,
) -> None:
    """Measure how far every federated statistic is from the pooled one. Exit code 1 if any is beyond its tolerance."""
    need("exactness", "lifelines", "sklearn", "statsmodels", "sksurv", "firthmodels", "mrmr")
    from simulation.exactness import CASES, KEYS, as_markdown, measure

    if data is not None and data not in KEYS:
        raise FedmviError(807, data=data, known=", ".join(sorted(KEYS)))
    measured = measure(CASES, data)
    if out_ is not None:
        out_.write_text(as_markdown(measured), encoding="utf-8")
    if json_:
        print_json([{**dataclasses.asdict(row), "pass": row.passed} for row in measured.rows])
    else:
        _print_exactness(measured)
    for why in measured.absent:
        err.print(f"not run: {escape(why)}")
    if not measured.rows or not all(row.passed for row in measured.rows):
        raise typer.Exit(EXIT_PROBLEMS)


def _print_exactness(measured: Measured) -> None:
    rows = measured.rows
    for data, oracle in dict.fromkeys((row.data, row.oracle) for row in rows):
        table = Table(Column("statistic", min_width=26), "difference", "at most", "bits", "rounds", "KiB", "s",
                      title_justify="left", title=escape(f"{data}; {oracle}"))  # fmt: skip
        for row in rows:
            if (row.data, row.oracle) == (data, oracle):
                mark = "" if row.passed else "[red]"
                cells = (f"{row.difference:.1e}", f"{row.tolerance:.0e}", "same" if row.masked_equal else "other")
                costs = (str(row.rounds), f"{row.kib_per_site:.1f}", f"{row.seconds:.2f}")
                table.add_row(mark + escape(row.statistic), *(mark + cell for cell in (*cells, *costs)))
        out.print(table)
    out.print("bits: masked v plain; rounds, KiB from each site and seconds: of the case that a row belongs to.")
    out.print(f"{sum(row.passed for row in rows)} of {len(rows)} within their tolerance, masked and plain alike.")


@benchmarks.command("statistics", epilog="Example: fedmvi-simulate benchmark statistics --repeats 5")
def benchmark_statistics_(
    features: Annotated[int, typer.Option(min=50, help="Radiomics features.")] = 1500,
    patients: Annotated[int, typer.Option(min=200, help="Patients of all sites together.")] = 500,
    sites: Annotated[int, typer.Option(min=3, help="Sites, uneven ones.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="How often both sides are timed, in turn.")] = 3,
    plain: Annotated[bool, typer.Option("--plain", help="Without masks.")] = False,
    json_: AsJson = False,
) -> None:
    """Time a radiomics study's chain of statistics, federated in this process, beside the same on pooled rows.

    Exit code 1 if the two do not give the same features, penalty and numbers.
    """
    need("exactness", "lifelines", "sklearn", "statsmodels", "sksurv", "firthmodels", "mrmr")
    from simulation.benchmarks.statistics import benchmark_statistics

    done = benchmark_statistics(features, patients, sites, repeats, masked=not plain)
    if json_:
        print_json(done.report())
    else:
        _print_benchmark(done)
    if not done.digest_equal:
        raise typer.Exit(EXIT_PROBLEMS)


@benchmarks.command("preparation", epilog="Example: fedmvi-simulate benchmark preparation --patients 2 --workers 2")
def benchmark_preparation_(
    patients: Annotated[int, typer.Option(min=1, help="Simulated patients of four phases each.")] = 1,
    size: Annotated[tuple[float, float, float], typer.Option(help="Field of view along x, y and z in mm.")] = (
        320.0,
        320.0,
        160.0,
    ),
    diameter: Annotated[float, typer.Option(min=8, help="Of the lesion, in mm.")] = 40.0,
    repeats: Annotated[int, typer.Option(min=1, help="How often every way is timed, in turn.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes, the same for all ways.")] = 1,
    registration: Annotated[bool, typer.Option("--registration", help="Also time the registration.")] = False,
    json_: AsJson = False,
) -> None:
    """Time the features of four phases, three subtractions, the tumour and two rings, three ways.

    Plain pyradiomics on whole volumes, on images cropped by hand, and as `fedmvi-site prepare` computes them. With the
    defaults plain pyradiomics takes some five minutes a patient. Exit code 1 if ours and plain pyradiomics do not give
    the same features.
    """
    need("site", "SimpleITK", "radiomics", "torch")
    if min(size) < diameter + 24:
        raise typer.BadParameter(
            "the lesion and its rings need 24 mm more than the lesion's diameter", param_hint="--size"
        )
    from simulation.benchmarks.preparation import benchmark_preparation

    done = benchmark_preparation(patients, size, diameter, repeats, workers, registration=registration)
    if json_:
        print_json(done.report())
    else:
        _print_benchmark(done)
    if not done.digest_equal:
        raise typer.Exit(EXIT_PROBLEMS)


def _print_benchmark(done: Benchmark) -> None:
    report = done.report()
    table = Table("step", *(f"{side.name}, s" for side in (done.ours, *done.baselines)), title_justify="left",
                  title=f"{done.name}: medians of {report['repeats']} run(s)")  # fmt: skip
    for step in done.ours.steps:
        table.add_row(step, *(f"{side.steps.get(step, 0.0):.3f}" for side in (done.ours, *done.baselines)))
    table.add_row("all", *(f"{side.median:.3f}" for side in (done.ours, *done.baselines)))
    out.print(table)
    facts = [f"{name.replace('_', ' ')}: {_short(value)}" for name, value in done.ours.facts.items()]
    out.print(f"{done.baselines[0].name} over {done.ours.name}: {report['ratio']:.2f}; {'; '.join(facts)}.")
    out.print("Both gave the same output." if done.digest_equal else "[red]The outputs differ.[/]")


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(part)}" for name, part in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _run(study: Path, sites: Path, folder: Path, *, in_process: bool, json_: bool, compared: bool = False) -> None:
    need("simulation", *([] if in_process else ["ray"]), "matplotlib")
    from simulation.running import Simulation

    simulation = Simulation.of(study, sites, folder, in_process=in_process)
    if not simulation.run.results_file.exists():
        simulation.conduct(Action.RUN, _progress)
    if compared:
        from simulation.pooled_and_alone import compare_run

        compare_run(simulation.run, sites, _progress)
    publish(simulation.run, json_=json_)


def _progress(step: str) -> None:
    err.print(f"[dim]{escape(step)} …[/]")


def main() -> None:
    """Entry point of `fedmvi-simulate`."""
    run_app(app)
