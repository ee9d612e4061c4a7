"""simulation: learning: small MR volumes of one simulated lesion, in which microvascular invasion shows as a rim.

A lesion lies in a liver in a body. Around it runs a rim whose brightness grows with the grade, strongly in the arterial
phase and hardly before contrast agent. Three things stand against reading it: a capsule as bright as a rim that any
grade may have, texture, and noise. Scanners differ in resolution, gain, contrast and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from client.images.case import ReadImage, Scan

Volume = NDArray[np.float64]

SHARES = (0.5, 0.3, 0.2)
"""Of M0, M1 and M2 in every hospital: half of the patients have no invasion, and M2 is the rarest, as published."""

SLICES, SLICE_MM = 5, 5.0
FIELD_MM = 72.0
"""Width of the picture; the body fills most of it."""

RADIUS_MM = (8.0, 14.0)
RIM_MM = 2.5
"""Standard deviation of the rim's brightness across it."""

TISSUE = {
    "t1": (0.60, -0.15, 0.05),
    "t1-in": (0.60, -0.15, 0.05),
    "t1-opposed": (0.55, -0.10, 0.05),
    "t1a": (0.70, 0.35, 1.00),
    "t1v": (0.95, -0.05, 0.70),
    "t1d": (0.90, -0.20, 0.50),
    "hepatobiliary": (1.10, -0.50, 0.60),
    "t2": (0.50, 0.25, 0.15),
    "dwi": (0.40, 0.35, 0.25),
    "adc": (0.80, -0.20, 0.10),
}
"""Of a sequence: the liver's signal, the lesion's beyond it, and how much of the rim shows."""


@dataclass(frozen=True)
class Scanner:
    """What makes one hospital's pictures different from another's.

    Attributes
    ----------
    pixel_mm
        Width of a pixel.
    gain
        Factor of all signals.
    contrast
        Exponent of signals: no normalisation by mean and spread undoes it.
    noise
        Standard deviation, in units of the venous liver.
    blur_mm
        Standard deviation of the point spread.
    """

    pixel_mm: float
    gain: float
    contrast: float
    noise: float
    blur_mm: float


def draw_scanner(shift: float, rng: np.random.Generator) -> Scanner:
    """A scanner; 0 makes all of them the same, 1 as different as hospitals may be."""
    fine, bright, curved, noisy, blurred = rng.uniform(-1, 1, 5)
    return Scanner(
        pixel_mm=1.2 * float(np.exp(0.25 * shift * fine)),
        gain=100.0 * float(np.exp(0.7 * shift * bright)),
        contrast=float(np.exp(0.3 * shift * curved)),
        noise=0.08 * float(np.exp(0.4 * shift * noisy)),
        blur_mm=max(0.8 + 0.6 * shift * blurred, 0.0),
    )


def draw_grades(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(count,) grades 0, 1, 2 in any order; the shares hold as near as whole patients can."""
    ends = np.round(np.cumsum(SHARES) * count)
    grades: NDArray[np.int64] = rng.permutation(np.searchsorted(ends, np.arange(count), side="right")).astype(np.int64)
    return grades


def draw_patient(
    patient: str, grade: int, sequences: tuple[str, ...], scanner: Scanner, effect: float, rng: np.random.Generator
) -> Scan:
    """Volumes of all sequences in one space, with the tumour's outline on each.

    Parameters
    ----------
    patient
        Id.
    grade
        0, 1 or 2 for M0, M1, M2.
    sequences
        Keys of `TISSUE`.
    scanner
        See `Scanner`.
    effect
        Brightness of an M2's rim where it shows best, in units of the venous liver's signal; M1 has half of it.
    rng
        The patient's own.
    """
    z, y, x = _grid(scanner.pixel_mm)
    centre, radius = rng.uniform(-3, 3, 2), rng.uniform(*RADIUS_MM, 3)
    radius[0] = max(radius[0], 0.6 * SLICES * SLICE_MM / 2)
    # Distance from the lesion's surface in mm, negative inside, of an ellipsoid with a wavy border.
    angle = np.arctan2(y - centre[0], x - centre[1])
    wave = 1 + 0.08 * np.sin(rng.integers(2, 5) * angle + rng.uniform(0, 6.28))
    scaled = np.sqrt((z / radius[0]) ** 2 + ((y - centre[0]) / radius[1]) ** 2 + ((x - centre[1]) / radius[2]) ** 2)
    outside = (scaled / wave - 1) * float(radius.mean())
    lesion = outside <= 0
    body = (y / 0.47 / FIELD_MM) ** 2 + (x / 0.47 / FIELD_MM) ** 2 + 0 * z < 1
    rim = np.exp(-((outside - RIM_MM) ** 2) / (2 * RIM_MM**2)) * (1 + 0.3 * np.cos(angle - rng.uniform(0, 6.28)))
    capsule = np.exp(-(outside**2) / 2) * rng.uniform(0, 0.5)
    images, masks = {}, {}
    for sequence in sequences:
        liver, contrast, shows = TISSUE[sequence]
        tissue = liver + np.where(lesion, contrast * rng.uniform(0.7, 1.3), 0.0)
        tissue += 0.06 * _texture(body.shape, scanner.pixel_mm, 4.0, rng)
        tissue += shows * (effect * grade / 2 * rim + capsule)
        signal = _scanned(np.where(body, np.maximum(tissue, 0.05), 0.0), scanner, rng)
        images[sequence] = ReadImage(_image(signal.astype(np.float32), scanner))
        masks["tumour", 1, sequence] = _image(lesion.astype(np.uint8), scanner)
    return Scan(patient, images, masks)


def _grid(pixel_mm: float) -> tuple[Volume, Volume, Volume]:
    """Coordinates from the middle of the picture in mm, ready to be broadcast."""
    count = round(FIELD_MM / pixel_mm)
    plane: Volume = pixel_mm * (np.arange(count, dtype=np.float64) - (count - 1) / 2)
    level: Volume = SLICE_MM * (np.arange(SLICES, dtype=np.float64) - (SLICES - 1) / 2)
    return level[:, None, None], plane[None, :, None], plane[None, None, :]


def _scanned(tissue: Volume, scanner: Scanner, rng: np.random.Generator) -> Volume:
    """What a scanner makes of tissue: magnitudes of blurred complex signals with noise in both parts."""
    width = scanner.blur_mm / scanner.pixel_mm
    blurred = gaussian_filter(tissue**scanner.contrast, (0, width, width))
    real, imaginary = (scanner.noise * rng.standard_normal(tissue.shape) for _ in range(2))
    signal: Volume = scanner.gain * np.hypot(blurred + real, imaginary)
    return signal


def _texture(shape: tuple[int, ...], pixel_mm: float, width_mm: float, rng: np.random.Generator) -> Volume:
    """Smooth noise with a standard deviation of 1."""
    sigma = width_mm / 2 / pixel_mm
    smooth = gaussian_filter(rng.standard_normal(shape), (0.5, sigma, sigma), mode="wrap")
    scaled: Volume = smooth / smooth.std()
    return scaled


def _image(voxels: NDArray[np.generic], scanner: Scanner) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((scanner.pixel_mm, scanner.pixel_mm, SLICE_MM))
    return image
