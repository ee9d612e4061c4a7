"""client/preparation: `fedmvi-site prepare`: from a hospital's files to the prepared store of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from client.cohort.check import inspect
from client.cohort.membership import eligible
from client.cohort.problems import worst_first
from client.cohort.site import Site, refuse_root_at
from client.cohort.store import (
    is_current,
    locked,
    new_manifest,
    replace_store,
    store_digest,
    store_folder,
    table_inputs,
)
from client.images.libraries import need_image_libraries
from client.preparation.steps import writable
from common.errors import FedmviError, Severity
from common.study.acquisition import acquisition_facts
from common.study.protocol import IMAGES, Study
from common.study.table import Column, SiteTable, measured

if TYPE_CHECKING:
    from client.preparation.images import PreparedImages
    from client.preparation.run import Progress

_NAMED = 3
"""Features of a patient that are named where they are out of range."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did.

    Attributes
    ----------
    folder
        The prepared store.
    fresh
        True where this call wrote it, False where it was there already and nothing was written.
    digest
        See `store_digest`.
    patients
        Patients in the table, eligible or not.
    problems
        The warnings and notes of the check, worst first.
    images
        What came of the patients' images; None for a study without.
    """

    folder: Path
    fresh: bool
    digest: str
    patients: int
    problems: tuple[FedmviError, ...]
    images: PreparedImages | None = None


class UnfitDataError(FedmviError):
    """The worst problem of the data, with all of them in `problems`, worst first."""

    def __init__(self, problems: Sequence[FedmviError]) -> None:
        worst = problems[0]
        super().__init__(worst.number, worst.local, severity=worst.severity, **worst.facts)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[UnfitDataError], tuple[tuple[FedmviError, ...]]]:
        return UnfitDataError, (self.problems,)


def prepare(site: Site, study: Study, *, workers: int | None = None, progress: Progress | None = None) -> Prepared:
    """Check the site's data and write the prepared store; a second call with nothing changed writes nothing.

    A patient whose images cannot be prepared does not stop the others, and stays in the table, as one who is excluded
    for it: every cohort's flow counts them.

    Parameters
    ----------
    site, study
        Whose data, and for what.
    workers
        Processes for images; as many as there are processors where None.
    progress
        Called after every patient's images.

    Raises
    ------
    UnfitDataError
        The check found errors in the table, or the images cannot be found; nothing was written, and an older store
        stays as it is.
    FedmviError
        212 the files changed while they were read; 377 the store cannot be written; 728 root in another user's folder.
    """
    refuse_root_at(site)
    before = table_inputs(site, study)
    table, problems = inspect(site, study)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise UnfitDataError(problems)
    images = None
    if study.preparation is not None:
        # Imported here: a study of tables needs none of the image libraries.
        need_image_libraries()
        from client.preparation.images import prepare_images

        wanted = [patient for patient, stays in zip(table.patients, eligible(table), strict=True) if stays]
        images = prepare_images(site, study.preparation, wanted, workers, progress)
        if images.unusable:
            raise UnfitDataError(worst_first([*images.unusable, *problems]))
        images = _held_to_ranges(images, study)
        table = with_images(table, study, images)
    if table_inputs(site, study) != before:
        raise FedmviError(212, "the tables or site.toml changed while it was read")
    folder = store_folder(site, study)
    with writable(folder.parent), locked(folder.parent):
        manifest = new_manifest(study, table, before, images.manifest() if images else None)
        fresh = not is_current(site, study, manifest)
        if fresh:
            replace_store(folder, table, manifest, images.write if images else None)
    return Prepared(folder, fresh, store_digest(site, study), table.n, tuple(problems), images)


def _held_to_ranges(images: PreparedImages, study: Study) -> PreparedImages:
    """The images, where a patient with a feature beyond the range that the study, or its name, promises has failed.

    Sums of all hospitals count on these ranges, so such a value cannot be used; nobody else's is the worse for it.
    """
    read = [*((name, 1) for name in study.features()), *((name, 2) for name in study.read_twice())]
    outcomes = []
    for outcome in images.outcomes:
        outside = []
        for name, reader in read:
            value, variable = images.feature(outcome.patient, name, reader), study.variable(name)
            low, high = variable.low, variable.high
            if low is not None and high is not None and (value < low or value > high):
                outside.append(f"{name} is {value:g}, not {low:g} to {high:g}")
        more = f"; and {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
        local = f"{outcome.patient}: {'; '.join(outside[:_NAMED])}{more}"
        outcomes.append(outcome.told([FedmviError(384, local)] if outside else []))
    return replace(images, outcomes=tuple(outcomes))


def _filled(column: Column, fact: str, patients: Sequence[str], images: PreparedImages) -> Column:
    """What the hospital's table says of a fact of the acquisition; where it says nothing, what the images say."""
    read = [images.level(patient, fact) for patient in patients]
    index = [column.levels.index(level) if level in column.levels else np.nan for level in read]
    return replace(column, values=np.where(np.isnan(column.values), np.array(index, dtype=np.float64), column.values))


def with_images(table: SiteTable, study: Study, images: PreparedImages) -> SiteTable:
    """The table with the features that the study uses, and how the images were acquired, NaN where a patient has none;
    and with who is left out."""

    def read(name: str, reader: int = 1) -> Column:
        return measured(np.array([images.feature(patient, name, reader) for patient in table.patients]))

    added = {name: read(name) for name in study.features()}
    second = {**table.second, **{name: read(name, 2) for name in study.read_twice()}}
    facts = acquisition_facts(study.preparation)
    added |= {name: _filled(table.columns[name], name, table.patients, images) for name in facts}
    columns = {name: {**table.columns, **added}[name] for name in study.variable_names()}
    failed = np.array([patient in images.failed for patient in table.patients], dtype=bool)
    return replace(table, columns=columns, failed={**table.failed, IMAGES: failed}, second=second)
