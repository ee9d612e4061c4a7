"""server: the command `fedmvi-server`, for the consortium's coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study
from common.study.protocol import Study
from common.study.recipe import coded_columns
from common.terminal import EXIT_PROBLEMS, need, out, print_json, run_app
from server.exporting import export
from server.plan import print_plan
from server.study.execution import Action
from server.study.landmarks import as_toml, standard_scale
from server.study.results import read_results
from server.study.run_directory import RunDirectory
from server.study.sample_size import sample_size
from server.submission import submit
from server.transport import WAIT_SECONDS, SiteNames

app = typer.Typer(
    help="Plan, run and report a federated study.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # Local variables hold patients.
    pretty_exceptions_show_locals=False,
)

StudyFile = Annotated[Path, typer.Argument(help="The study's protocol.")]
Superlink = Annotated[str, typer.Option(help="A SuperLink connection of Flower's configuration.")]
Names = Annotated[SiteNames, typer.Option("--site-names", help="How nodes are told apart.")]
Wait = Annotated[
    float, typer.Option("--wait-seconds", min=0, help="How long to wait for sites that are not connected yet.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PREVALENCES = (0.2, 0.3, 0.4, 0.5)
_LARGE = 1_000_000


@app.command(epilog="Example: fedmvi-server plan study.toml --superlink hospitals --out plans/study")
def plan(
    study: StudyFile,
    superlink: Superlink = "",
    out_: Annotated[Path | None, typer.Option("--out", help="Folder for the plan; needed with --superlink.")] = None,
    site_names: Names = SiteNames.REGISTERED,
    wait_seconds: Wait = WAIT_SECONDS,
    json_: AsJson = False,
) -> None:
    """Check a protocol and say what it needs; with --superlink also ask the sites for patients and events.

    Nothing is fitted, and only counts are asked.
    """
    protocol = load_study(study)
    if not superlink:
        _print_needs(protocol, json_=json_)
        return
    if out_ is None:
        raise typer.BadParameter("--superlink needs --out", param_hint="--out")
    run_ = RunDirectory.create(out_, study)
    submit(run_, superlink, Action.PLAN, site_names, wait_seconds)
    planned = read_results(run_.plan_file)
    if json_:
        print_json(planned.model_dump(mode="json"))
    else:
        print_plan(planned)


def _print_needs(study: Study, *, json_: bool) -> None:
    needs = {
        model.name: {
            "parameters": len(coded_columns(study, model.predictors)),
            "patients_needed": {
                f"{prevalence:g}": sample_size(
                    _LARGE, round(_LARGE * prevalence), len(coded_columns(study, model.predictors))
                ).needed
                for prevalence in PREVALENCES
            },
        }
        for model in study.models
    }
    if json_:
        print_json({"study": study.study.name, "fingerprint": study_fingerprint(study), "models": needs})
        return
    out.print(f"[bold]{escape(study.study.title)}[/] is a sound protocol; fingerprint {study_fingerprint(study)}")
    for cohort in study.cohorts:
        out.print(f"  cohort {cohort.name} ({cohort.role}): {escape(', '.join(cohort.sites))}")
    for name, wanted in needs.items():
        words = ", ".join(f"{n} at a prevalence of {p}" for p, n in wanted["patients_needed"].items())  # type: ignore[attr-defined]
        out.print(f"  model {name}: {wanted['parameters']} parameters; patients needed (Riley): {words}")
    out.print("Patients and events of the sites: add --superlink and --out, or use `fedmvi-simulate plan`.")


@app.command(epilog="Example: fedmvi-server run study.toml --superlink hospitals --out runs/study")
def run(
    study: StudyFile,
    superlink: Superlink,
    out_: Annotated[Path, typer.Option("--out", help="Folder for the run; an unfinished run there is resumed.")],
    site_names: Names = SiteNames.REGISTERED,
    wait_seconds: Wait = WAIT_SECONDS,
    json_: AsJson = False,
) -> None:
    """Run a study over the sites that are connected to a SuperLink on this machine, and write its report."""
    run_ = RunDirectory.create(out_, study)
    submit(run_, superlink, Action.RUN, site_names, wait_seconds)
    report(out_, json_)


@app.command(epilog="Example: fedmvi-server report runs/study")
def report(folder: Annotated[Path, typer.Argument(help="A run's folder.")], json_: AsJson = False) -> None:
    """Write report.html, figures and tables again, from results.json alone."""
    run_ = RunDirectory(folder)
    publish(run_, json_=json_)


def publish(run_: RunDirectory, *, json_: bool) -> None:
    """Write the report of a finished run, and print its headlines or its results; exit code 1 if a site refused."""
    need("server", "jinja2", "matplotlib")
    # Loaded here, so that a machine without the report's libraries is told what to install.
    from server.report.headlines import headlines
    from server.report.page import write_report

    results = read_results(run_.results_file)
    page = write_report(results, run_.facts(), run_.folder)
    if json_:
        print_json(results.model_dump(mode="json"))
    else:
        for sentence in headlines(results):
            out.print(f"- {escape(sentence)}")
        out.print(f"Report: {escape(str(page))}")
    if results.refused:
        raise typer.Exit(EXIT_PROBLEMS)


@app.command(epilog="Example: fedmvi-server landmarks runs/landmarks >> study.toml")
def landmarks(folder: Annotated[Path, typer.Argument(help="The run of a study of means of landmarks.")]) -> None:
    """Print the scale to which MR images are standardised (Nyul), as lines for the protocol of the next study."""
    out.print(escape(as_toml(standard_scale(read_results(RunDirectory(folder).results_file)))), end="")


app.command(epilog="Example: fedmvi-server export runs/study --network dl_mvi --out bundles/dl_mvi")(export)


def main() -> None:
    """Entry point of `fedmvi-server`."""
    run_app(app)
