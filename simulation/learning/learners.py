"""simulation: learning: patients of drawn lesions in memory, as a site's training has them: no store, no files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from client.images.case import Scan
from client.imaging.stacks import Stack
from client.learning.dataset import Learners
from client.preparation.stacking import stack_of
from common.study.preparation import Preparation, Stacks
from simulation.cohorts.streams import stream
from simulation.learning.hospitals import Drawing
from simulation.learning.pictures import draw_grades, draw_patient, draw_scanner


def drawn_learners(
    sequences: tuple[str, ...], size: int, drawing: Drawing, *, folds: int = 5, site: str = ""
) -> Learners:
    """Patients of one hospital.

    Parameters
    ----------
    sequences
        Branches, in canonical order.
    size
        Rows and columns of a stack.
    drawing
        Who is drawn.
    folds
        Outer folds, dealt within grades.
    site
        Name of the hospital: another one has other patients and another scanner.
    """
    preparation = Preparation(modality="mr", phases=sequences, reference=sequences[0], stacks=Stacks(size=size))
    purpose = ("learners", drawing.seed, site)
    labels = draw_grades(drawing.patients, stream(*purpose, "grades"))
    scanner = draw_scanner(drawing.shift, stream(*purpose, "scanner"))
    stacks = []
    for i, grade in enumerate(labels.tolist()):
        rng = stream(*purpose, f"pictures of {i}")
        scan = draw_patient(f"{site}-{i}", grade, sequences, scanner, drawing.effect, rng)
        stacks.append([_stack(scan, sequence, preparation) for sequence in sequences])
    return Learners(
        ids=tuple(f"{site}-{i}" for i in range(labels.size)),
        images=np.array([[stack.pixels for stack in each] for each in stacks], dtype=np.float32),
        present=np.ones((labels.size, len(sequences)), dtype=np.bool_),
        labels=labels,
        folds=_dealt(labels, folds),
        body=np.array([[stack.percentiles for stack in each] for each in stacks], dtype=np.float32),
        sequences=sequences,
    )


def _stack(scan: Scan, sequence: str, preparation: Preparation) -> Stack:
    if preparation.stacks is None:
        raise ValueError("stacks are what is drawn")
    tumour = scan.masks["tumour", 1, sequence]
    return stack_of(scan, sequence, tumour, None, None, preparation, preparation.stacks, b"drawn")[0]


def _dealt(labels: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """(n,) folds, as even as can be within every class."""
    dealt = np.empty(labels.size, dtype=np.int64)
    start = 0
    for level in np.unique(labels):
        rows = np.flatnonzero(labels == level)
        dealt[rows] = (start + np.arange(rows.size)) % folds
        start += rows.size
    return dealt
