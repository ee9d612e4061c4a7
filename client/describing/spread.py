"""client/describing: on what scale a column is looked at, its bars, and which values are far from all others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cohort.units import Flags
from common.study.table import FloatArray

SKEWED = 20.0
"""The largest value is so many times the median: the scale is a logarithm."""
FAR = 3.0
"""Quartile distances beyond the quartiles (Tukey, Exploratory Data Analysis, 1977: "far out")."""
GAP = 0.5
"""Quartile distances between a value that is far out and the next."""
FEWEST = 12
"""Among fewer values nobody is far out, and no value is a limit."""
FEW_PILED, SHARE_PILED, TIMES_NEXT = 5, 0.05, 3
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_PER_ROOT, _FEWEST_BARS, _MOST_BARS = 3, 6, 24


@dataclass(frozen=True)
class Spread:
    """The bars of a histogram.

    Attributes
    ----------
    edges
        (bars + 1,) their ends, as the decadic logarithm where `logarithmic`.
    heights
        (groups, bars) patients.
    """

    edges: FloatArray
    heights: NDArray[np.int64]
    logarithmic: bool


def logarithmic(values: FloatArray) -> bool:
    """Whether (n,) values without NaN are seen better on a logarithmic scale."""
    return bool(values.size and values.min() > 0 and values.max() >= SKEWED * np.median(values))


def spread(values: FloatArray, groups: tuple[Flags, ...]) -> Spread | None:
    """The histogram of (n,) values, NaN where missing, by groups of patients; None without values.

    Bars are about three times the cube root of n, or fewer: they have round ends.
    """
    known = values[~np.isnan(values)]
    if known.size == 0:
        return None
    scale = logarithmic(known)
    edges = _edges(np.log10(known) if scale else known)
    parts = [_scaled(values[group & ~np.isnan(values)], scale) for group in groups]
    # Clipped for the last binary digit of an edge only: no value may be lost.
    heights = [np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0] for part in parts]
    return Spread(edges, np.array(heights, dtype=np.int64), scale)


def far_out(values: FloatArray) -> Flags:
    """(n,) True for values far from all others, on the scale of the picture.

    They are more than `FAR` quartile distances beyond the quartiles, and a gap of `GAP` quartile distances separates
    them from the rest: in a large hospital many values are far beyond the quartiles, and no gap is before them.
    """
    found = np.zeros(values.size, bool)
    known = ~np.isnan(values)
    if np.count_nonzero(known) < FEWEST:
        return found
    scaled = _scaled(values[known], logarithmic(values[known]))
    lower, upper = np.quantile(scaled, (0.25, 0.75))
    width = float(upper - lower)
    if width > 0:
        above = _beyond_gap(scaled, upper + FAR * width, GAP * width)
        below = -_beyond_gap(-scaled, FAR * width - lower, GAP * width)
        found[known] = (scaled >= above) | (scaled <= below)
    return found


def _beyond_gap(values: FloatArray, fence: float, gap: float) -> float:
    """The first value above a fence that is so far from the one before it; infinite where there is none."""
    ordered = np.sort(values)
    first = np.flatnonzero((ordered[1:] > fence) & (np.diff(ordered) >= gap))
    return float(ordered[first[0] + 1]) if first.size else math.inf


def piled(values: FloatArray) -> tuple[tuple[str, float, int], ...]:
    """The end of (n,) values at which so many are equal that it looks like a limit of what was measured.

    "smallest" or "largest", the value, and how many have it: `FEW_PILED` or more, `SHARE_PILED` of all, and
    `TIMES_NEXT` times as many as have the value next to it.
    """
    levels, sizes = np.unique(values[~np.isnan(values)], return_counts=True)
    if levels.size < FEWEST:
        return ()
    least = max(FEW_PILED, SHARE_PILED * int(sizes.sum()))
    ends = (("smallest", 0, 1), ("largest", -1, -2))
    return tuple(
        (name, float(levels[end]), int(sizes[end]))
        for name, end, beside in ends
        if sizes[end] >= max(least, TIMES_NEXT * sizes[beside])
    )


def round_step(rough: float) -> float:
    """The next round number: 1, 2, 2.5 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))


def _scaled(values: FloatArray, scale: bool) -> FloatArray:
    return np.log10(values) if scale else values


def _edges(values: FloatArray) -> FloatArray:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    bars = min(max(math.ceil(_PER_ROOT * values.size ** (1 / 3)), _FEWEST_BARS), _MOST_BARS)
    step = round_step((high - low) / bars)
    first = math.floor(low / step)
    last = math.floor(high / step) + 1
    return np.arange(first, last + 1, dtype=np.float64) * step
