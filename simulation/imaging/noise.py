"""simulation/imaging: smooth random fields in the patient's coordinates, the same at whatever grid they are read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Axes = tuple[Floats, Floats, Floats]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Lowest and highest z, y, x in mm."""

# The mean over positions of the sum of squared weights of a cubic B-spline is 151 / 315 along an axis.
_UNIT = math.sqrt((151 / 315) ** 3)


def spline_weights(axis: Floats, start: float, step: float, count: int) -> Floats:
    """Weights of cubic B-splines on a lattice, (len(axis), count); positions outside take the lattice's edge."""
    place = np.clip((axis - start) / step, 0, count - 3.001)
    first = np.floor(place).astype(np.int64)
    t = (place - first).astype(np.float32)
    weights = np.zeros((len(axis), count), dtype=np.float32)
    rows = np.arange(len(axis))
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, part in enumerate(parts):
        weights[rows, np.minimum(first + offset, count - 1)] += part / 6
    return weights


def linear_weights(axis: Floats, start: float, step: float, count: int) -> Floats:
    """Weights of linear interpolation on a lattice, (len(axis), count); positions outside take the lattice's edge."""
    place = np.clip((axis - start) / step, 0, count - 1)
    first = np.minimum(np.floor(place).astype(np.int64), count - 2)
    t = (place - first).astype(np.float32)
    weights = np.zeros((len(axis), count), dtype=np.float32)
    rows = np.arange(len(axis))
    weights[rows, first] = 1 - t
    weights[rows, first + 1] += t
    return weights


def spread(values: Floats, z: Floats, y: Floats, x: Floats) -> Floats:
    """A lattice (k, j, i) spread over a grid by one matrix of weights along each axis."""
    partly = np.matmul(y, np.tensordot(z, values, axes=1))
    # One large product is twice as fast as one for every slice.
    field: Floats = np.matmul(partly.reshape(-1, partly.shape[2]), x.T).reshape(len(z), len(y), len(x))
    return field


@dataclass(frozen=True)
class SmoothNoise:
    """A stationary random field of mean 0 and variance 1: white noise on a lattice, blurred by cubic B-splines.

    Attributes
    ----------
    values
        Lattice of standard normal values, (k, j, i).
    start
        Position of the first lattice point along z, y, x in mm.
    scale_mm
        Distance between lattice points; structures are about twice as wide.
    """

    values: Floats
    start: tuple[float, float, float]
    scale_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, box: Box, scale_mm: float) -> SmoothNoise:
        """Draw a field that covers a box."""
        low, high = box
        shape = tuple(math.ceil((b - a) / scale_mm) + 4 for a, b in zip(low, high, strict=True))
        start = (low[0] - scale_mm, low[1] - scale_mm, low[2] - scale_mm)
        return cls(rng.standard_normal(shape, dtype=np.float32), start, scale_mm)

    def at(self, axes: Axes) -> Floats:
        """The field on a grid, (slices, rows, columns)."""
        z, y, x = (
            spline_weights(axis, start, self.scale_mm, n)
            for axis, start, n in zip(axes, self.start, self.values.shape, strict=True)
        )
        field: Floats = spread(self.values, z, y, x) / np.float32(_UNIT)
        return field
