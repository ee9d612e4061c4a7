"""simulation/cohorts: the simulated patients of one hospital, in memory: what is written, and the truth behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

GRADES = ("M0", "M1", "M2")
"""Grades of microvascular invasion; M0 is none."""


@dataclass(frozen=True)
class Patients:
    """One hospital's patients.

    Attributes
    ----------
    site
        Name of the hospital.
    ids
        Pseudonyms, (n,).
    labels
        Group labels, (n,).
    grade
        0, 1 or 2 for M0, M1, M2, (n,).
    scores
        Latent normal scores by variable, each (n,); of variance 1 among patients of one grade over all hospitals.
        The processes behind the images are `image_tumour`, `image_ring` and `image_temporal`.
    values
        Recorded numbers before anything is lost or mistyped: floats for continuous variables, 0 / 1 for findings.
    cells
        The columns of patients.csv as text, in order; `patient_id` first.
    """

    site: str
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    grade: NDArray[np.int64]
    scores: Mapping[str, NDArray[np.float64]]
    values: Mapping[str, NDArray[np.float64]]
    cells: Mapping[str, list[str]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Whether there is microvascular invasion, (n,)."""
        return self.grade > 0
