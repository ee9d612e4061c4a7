"""simulation: benchmarks: a patient whose CT has as many voxels as a real one, made in seconds and without files.

Texture, a body, a liver and a round lesion: enough for what the computing of features costs, and nothing else.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from client.images.case import ReadImage, Scan

NATIVE_MM = (0.8, 0.8, 2.5)
"""Widths of voxels as scanned."""

ENHANCEMENT = {"plain": (55.0, 45.0), "arterial": (70.0, 100.0), "portal": (110.0, 95.0), "delayed": (95.0, 75.0)}
"""HU of liver and lesion."""


def phantom(size_mm: tuple[float, float, float], diameter_mm: float, seed: int) -> Scan:
    """Four phases of one patient in one space, with the lesion outlined on the portal phase.

    Parameters
    ----------
    size_mm
        Field of view along x, y and z.
    diameter_mm
        Of the lesion.
    seed
        Of the noise.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(round(length / width) for length, width in zip(size_mm[::-1], NATIVE_MM[::-1], strict=True))
    z, y, x = ((np.arange(n) + 0.5) * width - n * width / 2 for n, width in zip(shape, NATIVE_MM[::-1], strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    body = (x / (0.46 * size_mm[0])) ** 2 + (y / (0.42 * size_mm[1])) ** 2 + 0 * z < 1
    lesion = x**2 + y**2 + z**2 + 2 * np.sin(x / 3) * np.cos(y / 4) * diameter_mm / 2 < (diameter_mm / 2) ** 2
    texture = [_noise(shape, sigma, rng) for sigma in (1.5, 5.0)]
    images = {}
    for phase, (liver, tumour) in ENHANCEMENT.items():
        tissue = np.where(lesion, tumour, liver) + 12 * texture[0] + 8 * texture[1]
        voxels = np.where(body, tissue + rng.normal(0, 12, shape), -1000)
        images[phase] = ReadImage(_image(np.round(voxels).astype(np.int16)))
    return Scan(f"phantom-{seed}", images, {("tumour", 1, "portal"): _image(lesion.astype(np.uint8))})


def _noise(shape: tuple[int, ...], sigma_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise with a standard deviation of 1."""
    sigma = [sigma_mm / width for width in NATIVE_MM[::-1]]
    smooth = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    scaled: NDArray[np.float32] = smooth / smooth.std()
    return scaled


def _image(voxels: NDArray[np.generic]) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(NATIVE_MM)
    return image
