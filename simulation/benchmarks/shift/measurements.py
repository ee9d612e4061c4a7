"""simulation: benchmarks: shift: features of a lesion off the pixels, for thousands of patients at once.

They are of the kinds that the study of CT radiomics selects: first order, ratios of regions, a gradient at the margin,
and texture at a fixed bin width. Beside them stand the lesion's size and alpha-fetoprotein, which no scanner changes.
"""

from __future__ import annotations

import numpy as np

from common.study.table import FloatArray
from simulation.benchmarks.shift.patients import TRAITS, Mask, Patients
from simulation.benchmarks.shift.pictures import ARTERIAL, PIXEL_MM, PLAIN, Images, Pictures

IMAGE_FEATURES = (
    "t1a.core.mean", "t1a.core.std", "t1a.core.skewness", "t1a.core.entropy",
    "t1a.core.contrast", "t1a.rim.mean", "t1a.rim.std", "t1a.liver.mean", "t1a.rim/liver",
    "t1a.core/liver", "t1a.margin.gradient", "t1.core.mean", "t1.core.std", "rim.enhancement",
)  # fmt: skip
CLINICAL = ("log(size)", "log(afp)")
FEATURES = (*IMAGE_FEATURES, *CLINICAL)
_LEVELS = 64


def measure(pictures: Pictures, patients: Patients, bin_width: float) -> dict[str, FloatArray]:
    """(n,) by the names in `FEATURES`; `bin_width` is of entropy and contrast, in units of the pictures."""
    plain, arterial = pictures.phases[PLAIN], pictures.phases[ARTERIAL]
    core, std, skewness = _first_order(arterial, pictures.core)
    rim, rim_std, _ = _first_order(arterial, pictures.rim)
    liver, _, _ = _first_order(arterial, pictures.liver)
    plain_core, plain_std, _ = _first_order(plain, pictures.core)
    plain_rim, _, _ = _first_order(plain, pictures.rim)
    entropy, contrast = _texture(arterial, pictures.core, bin_width)
    columns = (
        core, std, skewness, entropy, contrast, rim, rim_std, liver, rim / liver, core / liver,
        _gradient(arterial, pictures.margin), plain_core, plain_std, rim - plain_rim,
        np.log(pictures.radius_mm), 3.0 + 1.5 * patients.traits[:, TRAITS.index("afp")],
    )  # fmt: skip
    return {name: column.astype(np.float64) for name, column in zip(FEATURES, columns, strict=True)}


def _mean(values: Images, region: Mask) -> FloatArray:
    count = region.sum(axis=(1, 2))
    mean: FloatArray = np.einsum("nij,nij->n", values, region, dtype=np.float64) / count
    return mean


def _first_order(image: Images, region: Mask) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, standard deviation and skewness within a region."""
    mean = _mean(image, region)
    away = image - mean[:, None, None].astype(np.float32)
    square = np.square(away)
    std = np.sqrt(_mean(square, region))
    return mean, std, _mean(square * away, region) / np.power(std, 3)


def _gradient(image: Images, region: Mask) -> FloatArray:
    """Mean magnitude of the central differences, per mm."""
    down, across = np.gradient(image, PIXEL_MM, axis=(1, 2))
    return _mean(np.hypot(down, across), region)


def _texture(image: Images, region: Mask, bin_width: float) -> tuple[FloatArray, FloatArray]:
    """Entropy in bits of the binned intensities, and contrast: the mean squared difference of neighbours' bins."""
    bins = np.floor(image / bin_width)
    lowest = np.where(region, bins, np.inf).min(axis=(1, 2), keepdims=True)
    level = np.clip(bins - lowest, 0, _LEVELS - 1).astype(np.int64)
    place = (np.arange(len(image))[:, None, None] * _LEVELS + level)[region]
    counts = np.bincount(place, minlength=len(image) * _LEVELS).reshape(len(image), _LEVELS)
    share = counts / counts.sum(axis=1, keepdims=True)
    entropy = -np.sum(share * np.log2(np.where(share > 0.0, share, 1.0)), axis=1)
    total, pairs = np.zeros(len(image)), np.zeros(len(image))
    for first, second in ((np.s_[:, 1:, :], np.s_[:, :-1, :]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
        both = region[first] & region[second]
        apart = np.square((level[first] - level[second]).astype(np.float32))
        total += np.einsum("nij,nij->n", apart, both, dtype=np.float64)
        pairs += both.sum(axis=(1, 2))
    return entropy, total / pairs
