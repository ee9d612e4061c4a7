"""simulation/imaging: what a scanner makes of a patient: slices, blur, noise, HU error, coil bias, gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from simulation.cohorts.consortium import Imaging, Scanner
from simulation.imaging.anatomy import FIELD
from simulation.imaging.noise import Axes, Floats, SmoothNoise
from simulation.imaging.volume import Grid

_FWHM = 2.3548  # full width at half maximum of a normal curve, in standard deviations
_DWI_COARSER = 1.5
_MR_SCALE = 3.0
_SLICE_SIGMA = 0.4  # of a slice's thickness: a slice averages over its thickness


def grid_of(imaging: Imaging, scanner: Scanner, phase: str, rng: np.random.Generator) -> Grid:
    """Where the slices of a phase lie; the patient is never quite in the middle. DWI has larger pixels."""
    coarser = _DWI_COARSER if phase == "dwi" else 1.0
    pixels = round(imaging.matrix / coarser)
    pixel = scanner.spacing_mm * (imaging.matrix / pixels)
    middle = (-6 + rng.uniform(-4, 4), rng.uniform(-6, 6), rng.uniform(-6, 6))
    shape = (imaging.slices, pixels, pixels)
    spacing = (scanner.slice_mm, pixel, pixel)
    origin = tuple(round(m - (n - 1) / 2 * step, 3) for m, n, step in zip(middle, shape, spacing, strict=True))
    return Grid(shape, spacing, (origin[0], origin[1], origin[2]))


def ct(picture: Floats, grid: Grid, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.int16]:
    """HU as a CT shows them: blurred, with correlated noise of the declared standard deviation, and its bias."""
    sigma = _sigma(grid, scanner)
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(scanner.noise_hu / _kept(sigma))
    seen = ndimage.gaussian_filter(picture + noise, sigma, truncate=2.5, mode="nearest")
    return _stored(seen + np.float32(scanner.bias_hu), -1024, 3071)


def mr(picture: Floats, grid: Grid, scanner: Scanner, coil: SmoothNoise, rng: np.random.Generator) -> NDArray[np.int16]:
    """MR signal: blurred, multiplied by the coil's bias field and the gain, with Rician noise."""
    seen = ndimage.gaussian_filter(picture, _sigma(grid, scanner), truncate=2.5, mode="nearest")
    seen *= np.exp(coil.at(grid.axes()) * np.float32(scanner.coil_bias))
    amplitude = np.float32(100 * scanner.noise_share)
    real = seen + rng.standard_normal(seen.shape, dtype=np.float32) * amplitude
    imaginary = rng.standard_normal(seen.shape, dtype=np.float32) * amplitude
    signal = np.hypot(real, imaginary) * np.float32(_MR_SCALE * scanner.gain)
    return _stored(signal, 0, 32767)


def coil_of(rng: np.random.Generator) -> SmoothNoise:
    """The bias field of one examination: very smooth, of variance 1 on the logarithm."""
    return SmoothNoise.draw(rng, FIELD, 130)


def moved(picture: Floats, source: Grid, target: Grid, by: tuple[Floats, Floats, Floats] | None) -> Floats:
    """A picture on one grid, seen on another, through a displacement given there if any; linear interpolation."""
    places = np.empty((3, *target.shape), dtype=np.float32)
    shapes: Axes = target.axes()
    views = (shapes[0][:, None, None], shapes[1][None, :, None], shapes[2][None, None, :])
    for axis, position in enumerate(views):
        np.add(0 if by is None else by[axis], position - np.float32(source.origin[axis]), out=places[axis])
        places[axis] /= np.float32(source.spacing[axis])
    return np.asarray(ndimage.map_coordinates(picture, places, order=1, mode="nearest", output=np.float32))


def _stored(values: Floats, low: int, high: int) -> NDArray[np.int16]:
    """Whole numbers within what the format holds."""
    return np.asarray(np.clip(np.rint(values), low, high), dtype=np.int16)


def _sigma(grid: Grid, scanner: Scanner) -> tuple[float, float, float]:
    return (_SLICE_SIGMA, scanner.kernel_mm / _FWHM / grid.spacing[1], scanner.kernel_mm / _FWHM / grid.spacing[2])


def _kept(sigma: tuple[float, float, float]) -> float:
    """Standard deviation of white noise of variance 1 after the blur."""
    kept = 1.0
    for one in sigma:
        impulse = np.zeros(129)
        impulse[64] = 1
        blurred = ndimage.gaussian_filter1d(impulse, one, truncate=2.5) if one > 0 else impulse
        kept *= float(np.sqrt(np.sum(blurred**2)))
    return kept
