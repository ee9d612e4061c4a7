"""client/approval: where a site's store has a patient: prepared data, steps of images, and what tasks made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client.cohort.columns import Columns
from client.cohort.problems import Problems
from client.cohort.reading import ID_COLUMN, PATIENT_ID
from client.cohort.sheet import read_sheet
from client.cohort.site import Site
from client.cohort.store import STACKS, TABLE
from client.cohort.withdrawn import withdrawn
from client.learning.work import work_folder
from client.preparation.steps import STEPS
from common.errors import FedmviError
from common.federation.codec import from_bytes, unpack
from common.federation.learning import ExplainPatients, ScorePatients, TrainRound
from common.networks.adapting import AdaptNetwork
from common.study.declarations import as_tuples
from common.study.fingerprint import preparation_fingerprint
from common.study.protocol import Study

RUNS, PREPARED = "runs", "prepared"
_SCORES, _TRAINING, _PICTURES = {ScorePatients.name, AdaptNetwork.name}, TrainRound.name, ExplainPatients.name


@dataclass(frozen=True)
class Holdings:
    """What there is of a patient.

    Attributes
    ----------
    in_table
        Whether the hospital's own table of patients has him.
    listed
        Whether he is in `withdrawn.csv` already.
    prepared
        Names of prepared stores that hold him, or that nobody can read.
    steps
        Whether steps of the preparation of his images are kept.
    named
        Runs of which a task names him, whatever is prepared now.
    runs
        These, and runs that were opened over those stores or over one that is gone: their stored answers may count
        him, and what their tasks made may show him.
    """

    in_table: bool
    listed: bool
    prepared: tuple[str, ...]
    steps: bool
    named: tuple[str, ...]
    runs: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Whether the site knows the patient at all."""
        return self.in_table or self.listed or self.steps or bool(self.prepared) or bool(self.named)


def holdings(site: Site, patient: str) -> Holdings:
    """Look for a patient; error 764 for what is no id."""
    if not PATIENT_ID.fullmatch(patient):
        raise FedmviError(764)
    prepared = tuple(sorted(path.name for path in _stores(site) if holds(path, patient)))
    there = {path.name for path in _stores(site)}
    runs = {run: preparation_fingerprint(study) for run, study in opened(site)}
    named = tuple(run for run in _worked(site) if any(patient in ids for _, _, ids in tasks_of(site, run)))
    over = {run for run, store in runs.items() if store in prepared or store not in there}
    return Holdings(
        in_table=patient in _table_ids(site),
        listed=patient in withdrawn(site),
        prepared=prepared,
        steps=(site.store / STEPS / patient).is_dir(),
        named=named,
        runs=tuple(sorted(over.union(named))),
    )


def _worked(site: Site) -> tuple[str, ...]:
    """Runs of which tasks have made something here."""
    return tuple(sorted(path.name for path in work_folder(site, "run").parent.glob("*") if path.is_dir()))


def _stores(site: Site) -> Iterator[Path]:
    parent = site.store / PREPARED
    yield from (path for path in sorted(parent.glob("*")) if path.is_dir() and not path.name.startswith("."))


def holds(store: Path, patient: str) -> bool:
    """Whether a prepared store has a patient; one that cannot be read may have him."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if (store / STACKS / patient).exists():
        return True
    try:
        ids = pq.read_table(store / TABLE, columns=["patient_id"])["patient_id"].to_pylist()
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return True
    return patient in ids


def opened(site: Site) -> Iterator[tuple[str, Study]]:
    """Every run of the site and its study, as it was opened; a record that cannot be read is passed over."""
    for path in sorted((site.store / RUNS).glob("*/open.npz")):
        try:
            record = unpack(from_bytes(path.read_bytes()), dict)
            yield path.parent.name, Study.model_validate(as_tuples(json.loads(record["study"])))
        except (OSError, ValueError, KeyError, TypeError, FedmviError):
            continue


def _table_ids(site: Site) -> set[str]:
    sheet = read_sheet(site, Problems())
    source = Columns(site, None, sheet, Problems()).get(ID_COLUMN) if sheet is not None else None
    return {cell for cell in source.cells if cell is not None} if source is not None else set()


def tasks_of(site: Site, run_id: str) -> Iterator[tuple[Path, str, list[str]]]:
    """Every finished task of a run: its folder, its kind, and the patients whom its facts name."""
    for path in sorted(work_folder(site, run_id).glob("[0-9a-f]*/facts.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        yield path.parent, str(facts.get("task", "")), [str(patient) for patient in facts.get("patients", ())]


def has_rows(kind: str, patients: list[str], patient: str) -> bool:
    """Whether what a task made has a row, or a picture, of the patient; pictures name nobody in their facts."""
    return kind == _PICTURES or (kind in _SCORES and patient in patients)


def trained_on(kind: str, patients: list[str], patient: str) -> bool:
    """Whether a training counted the patient."""
    return kind == _TRAINING and patient in patients
