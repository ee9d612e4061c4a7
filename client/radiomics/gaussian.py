"""client/radiomics: ITK's recursive Gaussian filters as matrices: what every voxel of a line adds to every other.

A recursive filter takes as long for a voxel that is not wanted as for one that is. A matrix has rows for the wanted
voxels only, and multiplying by it is what processors do best. Coefficients are those of Deriche (INRIA RR-1893, 1993),
fourth order, as in ITK's `RecursiveGaussianImageFilter`, in the same double precision.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter, lfiltic

Floats = NDArray[np.float64]

_W, _L = np.array([0.6681, 2.0787]), np.array([-1.3932, -1.3732])
_A = {0: np.array([1.3530, -0.3531]), 2: np.array([-1.3563, 0.3446])}
_B = {0: np.array([1.8151, 0.0902]), 2: np.array([5.2318, -2.2355])}
"""Frequencies and decays of both damped waves, and their weights for the smoothing filter and the second derivative."""


def gaussian_matrix(n: int, sigma: float, width: float, order: Literal[0, 2]) -> Floats:
    """The matrix of a recursive Gaussian filter along a line of voxels, at whose ends the image goes on as it ends.

    Parameters
    ----------
    n
        Voxels of the line.
    sigma, width
        Of the Gaussian and of a voxel, in mm.
    order
        0 smooths; 2 is the second derivative times sigma squared (for voxels of width 1).

    Returns
    -------
    ndarray
        (n, n): a line of voxels times its transpose is the filtered line.
    """
    there, back, recursion = _coefficients(sigma, width, order)
    line = np.eye(n)
    return _run(there, recursion, line) + _run(back, recursion, line[::-1])[::-1]


def _run(numerator: Floats, recursion: Floats, lines: Floats) -> Floats:
    """One direction, along the first axis, as if the first voxel had been there for ever."""
    settled = numerator.sum() / recursion.sum()
    state = lfiltic(numerator, recursion, np.full(4, settled), np.ones(4))
    filtered: Floats = lfilter(numerator, recursion, lines, axis=0, zi=state[:, None] * lines[0])[0]
    return filtered


def _coefficients(sigma: float, width: float, order: Literal[0, 2]) -> tuple[Floats, Floats, Floats]:
    """Numerators of both directions, and the denominator."""
    voxels = sigma / width
    recursion = _recursion(voxels)
    there = _numerator(voxels, 0)
    powers = np.arange(5)
    sums = [float(recursion @ powers**k) for k in range(3)]
    smooth = [float(there @ powers[:4] ** k) for k in range(3)]
    if order == 0:
        there = there / (2 * smooth[0] / sums[0] - there[0])
    else:
        bend = _numerator(voxels, 2)
        beta = -(2 * bend.sum() - sums[0] * bend[0]) / (2 * smooth[0] - sums[0] * there[0])
        there = bend + beta * there
        s, d, e = (float(there @ powers[:4] ** k) for k in range(3))
        sd, dd, ed = sums
        area = (e * sd**2 - ed * s * sd - 2 * d * dd * sd + 2 * dd**2 * s) / sd**3
        there = there * (sigma**2 / area)
    # Symmetric: the other direction gives what this one does, less the voxel itself.
    back = np.append(there, 0.0) - recursion * there[0]
    return np.append(there, 0.0), back, recursion


def _recursion(voxels: float) -> Floats:
    decay, cosine = np.exp(_L / voxels), np.cos(_W / voxels)
    waves = [np.array([1.0, -2 * c * e, e**2]) for c, e in zip(cosine, decay, strict=True)]
    return np.convolve(waves[0], waves[1])


def _numerator(voxels: float, order: Literal[0, 2]) -> Floats:
    """Of the sum of both damped waves over their common denominator."""
    total = np.zeros(4)
    for one, other in ((0, 1), (1, 0)):
        a, b = _A[order][one], _B[order][one]
        e, c, s = np.exp(_L[one] / voxels), np.cos(_W[one] / voxels), np.sin(_W[one] / voxels)
        c_other, e_other = np.cos(_W[other] / voxels), np.exp(_L[other] / voxels)
        total += np.convolve([a, e * (b * s - a * c)], [1.0, -2 * c_other * e_other, e_other**2])
    return total
