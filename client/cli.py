"""client: the command `fedmvi-site`, for a hospital's data manager.

A command loads what it needs when it is called, so that `--help` and commands that look at one file answer at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from client.approval import commands as approval_commands
from client.cohort.printing import print_problems
from client.exporting import export
from client.images.libraries import need_image_libraries
from client.node import commands as node_commands
from client.node import enrol_commands, watching
from client.predicting.command import predict
from client.release import commands as ledger_commands
from common.errors import FedmviError, Severity
from common.terminal import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_PROBLEMS, err, out, print_json, run_app

app = typer.Typer(
    help="Check and prepare a hospital's data for federated studies, and see what left.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    # Local variables hold patients.
    pretty_exceptions_show_locals=False,
)
ledger_commands.add_commands(app)

SiteFolder = Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command(epilog="Example: fedmvi-site init hospital-a --name hospital-a")
def init(
    folder: Annotated[Path, typer.Argument(help="New folder for the site.")],
    name: Annotated[str, typer.Option(help="The site's name in the consortium.")],
) -> None:
    """Make a new site's folder with a commented site.toml."""
    from client.cohort.template import init_site

    for path in init_site(folder, name):
        out.print(f"wrote {escape(str(path))}")
    out.print("Next: put the patients into patients.csv, then run `fedmvi-site check`.")


@app.command(epilog="Example: fedmvi-site check --site hospital-a --study study.toml")
def check(
    site: SiteFolder = Path(),
    study: Annotated[Path | None, typer.Option(help="Check for this study; without it only the files' form.")] = None,
    assign: Annotated[
        bool, typer.Option("--assign-ids", help="First replace ids that may not be used; the key file stays here.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a contact sheet: every patient's images with outlines and problems.")
    ] = None,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Leave out the images, which take longer.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes for images; by default all processors.")] = None,
    json_: AsJson = False,
) -> None:
    """Find every problem of the site's tables and images in one pass, worst first. Exit code 1 if there are errors."""
    from client.checking import UNREADABLE, check_all
    from client.cohort.site import load_site

    if assign:
        from client.cohort.ids import assign_ids

        assigned = assign_ids(site)
        err.print(f"{assigned.replaced} ids replaced; the key is in {escape(str(assigned.key))}: keep it here.")
    problems = check_all(site, study, images=not tables_only, html=html, workers=workers)
    if json_:
        print_json(_as_json(problems))
    else:
        print_problems(problems)
    if any(problem.number in UNREADABLE for problem in problems):
        raise typer.Exit(EXIT_ERROR)
    if not json_ and html is not None:
        out.print(f"Contact sheet: {escape(str(html))}. It shows patients: keep it here.")
    if not json_ and load_site(site).site.simulated:
        out.print("This site is marked as simulated: its data are public or made up.")
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise typer.Exit(EXIT_PROBLEMS)


