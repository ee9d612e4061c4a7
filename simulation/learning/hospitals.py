"""simulation: learning: hospitals whose prepared stores hold ROI stacks of drawn lesions: quick, and without DICOM.

Where a study has features too, these are drawn beside the stacks.

**Everything written here is simulated.** The chain from files to stacks is left out and the rest is as it is: stacks
are cut by the same function as a hospital's, and the store is one that every site program accepts. What comes out,
beside one folder a site:

    cohort.json                        how the sites were made; reports print its notes
    truth/patients.csv                 the grade of every patient

A store with drawn stacks holds `drawn.json`, by which a run knows that there is nothing to prepare.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from client.cohort.check import inspect
from client.cohort.membership import eligible, site_secret
from client.cohort.problems import worst_first
from client.cohort.site import Site, load_site
from client.cohort.store import locked, new_manifest, replace_store, store_folder, table_inputs
from client.images.case import Scan
from client.imaging.previews import Preview
from client.imaging.stacks import Point, Stack
from client.preparation.images import PreparedImages
from client.preparation.patient import Outcome
from client.preparation.prepare import UnfitDataError, with_images
from client.preparation.stacking import stack_of, write_stack
from client.preparation.steps import write_result
from common.errors import FedmviError, Severity
from common.files import write_whole
from common.study.preparation import Preparation
from common.study.protocol import Study
from simulation.cohorts.patients import GRADES
from simulation.cohorts.streams import stream
from simulation.importers.folder import ImportReport, SiteRows, write_sites
from simulation.learning.features import BLOCK, SIGNAL, draw_features
from simulation.learning.noise import noise_stack
from simulation.learning.pictures import TISSUE, draw_patient, draw_scanner
from simulation.learning.tables import draw_tables
from simulation.running import DRAWN, MADE_UP


@dataclass(frozen=True)
class Drawing:
    """How patients are drawn.

    Attributes
    ----------
    seed
        The same seed gives the same patients.
    patients
        Of each hospital.
    effect
        Brightness of an M2's rim, see `pictures.draw_patient`; 0: nothing tells the grades apart.
    shift
        How different the scanners are: 0 not at all, 1 as hospitals may be.
    absent
        Share of patients who lack an optional sequence, drawn for each sequence.
    noise
        Stacks are noise whose level tells the grade (`noise.noise_stack`), where only costs are measured.
    """

    seed: int
    patients: int = 60
    effect: float = 0.25
    shift: float = 1.0
    absent: float = 0.1
    noise: bool = False


def make_learning_hospitals(out: Path, study: Study, drawing: Drawing) -> ImportReport:
    """Write a folder for every site of a study, with a prepared store of drawn ROI stacks.

    Parameters
    ----------
    out
        Folder for the sites; absent or empty. It appears when all is done.
    study
        With `[preparation.stacks]`; its endpoints are of MVI's presence or its three grades, and survival in days.
    drawing
        Who is drawn.

    Raises
    ------
    FedmviError
        213 where `out` is not empty; 814 where the study does not say that its patients are simulated; 815 where it
        asks for what cannot be drawn; those of a check of the tables.
    """
    if not study.study.simulated:
        raise FedmviError(814, str(out), study=study.study.name)
    preparation = _drawable(study)
    tables = draw_tables(study, drawing.seed, drawing.patients)
    grades = {site: dict(table.grades) for site, table in tables.items()}

    def fill(folder: Path) -> None:
        _write_truth(folder / "truth", grades)
        for name, drawn in grades.items():
            _fill_store(load_site(folder / name), study, preparation, drawn, drawing)

    return write_sites(
        out,
        f"{study.study.name}/{drawing.seed}",
        [
            SiteRows(site, tuple(t.cells), tuple(zip(*t.cells.values(), strict=True)), classes=t.classes)
            for site, t in tables.items()
        ],
        about="A simulated hospital: no row and no picture is a patient; `fedmvi-simulate stacks` drew its ROI stacks.",
        notes=_notes(study, drawing),
        record=MADE_UP,
        fill=fill,
    )


def _drawable(study: Study) -> Preparation:
    preparation = study.preparation
    if preparation is None or preparation.stacks is None:
        raise FedmviError(815, "there is no [preparation.stacks]", study=study.study.name)
    unknown = [phase for phase in preparation.phases if phase not in TISSUE]
    if unknown:
        raise FedmviError(815, f"the sequence {unknown[0]}", study=study.study.name)
    for endpoint in study.endpoints:
        if endpoint.kind == "competing" or (endpoint.kind == "ordinal" and len(endpoint.levels) != 3):
            raise FedmviError(815, f"the endpoint {endpoint.name}", study=study.study.name)
        if endpoint.timed and endpoint.unit != "days":
            raise FedmviError(815, f"the endpoint {endpoint.name} in months", study=study.study.name)
    return preparation


def _notes(study: Study, drawing: Drawing) -> tuple[str, ...]:
    if drawing.noise:
        told = f"by {drawing.effect:g} standard deviations of a pixel for M2 and half of it for M1"
        return (f"All patients are simulated, and their ROI stacks are noise, brighter {told}: costs were measured.",)
    return (
        f"All patients are simulated: ROI stacks drawn for {study.study.name}, seed {drawing.seed}.",
        f"Microvascular invasion shows as a rim of brightness {drawing.effect:g} (M2, arterial; M1 half of it), least "
        f"before contrast agent; scanners differ by {drawing.shift:g} of what hospitals may. All of it is assumed.",
        *([_drawn_features(drawing)] if study.features() else []),
    )


def _drawn_features(drawing: Drawing) -> str:
    return (
        f"Features are drawn, not measured: the first of every {2 * BLOCK} is larger by {SIGNAL * drawing.effect:g} "
        "standard deviations (M2; M1 half of it)."
    )


def _write_truth(folder: Path, grades: dict[str, dict[str, int]]) -> None:
    folder.mkdir()
    with (folder / "patients.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("site", "patient_id", "mvi_grade"))
        writer.writerows((site, who, GRADES[at]) for site, drawn in grades.items() for who, at in drawn.items())


def _fill_store(site: Site, study: Study, preparation: Preparation, grades: dict[str, int], drawing: Drawing) -> None:
    """Write one hospital's prepared store."""
    table, problems = inspect(site, study)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise UnfitDataError(worst_first(problems))
    wanted = [patient for patient, stays in zip(table.patients, eligible(table), strict=True) if stays]
    with TemporaryDirectory(prefix="fedmvi-stacks-") as scratch:
        outcomes = _outcomes(Path(scratch), site, study, wanted, grades, drawing)
        images = PreparedImages(preparation, outcomes)
        table = with_images(table, study, images)
        folder = store_folder(site, study)
        folder.parent.mkdir(mode=0o700, parents=True)

        def add(new: Path) -> None:
            images.write(new)
            write_whole(new / DRAWN, (json.dumps(asdict(drawing), sort_keys=True) + "\n").encode())

        with locked(folder.parent):
            replace_store(folder, table, new_manifest(study, table, table_inputs(site, study), images.manifest()), add)


