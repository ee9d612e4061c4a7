"""client: the command `fedmvi-site predict`: probabilities for the hospital's own patients with a frozen model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from client.cohort.printing import print_problems
from common.terminal import EXIT_INTERRUPTED, EXIT_PROBLEMS, err, out

if TYPE_CHECKING:
    from client.cohort.site import Site
    from client.predicting.prediction import Predicted, Prediction
    from common.models.archive import HandedOn

SITE_FILE = "site.toml"
_LISTED = 8


def predict(
    model: Annotated[Path, typer.Option(help="A model's file, as `fedmvi-server export --model` wrote it.")],
    patients: Annotated[
        Path,
        typer.Option(
            help="CSV table with one row a patient; or a folder with images/ and masks/ as a site has them, and "
            "patients.csv where the model has other inputs."
        ),
    ],
    out_: Annotated[Path, typer.Option("--out", help="A new file, .csv or .json.")],
    site: Annotated[
        Path | None,
        typer.Option("--site", help="The site whose site.toml maps headers, units and codes; without it the variables' "
                     "own names and units. A folder of patients with a site.toml is its own site."),
    ] = None,
    patient: Annotated[str, typer.Option(help="The id of the one patient who is meant; without it everybody.")] = "",
    store: Annotated[
        Path | None,
        typer.Option(help="Where what is computed of images is kept, so that a second call goes on; by default the "
                     "site's store, without a site `store` in the folder of patients."),
    ] = None,
    pages: Annotated[
        Path | None,
        typer.Option(help="A new folder for what is made of images: features, and pages with pictures of registered "
                     "phases and ROI stacks, which a person should look at."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Patients whose images are prepared at once; default: every processor.")
    ] = None,
) -> None:  # fmt: skip
    """Predict for patients of this hospital with a frozen model. Research use only; the file stays here.

    A table with any error is refused as a whole, and nothing is written; exit code 1. A patient whose images cannot be
    prepared, or who withdrew his consent, has a row that says so; exit code 1 then too, and the others are predicted.
    """
    from client.cohort.site import load_site
    from client.predicting.predict import trusted_model, vouched
    from client.predicting.writing import check_new, write_predictions
    from client.preparation.prepare import UnfitDataError

    if site is None and (patients / SITE_FILE).is_file():
        site = patients
    here = None if site is None else load_site(site)
    handed = trusted_model(model, here)
    check_new(out_)
    try:
        done = _predicted(handed, patients, here, patient, (store, pages, workers))
    except KeyboardInterrupt:
        err.print("Stopped, and nothing is written. What is done of images is kept: run the same command again.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except UnfitDataError as error:
        print_problems(error.problems)
        raise typer.Exit(EXIT_PROBLEMS) from error
    write_predictions(out_, handed, done.predictions)
    if done.warnings:
        print_problems(done.warnings)
    _print_patients(done.predictions)
    out.print(f"{escape(handed.model.title)} of {escape(handed.model.origin.title)}: {escape(vouched(handed, here))}")
    out.print(f"{done.counted} in {escape(str(out_))}: it holds patients, keep it here.")
    out.print(escape(handed.model.intended_use))
    if any(prediction.problem for prediction in done.predictions):
        raise typer.Exit(EXIT_PROBLEMS)


def _predicted(
    handed: HandedOn,
    patients: Path,
    site: Site | None,
    only: str,
    how: tuple[Path | None, Path | None, int | None],
) -> Predicted:
    if not patients.is_dir():
        from client.predicting.predict import predict as predict_table

        return predict_table(handed.model, patients, site, only)
    # Loaded here: a table needs no image library.
    from client.predicting.images import Work, predict_from_images
    from client.preparation.command import image_progress

    store, pages, workers = how
    with image_progress() as progress:
        return predict_from_images(handed, patients, site, only, Work(store, workers, progress, pages))


def _print_patients(predictions: Sequence[Prediction]) -> None:
    """Who has no prediction and why, and what a person should look at in images; all of it is in the file too."""
    refused = [(p.patient_id, p.problem) for p in predictions if p.problem]
    flagged = [(p.patient_id, remark) for p in predictions for remark in p.remarks]
    for colour, told in (("red", refused), ("yellow", flagged)):
        for patient, words in told[:_LISTED]:
            out.print(f"[{colour}]{escape(patient)}[/] {escape(words)}")
        if len(told) > _LISTED:
            out.print(f"... and {len(told) - _LISTED} more in the file")
