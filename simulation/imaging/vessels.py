"""simulation/imaging: the portal and hepatic veins as branching tubes.

Branches fork in two; radii follow Murray's law (the cube of the parent's radius is the sum of the children's cubes,
Proc Natl Acad Sci 1926;12:207), directions turn at random about the parent's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from simulation.imaging.noise import Axes
from simulation.imaging.tissues import Tissue

Point = NDArray[np.float64]
SMALLEST_MM = 0.8
"""Thinner branches are not drawn: no scanner of ours would show them."""


@dataclass(frozen=True)
class Tube:
    """A straight piece of vessel: ends (z, y, x) and radius in mm."""

    start: Point
    end: Point
    radius: float


@dataclass(frozen=True)
class Tree:
    """A branching vessel."""

    tubes: tuple[Tube, ...]

    def paint(
        self,
        labels: NDArray[np.uint8],
        tissue: Tissue,
        axes: Axes,
        inside: NDArray[np.bool_],
        outside: NDArray[np.bool_],
    ) -> None:
        """Write the tissue into the labels: of the trunk where `outside` allows it, of the branches where `inside`."""
        for tube, where in zip(self.tubes, chain((outside,), repeat(inside)), strict=False):
            low = np.minimum(tube.start, tube.end) - tube.radius
            high = np.maximum(tube.start, tube.end) + tube.radius
            box = tuple(
                slice(int(np.searchsorted(a, lo)), int(np.searchsorted(a, hi, side="right")))
                for a, lo, hi in zip(axes, low, high, strict=True)
            )
            if any(part.start >= part.stop for part in box):
                continue
            within = _within(tube, tuple(a[part] for a, part in zip(axes, box, strict=True)))
            labels[box][within & where[box]] = tissue


def _within(tube: Tube, axes: tuple[NDArray[np.float32], ...]) -> NDArray[np.bool_]:
    along = tube.end - tube.start
    length = float(along @ along)
    z, y, x = (a - s for a, s in zip(axes, tube.start, strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    share = np.clip((z * along[0] + y * along[1] + x * along[2]) / length, 0, 1)
    off = (z - share * along[0]) ** 2 + (y - share * along[1]) ** 2 + (x - share * along[2]) ** 2
    return np.asarray(off < tube.radius**2)


def hepatic_trees(rng: np.random.Generator, scale: float) -> tuple[tuple[Tissue, Tree], ...]:
    """The portal vein from below the liver, and three hepatic veins from the vena cava."""
    portal: list[Tube] = []
    hilum = np.array([-8.0, 4.0, -24.0]) * scale
    portal.append(Tube(np.array([-50.0, 14.0, 2.0]) * scale, hilum, 6.5 * scale))
    for target, radius in (((-2, -2, -86), 6.0), ((24, -34, 14), 4.8)):
        _grow(portal, hilum, np.array(target, dtype=np.float64) * scale, radius * scale, 6, rng)
    veins: list[Tube] = []
    confluence = np.array([62.0, 24.0, -20.0]) * scale
    for target, radius in (((18, 18, -96), 5.4), ((22, -34, -62), 4.8), ((44, -36, 18), 4.2)):
        _grow(veins, confluence, np.array(target, dtype=np.float64) * scale, radius * scale, 5, rng)
    return (Tissue.PORTAL_VEIN, Tree(tuple(portal))), (Tissue.HEPATIC_VEIN, Tree(tuple(veins)))


def _grow(out: list[Tube], start: Point, end: Point, radius: float, forks: int, rng: np.random.Generator) -> None:
    """A bent branch, and its two children where it forks."""
    along = end - start
    length = float(np.linalg.norm(along))
    bend = start + 0.5 * along + rng.standard_normal(3) * 0.08 * length
    out.append(Tube(start, bend, radius))
    out.append(Tube(bend, end, radius * 0.92))
    if forks == 0:
        return
    share = float(rng.uniform(0.35, 0.65))
    for part in (share, 1 - share):
        child = radius * float(np.cbrt(part)) * 0.95
        if child < SMALLEST_MM:
            continue
        turn = along / length + rng.standard_normal(3) * 0.55
        reach = length * float(rng.uniform(0.5, 0.75))
        _grow(out, end, end + turn / np.linalg.norm(turn) * reach, child, forks - 1, rng)
