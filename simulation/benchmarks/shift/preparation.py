"""simulation: benchmarks: shift: intensities on Nyul's standard scale.

The slice is taken for the body. The scale is the mean over all training patients of every landmark, which hospitals
send as sums (`fedmvi-server landmarks` does the same with a study's results). A patient's landmarks are found by the
code that prepares a hospital's images; its map to the scale is written here for many patients at once, and tested to be
the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.imaging.intensity import landmarks_of
from common.federation.runner import Conclusion
from common.statistics.moments import moments
from common.study.features import LANDMARKS
from common.study.preparation import Intensity
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.benchmarks.shift.pictures import ARTERIAL, PLAIN, SIZE, Images, Pictures

MARKS = {phase: tuple(f"{phase}.body.original_landmark_P{at}" for at in LANDMARKS) for phase in (PLAIN, ARTERIAL)}
"""Names of the columns with a patient's landmarks, by phase."""
BIN_WIDTH = 2.0
"""Of texture on this scale, as the preset for MR has it."""


def landmarks(pictures: Pictures) -> dict[str, FloatArray]:
    """(n,) by the names in `MARKS`."""
    body = sitk.GetImageFromArray(np.ones((1, SIZE, SIZE), dtype=np.uint8))
    columns = dict[str, FloatArray]()
    for phase, names in MARKS.items():
        slices = (sitk.GetImageFromArray(image[np.newaxis]) for image in pictures.phases[phase])
        found = np.array([landmarks_of(image, body) for image in slices])
        columns |= dict(zip(names, found.T, strict=True))
    return columns


def standard_scale(cohort: str) -> Conclusion[Intensity]:
    """The scale, from the sums of the hospitals' landmarks."""
    names = tuple(name for marks in MARKS.values() for name in marks)
    found = yield from moments(cohort, Recipe(), names)
    mean = dict(zip(names, found.mean_.tolist(), strict=True))
    return Intensity(
        scale="nyul", landmarks={phase: tuple(mean[name] for name in marks) for phase, marks in MARKS.items()}
    )


def standardised(pictures: Pictures, scale: Intensity) -> Pictures:
    """The same slices on the scale."""
    phases = {phase: _mapped(images, scale.landmarks[phase]) for phase, images in pictures.phases.items()}
    return replace(pictures, phases=phases)


def _mapped(images: Images, to: tuple[float, ...]) -> Images:
    """Linear between landmarks, beyond them as in the first and the last piece: a line, and a bend at each landmark."""
    at = np.percentile(images.reshape(len(images), -1), LANDMARKS, axis=1).astype(np.float64)
    slopes = np.diff(np.array(to))[:, np.newaxis] / np.diff(at, axis=0)
    found = to[0] + slopes[0][:, None, None] * (images - at[0][:, None, None])
    for k in range(1, len(slopes)):
        found += (slopes[k] - slopes[k - 1])[:, None, None] * np.maximum(images - at[k][:, None, None], 0.0)
    mapped: Images = found.astype(np.float32)
    return mapped