def _outcomes(
    scratch: Path, site: Site, study: Study, patients: Sequence[str], grades: dict[str, int], drawing: Drawing
) -> tuple[Outcome, ...]:
    preparation = _drawable(study)
    secret, named = site_secret(site), (study.study.name, drawing.seed)
    scanner = draw_scanner(drawing.shift, stream(*named, site.name, "scanner"))
    features = _features(site, study, [grades[patient] for patient in patients], drawing)
    outcomes = []
    for patient, values in zip(patients, features, strict=True):
        rng = stream(*named, site.name, f"pictures of {patient}")
        if drawing.noise:
            stacks = _noisy(scratch / patient, grades[patient], preparation, drawing, rng)
            outcomes.append(Outcome(patient, features=values, stacks=stacks))
            continue
        scan = draw_patient(patient, grades[patient], preparation.phases, scanner, drawing.effect, rng)
        kept = [p for p in preparation.phases if p not in preparation.optional or rng.random() >= drawing.absent]
        stacks = _cut(scratch / patient, scan, kept, preparation, secret)
        outcomes.append(Outcome(patient, features=values, stacks=stacks))
    return tuple(outcomes)


def _features(site: Site, study: Study, grades: Sequence[int], drawing: Drawing) -> list[dict[int, dict[str, float]]]:
    """Of each patient, those of one reader; none where the study has none."""
    features = [study.variable(name) for name in _drawable(study).feature_names()] if study.features() else []
    if not features:
        return [{} for _ in grades]
    drawn = draw_features(study.study.name, drawing.seed, site.name, features, grades, drawing.effect, drawing.shift)
    names = [feature.name for feature in features]
    return [{1: dict(zip(names, row, strict=True))} for row in drawn.tolist()]


def _cut(folder: Path, scan: Scan, phases: Sequence[str], preparation: Preparation, secret: bytes) -> dict[str, Path]:
    """Cut and write the stacks of one patient, the reference phase first: it decides where the others are cut."""
    settings = preparation.stacks
    if settings is None:
        raise ValueError("only preparations with stacks are drawn")
    made: dict[str, Path] = {}
    at_mm: tuple[Point, ...] | None = None
    for phase in sorted(phases, key=lambda name: name != preparation.reference):
        tumour = scan.masks["tumour", 1, phase]
        stack, _ = stack_of(scan, phase, tumour, None, at_mm, preparation, settings, secret)
        at_mm = stack.at_mm if at_mm is None else at_mm
        made[phase] = _written(folder / phase, scan.patient, phase, stack)
    return made


def _noisy(
    folder: Path, grade: int, preparation: Preparation, drawing: Drawing, rng: np.random.Generator
) -> dict[str, Path]:
    """Stacks of noise for every sequence."""
    if preparation.stacks is None:
        raise ValueError("only preparations with stacks are drawn")
    return {
        phase: _written(folder / phase, folder.name, phase, noise_stack(grade, drawing.effect, preparation.stacks, rng))
        for phase in preparation.phases
    }


def _written(folder: Path, patient: str, phase: str, stack: Stack) -> Path:
    """The folder, with a stack in it as a hospital's preparation leaves it."""
    folder.mkdir(parents=True)
    shown = _pictured(patient, phase, stack)
    write_result(folder, {**write_stack(folder, stack, shown, None), "problems": []})
    return folder


def _pictured(patient: str, phase: str, stack: Stack) -> Preview:
    """The slices side by side, small and hardly compressed: a page of hundreds is made in no time."""
    low, high = np.percentile(stack.pixels, (0.5, 99.5))
    grey = (255 * np.clip((np.hstack(tuple(stack.pixels)) - low) / (high - low), 0, 1)).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(grey).save(png, "png", compress_level=1)
    return Preview(patient, phase, png.getvalue(), png.getvalue(), "Simulated: drawn, not scanned", ())
