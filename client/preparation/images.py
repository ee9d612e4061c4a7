"""client/preparation: the images of all patients of a site: found, prepared, and written beside the table.

features.parquet           one row a patient, one column a feature; features.reader2.parquet of the second reader
registrations.parquet      one row a patient and phase: how it was registered, and how well
registrations.html         a picture of every registered pair, before and after
stacks/<patient>/<phase>/  ROI stacks, as `imaging/stacks.py` describes them
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.membership import site_secret
from client.cohort.site import Site
from client.cohort.store import PIXELS, STACKS, locked
from client.images.checking.duplicates import duplicates
from client.images.finding.finding import find_cases
from client.imaging.gallery import write_gallery
from client.imaging.pairs import shown_pair
from client.imaging.previews import stack_previews
from client.imaging.quality import PairQuality
from client.preparation.patient import Job, Outcome
from client.preparation.run import Progress, prepare_patients
from client.preparation.stacking import read_preview, stack_row
from client.preparation.steps import SEALS, STEPS, image_libraries, writable
from common.errors import FedmviError, Severity
from common.files import make_private, write_whole
from common.study.fingerprint import canonical_json, digest
from common.study.preparation import Preparation

FEATURES = "features.parquet"
SECOND_READER = "features.reader2.parquet"
REGISTRATIONS = "registrations.parquet"
REGIONS = "regions.parquet"
STACK_TABLE = "stacks.parquet"
PREVIEWS, PAIRS = "stacks.html", "registrations.html"


@dataclass(frozen=True)
class PreparedImages:
    """What came of the images of a site's patients.

    Attributes
    ----------
    preparation
        The settings.
    outcomes
        One a patient, in the table's order; a patient without usable files has failed.
    unusable
        Why no patient's images could be looked for; otherwise empty.
    """

    preparation: Preparation
    outcomes: tuple[Outcome, ...]
    unusable: tuple[FedmviError, ...] = ()

    @cached_property
    def failed(self) -> frozenset[str]:
        """Patients who could not be prepared."""
        return frozenset(outcome.patient for outcome in self.outcomes if outcome.failed)

    def feature(self, patient: str, name: str, reader: int = 1) -> float:
        """One reader's value; NaN where there is none."""
        return self._values[reader].get(patient, {}).get(name, np.nan)

    def level(self, patient: str, fact: str) -> str | None:
        """How a patient's images were acquired, as a level of a fact; None where it is not known."""
        return self._acquired.get(patient, {}).get(fact)

    def matrix(self, reader: int) -> NDArray[np.float64]:
        """(patients, features) in the order of `outcomes` and of the protocol's `feature_names`."""
        names = self.preparation.feature_names()
        rows = [outcome.features.get(reader, {}) for outcome in self.outcomes]
        return np.array([[row.get(name, np.nan) for name in names] for row in rows]).reshape(len(rows), len(names))

    def manifest(self) -> dict[str, Any]:
        """What prepared.json says: of every patient the digests of inputs and steps, and one digest of all content."""
        return {
            "content": self._content(),
            "libraries": image_libraries(),
            "patients": {
                outcome.patient: {
                    "inputs": dict(outcome.inputs),
                    "steps": dict(outcome.steps),
                    "failed": outcome.failed,
                    "problems": [[problem.code, problem.severity.name, problem.local] for problem in outcome.problems],
                }
                for outcome in self.outcomes
            },
        }

    def write(self, folder: Path) -> None:
        """Put the tables and ROI stacks into a new store."""
        _write_parquet(folder / FEATURES, self._table(1))
        if self._second_reader:
            _write_parquet(folder / SECOND_READER, self._table(2))
        for name, rows in (
            (REGISTRATIONS, [{"patient_id": o.patient, **row} for o in self.outcomes for row in o.registrations]),
            (REGIONS, [{"patient_id": o.patient, **row} for o in self.outcomes for row in o.regions]),
            (STACK_TABLE, [{"patient_id": o.patient, "phase": p, **stack_row(s)} for o, p, s in self._stacks()]),
        ):
            _write_parquet(folder / name, {column: [row[column] for row in rows] for column in _names(rows)})
        if any(outcome.registrations for outcome in self.outcomes):
            self._show_pairs(folder / PAIRS)
        for outcome, phase, source in self._stacks():
            _copy(source, folder / STACKS / outcome.patient / phase)
        if self.preparation.stacks is not None:
            stack_previews(folder / PREVIEWS, [read_preview(s, o.patient, p) for o, p, s in self._stacks()])

    def _show_pairs(self, path: Path) -> None:
        """A page of every registered pair."""
        shown = {
            (o.patient, row["phase"]): shown_pair(o.pairs[row["phase"]], PairQuality(**row))
            for o in self.outcomes
            for row in o.registrations
        }
        words = (
            f"Fields of {self.preparation.reference} and of the other phase lie beside each other as on a chessboard; "
            "left as scanned, right as registered; above an axial plane through the tumour with the patient's right on "
            f"the left, below a coronal one. The tumour's outline on {self.preparation.reference} is yellow, that on "
            "the other phase blue. Where a pair fits, edges run on from field to field."
        )
        write_gallery(path, "Registered phases", words, shown, "Not registered.")

    def _stacks(self) -> Iterator[tuple[Outcome, str, Path]]:
        """Patient, phase and folder of every stack, phases in the protocol's order."""
        phases = self.preparation.phases
        return ((o, phase, o.stacks[phase]) for o in self.outcomes for phase in phases if phase in o.stacks)

    @property
    def _second_reader(self) -> bool:
        return self.preparation.radiomics is not None and self.preparation.radiomics.second_reader

    @cached_property
    def _values(self) -> Mapping[int, Mapping[str, Mapping[str, float]]]:
        return {reader: {one.patient: one.features.get(reader, {}) for one in self.outcomes} for reader in (1, 2)}

    @cached_property
    def _acquired(self) -> Mapping[str, Mapping[str, str]]:
        return {outcome.patient: outcome.acquisition for outcome in self.outcomes}

    def _table(self, reader: int) -> dict[str, Any]:
        matrix = self.matrix(reader)
        columns = {name: matrix[:, i] for i, name in enumerate(self.preparation.feature_names())}
        return {"patient_id": [outcome.patient for outcome in self.outcomes], **columns}

    def _content(self) -> str:
        """A digest of what was made, whatever made it."""
        total = hashlib.sha256()
        for reader in (1, 2):
            values = self.matrix(reader)
            total.update(np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
        stacks = {f"{o.patient}/{p}": _content_of(folder) for o in self.outcomes for p, folder in o.stacks.items()}
        head = {"patients": [o.patient for o in self.outcomes], "failed": sorted(self.failed), "stacks": stacks}
        total.update(canonical_json(head).encode())
        return total.hexdigest()


_UNWRITABLE = 377


def prepare_images(
    site: Site,
    preparation: Preparation,
    patients: Sequence[str],
    workers: int | None = None,
    progress: Progress | None = None,
    *,
    store: Path | None = None,
    secret: bytes | None = None,
) -> PreparedImages:
    """Find and prepare the images of patients.

    Finished steps are kept in the site's store, and its secret draws margins, unless others are given.

    Raises
    ------
    FedmviError
        322 no usable site.secret; 377 the store cannot be written: no patient is to blame, and what is done is kept.
    """
    complete, problems = find_cases(site, preparation, patients)
    cases, _ = find_cases(site, preparation, patients, incomplete=True)
    unusable: list[FedmviError] = []
    of_patient: dict[str, list[FedmviError]] = {patient: [] for patient in patients}
    for problem in problems:
        whose = problem.local.partition(":")[0]
        if whose in of_patient:
            of_patient[whose].append(problem)
        elif problem.severity is Severity.ERROR:
            unusable.append(problem)
    if unusable:
        return PreparedImages(preparation, (), tuple(unusable))
    secret, store = site_secret(site) if secret is None else secret, site.store if store is None else store
    jobs = [Job(case, preparation, store, secret, name in complete) for name, case in cases.items()]
    steps = store / STEPS
    with writable(steps), locked(steps):
        done = {outcome.patient: outcome for outcome in prepare_patients(jobs, workers, progress)}
    for problem in (problem for outcome in done.values() for problem in outcome.problems):
        if problem.number == _UNWRITABLE:
            raise problem
    in_order = [done.get(patient, Outcome(patient, failed=True)) for patient in patients]
    # What was remarked where the files were found, and of two patients with one image, goes along with what was
    # remarked on the images.
    for problem in duplicates(each for outcome in in_order for each in outcome.prints):
        of_patient[problem.local.partition(":")[0]].append(problem)
    return PreparedImages(preparation, tuple(outcome.told(of_patient[outcome.patient]) for outcome in in_order))


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _content_of(folder: Path) -> str:
    """What a stack holds, without the pictures for people, whose bytes depend on a library."""
    return digest((folder / PIXELS).read_bytes())


def _copy(source: Path, target: Path) -> None:
    """Copied, not linked: damage to one file must not be damage to both."""
    make_private(target)
    for path in sorted(source.iterdir()):
        if path.name != SEALS:
            write_whole(target / path.name, path.read_bytes())


def _write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(columns)), sink)
    write_whole(path, sink.getvalue().to_pybytes())
