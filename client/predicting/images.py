"""client/predicting: from the images of new patients to a score: found, prepared as in training, and predicted.

The folder is laid out as a site's: images/, masks/ or a manifest, and a table of patients where the model has other
inputs. What is computed of a patient is kept step by step as `fedmvi-site prepare` keeps it, so that a second call goes
on where the first was ended, and a patient of the site who is prepared already is not prepared again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from client.cohort.membership import site_secret
from client.cohort.problems import worst_first
from client.cohort.reading import PATIENT_ID
from client.cohort.sheet import table_path
from client.cohort.site import Images, Site, Tables
from client.images.finding.manifest import read_manifest
from client.images.libraries import need_image_libraries
from client.predicting.patients import Known, read_known, refusals, withdrew
from client.predicting.predict import reader_of
from client.predicting.prediction import Predicted, predictions_of
from client.preparation.images import PreparedImages, prepare_images
from client.preparation.patient import Outcome
from client.preparation.prepare import UnfitDataError
from client.preparation.run import Progress
from common.errors import FedmviError, Severity
from common.files import make_private
from common.models.archive import HandedOn
from common.models.logistic import FrozenModel
from common.study.preparation import Preparation
from common.study.table import Column, SiteTable
from common.terminal import need

_NOBODYS_SECRET = bytes(32)
"""Of a folder that belongs to no site: margins of its ROI stacks are drawn from the patients' ids alone."""


@dataclass(frozen=True)
class Work:
    """How images are prepared.

    Attributes
    ----------
    store
        Where finished steps are kept; None: in the site's store, or without a site in `store` of the patients' folder.
    workers
        Processes; as many as there are processors where None.
    progress
        Called after every patient.
    pages
        A new folder for what was made of the images, with pictures of registered pairs and of ROI stacks; None: none.
    """

    store: Path | None = None
    workers: int | None = None
    progress: Progress | None = None
    pages: Path | None = None


def predict_from_images(
    handed: HandedOn, folder: Path, site: Site | None, only: str = "", work: Work = Work()
) -> Predicted:
    """Predict for every patient of a folder, or for one of them.

    Parameters
    ----------
    folder
        With images and masks as a site has them, and with a table of patients if the model has other inputs. If there
        is a table, its patients are meant, else all who have a folder of images.
    site
        As in `predict`; what is in its own folder has the names that its site.toml gives, in another folder the usual
        ones. Its secret draws the margins of ROI stacks, as in training.
    only
        The one patient who is asked for; "": everybody.
    work
        How images are prepared.

    Returns
    -------
    A patient whose images cannot be prepared has no probability, whatever the model fills, and his row says why.

    Raises
    ------
    UnfitDataError
        With every problem of the table, or of the folder as a whole.
    FedmviError
        As `predict` but for 788; 213 the folder for pages is there already, 322 the site has no usable secret, 377 the
        store cannot be written, 804 a library is not installed.
    """
    model, reader = handed.model, _reader(folder, site)
    preparation = _needed(model)
    known = _known(model, reader, site, only, from_images=preparation is not None)
    if preparation is None:
        return Predicted(predictions_of(model, known.table, known.patients, known.refused, {}), known.warnings)
    need_image_libraries()
    if work.pages is not None and work.pages.exists():
        raise FedmviError(213, str(work.pages))
    if model.networks:
        need("site", "safetensors")
    secret = site_secret(site) if site is not None and preparation.stacks is not None else _NOBODYS_SECRET
    store = work.store or (reader if site is None else site).store
    images = prepare_images(
        reader, preparation, known.table.patients, work.workers, work.progress, store=store, secret=secret
    )
    if images.unusable:
        raise UnfitDataError(worst_first([*images.unusable, *known.warnings]))
    if work.pages is not None:
        make_private(work.pages)
        images.write(work.pages)
    table = _with_images(handed, known.table, images)
    failed = {outcome.patient: _why(outcome) for outcome in images.outcomes if outcome.failed}
    remarks = {outcome.patient: _remarks(outcome) for outcome in images.outcomes}
    found = predictions_of(model, table, known.patients, {**known.refused, **failed}, remarks)
    return Predicted(found, known.warnings)


def _reader(folder: Path, site: Site | None) -> Site:
    """The site with this folder as its own; site.toml names files only in the folder that it lies in."""
    if site is not None and folder.resolve() == site.folder.resolve():
        return site
    reader = reader_of(folder / Tables().patients, site)
    return reader.model_copy(update={"folder": folder.resolve(), "images": Images()})