@app.command(name="describe", epilog="Example: fedmvi-site describe study.toml --site hospital-a")
def describe_command(
    study: Annotated[
        Path | None, typer.Argument(help="Describe for this study; without it all columns that are known.")
    ] = None,
    site: SiteFolder = Path(),
    out_: Annotated[
        Path | None, typer.Option("--out", help="The page to write; default: describe.html in the site's folder.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Look at the site's own data before a run: a page of numbers and pictures, which must stay in the hospital.

    Cohorts, endpoints, every variable, images, what would be refused, and patients to look at. Needs no prepared
    data. Exit code 1 if the data have errors; they are on the page too.
    """
    from client.cohort.site import load_site
    from client.describing.describe import describe_site
    from common.study.loader import load_study

    described, page = describe_site(load_site(site), load_study(study) if study else None, out_)
    if json_:
        print_json({"page": page and str(page), "problems": _as_json(described.problems)})
    else:
        print_problems(described.problems)
    if page is not None and not json_:
        out.print(f"Description: {escape(str(page))}. It shows patients: keep it here.")
    if any(problem.severity is Severity.ERROR for problem in described.problems):
        raise typer.Exit(EXIT_PROBLEMS)


@app.command(name="discover", epilog="Example: fedmvi-site discover /mnt/pacs-export --site hospital-a")
def discover_command(
    folder: Annotated[Path, typer.Argument(help="A PACS export: DICOM files in folders of any nesting.")],
    out_: Annotated[
        Path | None, typer.Option("--out", help="The manifest to write; default: the site's, else manifest.csv here.")
    ] = None,
    site: Annotated[
        Path | None, typer.Option("--site", help="The site's folder: ids are held against its table of patients.")
    ] = None,
    ids: Annotated[
        Path | None, typer.Option(help="Table `original,assigned` of PatientIDs and the ids of the table of patients.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Folders that are read at once; default: every processor.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Propose a manifest of an export, which phase each volume is, for a person to correct. Nothing is overwritten.

    A row is in use only where headers say its phase without contradiction. Exit code 1 if something could not be read.
    """
    need_image_libraries()
    from client.discovering import counted, found_table, propose_manifest

    path, done = propose_manifest(folder, out_, site, ids, workers)
    if json_:
        print_json({"manifest": str(path), "rows": [line.model_dump() for line in done.lines],
                    "problems": _as_json(done.problems)})  # fmt: skip
    else:
        print_problems(list(done.problems))
        out.print(found_table(done))
        out.print(counted(done.lines))
        out.print(f"wrote {escape(str(path))}")
        out.print("Next: look at the rows with `use` no, correct them, then run `fedmvi-site check --study STUDY`.")
    if any(problem.severity is Severity.ERROR for problem in done.problems):
        raise typer.Exit(EXIT_PROBLEMS)


@app.command(name="prepare", epilog="Example: fedmvi-site prepare study.toml --site hospital-a --workers 4")
def prepare_command(
    study: Annotated[Path, typer.Argument(help="The study's protocol.")],
    site: SiteFolder = Path(),
    workers: Annotated[
        int | None, typer.Option(min=1, help="Patients whose images are prepared at once; default: every processor.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Check the data and write the prepared store that the daemon answers from. A second run does nothing.

    A run may be ended at any moment: the next one goes on from there. Exit code 1 if the table has errors, and then
    nothing was written, or if images of some patients could not be prepared.
    """
    from client.cohort.site import load_site
    from client.preparation.command import image_progress, images_json, print_images
    from client.preparation.prepare import UnfitDataError, prepare
    from common.study.loader import load_study

    try:
        with image_progress() as progress:
            done = prepare(load_site(site), load_study(study), workers=workers, progress=progress)
    except KeyboardInterrupt:
        err.print("Stopped. What is done is kept: run the same command again to go on.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except UnfitDataError as error:
        if json_:
            print_json(_as_json(error.problems))
        else:
            print_problems(list(error.problems))
        raise typer.Exit(EXIT_PROBLEMS) from error
    if json_:
        made = {"folder": str(done.folder), "written": done.fresh, "digest": done.digest, "patients": done.patients}
        print_json(made | {"images": images_json(done)})
    else:
        print_problems(list(done.problems))
        print_images(done)
        state = "prepared" if done.fresh else "already prepared, nothing to do"
        out.print(f"Table of {done.patients} patients {state}: {escape(str(done.folder))}")
    if done.images is not None and done.images.failed:
        raise typer.Exit(EXIT_PROBLEMS)


@app.command(epilog="Example: fedmvi-site fingerprint study.toml")
def fingerprint(study: Annotated[Path, typer.Argument(help="The study's protocol.")], json_: AsJson = False) -> None:
    """Print the fingerprint to put under approved_studies in site.toml, once you have read the protocol."""
    from common.study.fingerprint import study_fingerprint
    from common.study.loader import load_study

    name = study_fingerprint(load_study(study))
    if json_:
        print_json({"fingerprint": name})
    else:
        out.print(name)


@app.command(epilog="Example: fedmvi-site key --site hospital-a")
def key(site: SiteFolder = Path(), json_: AsJson = False) -> None:
    """Print the public key by which other hospitals know this site; give it to them yourself."""
    from client.cohort.site import load_site
    from client.release.keys import own_key

    loaded = load_site(site)
    if json_:
        print_json({"site": loaded.name, "key": own_key(loaded)})
    else:
        out.print(f"{escape(loaded.name)} {own_key(loaded)}")


@app.command(name="trust", epilog="Example: fedmvi-site trust hospital-b 5f1c...e0 --site hospital-a")
def trust_command(
    name: Annotated[str, typer.Argument(help="The other site's name in the consortium.")],
    public_key: Annotated[str, typer.Argument(help="What `fedmvi-site key` printed there.")],
    site: SiteFolder = Path(),
) -> None:
    """Trust another hospital's key, so that runs that it has signed can be opened."""
    from client.cohort.site import load_site
    from client.release.keys import trust

    trust(load_site(site), name, public_key)
    out.print(f"The key of {escape(name)} is trusted.")


@app.command(name="forget", epilog="Example: fedmvi-site forget 20260114-091500-5f0c12ab --site hospital-a")
def forget_command(
    run: Annotated[str, typer.Argument(help="The run's id, as the ledger shows it.")],
    site: SiteFolder = Path(),
    json_: AsJson = False,
) -> None:
    """Delete what a finished run left here: training states, scores, pictures, stored answers. The ledger stays.

    The run cannot be resumed afterwards.
    """
    from client.cohort.site import load_site
    from client.forgetting import forget

    done = forget(load_site(site), run)
    if json_:
        print_json({"tasks": done.tasks, "answers": done.answers})
    else:
        out.print(f"{done.tasks} task(s) and {done.answers} stored answer(s) of {escape(run)} deleted.")


app.command(
    name="predict",
    epilog="Example: fedmvi-site predict --model hybrid.zip --patients new --out predictions.csv --site hospital-a",
)(predict)


app.command(
    epilog="Example: fedmvi-site export study.toml seed0.safetensors --network dl_mvi --normalisation own --run RUN "
    "--out bundle --site hospital-a"
)(export)


approval_commands.add_commands(app)
enrol_commands.add_commands(app)
node_commands.add_commands(app)
watching.add_commands(app)


def _as_json(problems: Iterable[FedmviError]) -> list[dict[str, object]]:
    from client.cohort.check import as_json

    return [as_json(problem) for problem in problems]


def main() -> None:
    """Entry point of `fedmvi-site`."""
    run_app(app)
