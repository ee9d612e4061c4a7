"""tests/simulation: small examinations without noise or blur in the plane, and the true tissues behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation.cohorts.consortium import Imaging, Scanner
from simulation.imaging.examine import Subject, examine, subject_of
from simulation.imaging.findings import Findings
from simulation.imaging.volume import Examination, Grid

CLEAR: dict[str, Any] = {"kernel_mm": 0.0, "noise_hu": 0.0, "noise_share": 0.0, "coil_bias": 0.0, "timing_s": 0.0}
"""Fields of a scanner that adds nothing of its own."""

SCANNER = Scanner(spacing_mm=3.8, slice_mm=7.0, **CLEAR)


def imaging(**changes: Any) -> Imaging:
    """What is acquired in these tests: few voxels, and no motion unless it is asked for."""
    return Imaging(**{"matrix": 96, "slices": 32, "motion_mm": 0.0, **changes})


def stream(number: int) -> np.random.SeedSequence:
    """The randomness of one patient; a new one every time, because a sequence counts what was drawn from it."""
    return np.random.SeedSequence([2024, number])


def pictured(
    number: int, declared: Imaging, around_mm: float | None = None, scanner: Scanner = SCANNER, **shown: Any
) -> Examination:
    """Examine one patient with a tumour of 5 cm, or with these findings."""
    return examine(Findings(**{"patient": "p", "size_cm": 5.0, **shown}), declared, scanner, stream(number), around_mm)


def subject(number: int, declared: Imaging, whole: Grid, **shown: Any) -> Subject:
    """The body that `pictured` draws for this patient, where `whole` is the grid of the reference phase."""
    body = stream(number).spawn(2)[1]
    return subject_of(Findings(**{"patient": "p", "size_cm": 5.0, **shown}), declared, whole, body)


def tissues(who: Subject, grid: Grid) -> NDArray[np.uint8]:
    """The tissue of every voxel in the reference phase, without the tumour."""
    axes = grid.axes()
    return who.anatomy.labels(axes, who.liver_distance(axes))
