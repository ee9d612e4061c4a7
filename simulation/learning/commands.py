"""simulation: learning: the commands `stacks`, `compare-training` and `benchmark training` of `fedmvi-simulate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from common.files import write_whole
from common.terminal import EXIT_PROBLEMS, err, need, out, print_json
from simulation.shipped import shipped_study

if TYPE_CHECKING:
    from server.study.run_directory import RunDirectory
    from simulation.benchmarks.measuring import Benchmark
    from simulation.learning.compare import Compared

StudyFile = Annotated[Path, typer.Argument(help="A study protocol with networks, or the name of a shipped one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEMO = Path("demo-network")
RESULT = "comparison.json"


def add_commands(app: typer.Typer, benchmarks: typer.Typer) -> None:
    """Give the command line what is about networks."""
    app.command("stacks", epilog="Example: fedmvi-simulate stacks --out sites/network --seed 7")(stacks)
    example = "Example: fedmvi-simulate compare-training demo-network sites/network --out comparisons/network"
    app.command("compare-training", epilog=example)(compare_training_)
    benchmarks.command("training", epilog="Example: fedmvi-simulate benchmark training --repeats 3")(
        benchmark_training_
    )


def stacks(
    out_: Annotated[Path, typer.Option("--out", help="New folder for the sites.")],
    study: Annotated[Path, typer.Option(help="The study whose sites are made, or the name of a shipped one.")] = DEMO,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same patients.")] = 1,
    patients: Annotated[int, typer.Option(min=10, max=999, help="Of each hospital.")] = 60,
    effect: Annotated[float, typer.Option(min=0, help="How brightly invasion shows; 0: not at all.")] = 0.25,
    shift: Annotated[float, typer.Option(min=0, max=1, help="How different the scanners are; 0: not at all.")] = 1.0,
    json_: AsJson = False,
) -> None:
    """Make simulated hospitals whose prepared stores hold ROI stacks of drawn lesions: quick, and without images."""
    need("site", "SimpleITK", "PIL", "pyarrow")
    from common.study.loader import load_study
    from simulation.learning.hospitals import Drawing, make_learning_hospitals

    drawing = Drawing(seed, patients=patients, effect=effect, shift=shift)
    report = make_learning_hospitals(out_, load_study(shipped_study(study)), drawing)
    if json_:
        print_json(json.loads(report.as_json()))
        return
    table = Table("site", "patients", "classes", title=f"Simulated sites of {report.importer}")
    for site in report.sites:
        classes = ", ".join(f"{name} {count}" for name, count in site.classes.items())
        table.add_row(escape(site.name), str(site.patients), escape(classes))
    out.print(table)
    for note in report.notes:
        out.print(escape(note))
    out.print(f"Next: fedmvi-simulate run {escape(str(study))} --sites {escape(str(out_))} --out RUN")


def compare_training_(
    study: StudyFile,
    sites: Annotated[Path, typer.Argument(help="Folder whose sub-folders are simulated sites with prepared stores.")],
    out_: Annotated[Path, typer.Option("--out", help="Folder for comparison.json.")],
    network: Annotated[str | None, typer.Option(help="Name of the network. [default: the first]")] = None,
    combination: Annotated[
        str | None,
        typer.Option(help="Sequences, as t1a,t1v. [default: those of --run, else the combination of most]"),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of a finished run over these sites: the comparison goes into its report."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Train a network pooled, at each site alone, and federated, on simulated sites; compare them on the same patients.

    Same settings, seeds, folds and first weights. Pooled training exists in simulations only.
    """
    need("site", "torch", "pyarrow")
    from common.study.loader import load_study
    from server.study.run_directory import RunDirectory
    from simulation.learning.compare import compare_training
    from simulation.learning.of_run import OfRun
    from simulation.running import find_sites, refuse_made_up_patients, sites_of_study

    protocol = load_study(shipped_study(study))
    refuse_made_up_patients(sites, protocol)
    finished = None if run is None else OfRun(RunDirectory(run), protocol)
    named = tuple(combination.split(",")) if combination else None
    if finished is not None and named is None:
        named = finished.combination(network)
    done = compare_training(
        protocol,
        sites_of_study(protocol, find_sites(sites)),
        network,
        named,
        lambda step: err.print(f"[dim]{step} …[/]"),
    )
    done = done if finished is None else finished.put(done)
    out_.mkdir(parents=True, exist_ok=True)
    write_whole(out_ / RESULT, (json.dumps(done.as_json(), sort_keys=True, indent=1) + "\n").encode())
    if json_:
        print_json(done.as_json())
    else:
        _print_comparison(done)
        out.print(f"Kept in {escape(str(out_ / RESULT))}")
    if finished is not None:
        _publish(finished.run)


def _publish(run: RunDirectory) -> None:
    """Write the run's report anew, with the comparison."""
    need("server", "jinja2", "matplotlib")
    from common.published.results import read_results
    from server.report.page import write_report

    page = write_report(read_results(run.results_file), run.facts(), run.folder)
    err.print(f"Report: {escape(str(page))}")