def _needed(model: FrozenModel) -> Preparation | None:
    """What of the preparation has to be done: no features for a model without; None where no image is looked at."""
    if model.preparation is None or not (model.features or model.networks):
        return None
    return model.preparation if model.features else model.preparation.model_copy(update={"radiomics": None})


def _known(model: FrozenModel, reader: Site, site: Site | None, only: str, *, from_images: bool) -> Known:
    """Who is meant, and what a table says of them; where no table is needed there may be none."""
    variables = model.clinical if from_images else model.variables
    if variables or table_path(reader).exists():
        return read_known(model, reader, site, variables, only)
    everybody, gone = _pictured(reader), withdrew(site)
    if only and only not in everybody:
        raise FedmviError(786, f"{only}: {reader.folder}")
    wanted = (only,) if only else everybody
    stay = tuple(patient for patient in wanted if patient not in gone)
    refused = refusals([patient for patient in wanted if patient in gone], only)
    return Known(wanted, SiteTable(stay, {}, {}, {}, ("",) * len(stay)), refused)


def _pictured(reader: Site) -> tuple[str, ...]:
    """Everybody of whom the manifest, or else the folder of images or that of masks, has something."""
    manifest, images = reader.folder / reader.images.manifest, reader.folder / reader.images.images
    masks = reader.folder / reader.images.masks
    if manifest.is_file():
        read = read_manifest(manifest)
        wrong = [problem for problem in read.problems if problem.severity is Severity.ERROR]
        # A row that cannot be read is told of its patient where files are looked for, and stops nobody else.
        blamed = {problem.local.partition(":")[0] for problem in wrong} & read.patients
        found = blamed | {line.patient_id for _, line in read.lines if line.use == "yes"}
        if wrong and not found:
            raise UnfitDataError(worst_first(read.problems))
    else:
        try:
            folders = [path for folder in (images, masks) for path in folder.iterdir() if path.is_dir()]
            found = {path.name for path in folders if not path.name.startswith(".")}
        except OSError as error:
            raise UnfitDataError([FedmviError(356, f"{error.filename}: {error.strerror}")]) from error
    odd = [FedmviError(302, repr(name)) for name in sorted(found) if not PATIENT_ID.fullmatch(name)]
    if odd or not found:
        raise UnfitDataError(odd or [FedmviError(356, f"{images}: there is no patient")])
    return tuple(sorted(found))


def _with_images(handed: HandedOn, table: SiteTable, images: PreparedImages) -> SiteTable:
    """The patients whose images could be prepared, with their features and the scores of networks."""
    model, usable = handed.model, np.array([patient not in images.failed for patient in table.patients], dtype=bool)
    patients = tuple(patient for patient in table.patients if patient not in images.failed)
    columns = {name: column.of(usable) for name, column in table.columns.items()}
    columns |= {name: _column([images.feature(p, name) for p in patients]) for name in model.features}
    if model.networks:
        # Loaded here: most models need no deep learning.
        from client.predicting.networks import scores_of

        stacks = {outcome.patient: outcome.stacks for outcome in images.outcomes}
        scored = scores_of(handed, [stacks[patient] for patient in patients], patients)
        columns |= {name: _column(values) for name, values in scored.items()}
    return replace(table, patients=patients, columns=columns, labels=("",) * len(patients))


def _column(values: Sequence[float] | np.ndarray) -> Column:
    numbers = np.array(values, dtype=np.float64)
    return Column(numbers, (), np.zeros(numbers.size, np.int8))


def _why(outcome: Outcome) -> str:
    """Why a patient's images could not be prepared, in the words of the worst of his problems."""
    worst = next(iter(outcome.problems), None)
    return "" if worst is None else _told(worst, outcome.patient, with_what=True)


def _remarks(outcome: Outcome) -> tuple[str, ...]:
    warnings = (problem for problem in outcome.problems if problem.severity is Severity.WARNING)
    return tuple(_told(problem, outcome.patient) for problem in warnings)


def _told(problem: FedmviError, patient: str, *, with_what: bool = False) -> str:
    local = problem.local.removeprefix(f"{patient}: ").removeprefix(patient)
    return " ".join(part for part in (problem.code, problem.what if with_what or not local else "", local) if part)