def _print_comparison(done: Compared) -> None:
    from simulation.learning.comparison import as_table

    for cohort in dict.fromkeys(row.cohort for row in done.rows):
        rows = [row for row in done.rows if row.cohort == cohort]
        title = (
            f"{done.network.title} on {', '.join(done.combination)}; {cohort}, {rows[0].patients} simulated patients"
        )
        table = Table("training", "AUC", "SD of seeds", "accuracy", "always the commonest class", "AUC, less federated",
                      "accuracy, less federated", title=escape(title), title_justify="left")  # fmt: skip
        for cells in as_table(rows):
            table.add_row(*(escape(cell) for cell in cells))
        for lacking in done.not_estimable:
            table.add_row(escape(lacking), "not estimable")
        out.print(table)
    table = Table("a round and site", "bytes to it", "bytes from it", "a parameter", title_justify="left",
                  title=f"Metered: {done.traffic[0].parameters} parameters")  # fmt: skip
    for way in done.traffic:
        each = f"{way.to_site / way.parameters:.2f} and {way.from_site / way.parameters:.2f}"
        table.add_row(way.way, str(way.to_site), str(way.from_site), each)
    out.print(table)
    for lacking, reason in done.not_estimable.items():
        out.print(escape(f"{lacking}, not estimable: {reason}"))
    for note in done.notes:
        out.print(escape(note))


def benchmark_training_(
    patients: Annotated[int, typer.Option(min=1, help="Of an epoch.")] = 150,
    size: Annotated[int, typer.Option(min=32, help="Rows and columns of a slice.")] = 320,
    width: Annotated[int, typer.Option(min=8, max=64, help="Channels after the first layer.")] = 64,
    blocks: Annotated[int, typer.Option(min=1, max=6, help="Bottlenecks of each half.")] = 6,
    measured: Annotated[int, typer.Option(min=1, help="Patients of our epoch that are timed.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the plain loop that are timed.")] = 4,
    threads: Annotated[int | None, typer.Option(min=1, help="Of a processor. [default: as many as it has]")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often both are timed, in turn.")] = 1,
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="Of our convolutions; auto: what the device gains by.")
    ] = "auto",
    converge: Annotated[
        bool, typer.Option("--converge", help="Also train both on small drawn patients; takes many minutes.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """Time an epoch of training beside a plain PyTorch loop, on the GPU where there is one.

    Exit code 1 if loss or gradient differ where both compute the same, or if ours does not reach the plain loop's
    held-out loss within its spread.
    """
    need("site", "torch")
    from dataclasses import replace

    from simulation.benchmarks.convergence import Trial
    from simulation.benchmarks.convergence import converge as train_both
    from simulation.benchmarks.training import Workload, benchmark_training

    load = Workload(patients, size, width, blocks, min(measured, patients), steps, precision=precision)
    load = load if threads is None else replace(load, threads=threads)
    done = benchmark_training(load, repeats)
    trained = train_both(Trial(threads=load.threads)) if converge else None
    if json_:
        print_json({**done.report(), **({"convergence": trained} if trained else {})})
    else:
        _print_benchmark(done, trained)
    if not done.digest_equal or (trained is not None and not trained["reached"]):
        raise typer.Exit(EXIT_PROBLEMS)


def _print_benchmark(done: Benchmark, trained: dict[str, Any] | None) -> None:
    report = done.report()
    sides = [report["ours"], *report["baselines"]]
    table = Table("", *(side["name"] for side in sides), title_justify="left",
                  title=f"{sides[0]['seconds_of']}, on {sides[0]['device']}")  # fmt: skip
    rows = [
        ("seconds", "median_s", ".1f"),
        ("seconds of processors", "processor_s", ".1f"),
        ("timed, then scaled", "timed", ""),
        ("samples a second", "samples_per_s", ".2f"),
        ("peak memory, MiB", "peak_mib", ".0f"),
        ("precision", "precision", ""),
        ("operations, 10^12", "flop_per_epoch", ".3g"),
        ("share of the ceiling", "share_of_ceiling", ".1%"),
    ]
    for label, name, form in rows:
        values = [side[name] / 1e12 if name == "flop_per_epoch" else side[name] for side in sides]
        table.add_row(label, *(format(value, form) for value in values))
    out.print(table)
    ratios = f"{report['ratio']:.1f}, of processor time {sides[0]['processor_ratio']:.1f}"
    out.print(f"plain over ours: {ratios}; medians of {report['repeats']} run(s).")
    out.print(
        f"A deployed round of one epoch, with the losses that are measured before it: {sides[0]['round_s']:.1f} s."
    )
    out.print("Same loss and gradient where both compute the same." if done.digest_equal else "[red]They differ.[/]")
    if trained is not None:
        _print_convergence(trained)


def _print_convergence(trained: dict[str, Any]) -> None:
    said = "reaches" if trained["reached"] else "[red]does not reach[/]"
    of = {name: f"{trained[name]['mean']:.3f} (SD {trained[name]['spread']:.3f})" for name in ("plain", "ours")}
    seeds = len(trained["plateaus"])
    out.print(
        f"Loss of one half of held-out patients where the other half stopped the training, {seeds} seeds: plain "
        f"{of['plain']}, ours {of['ours']}, best constant {trained['constant_loss']:.3f}. Ours {said} the plain loop's "
        "mean and SD in no more processor time."
    )
    out.print(f"The plain loop came to its plateau in {sum(trained['plateaus'])} of {seeds} trainings.")
