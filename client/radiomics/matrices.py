"""client/radiomics: texture matrices of a region, all from one walk along lines that are laid out once.

pyradiomics walks through the whole bounding box for every matrix, image and filter. Which voxels of a region follow
each other along the 13 directions depends on none of these: here they are sorted by line once, and what a matrix counts
(neighbours, runs) is found by comparing voxels that follow each other. All counts are the same integers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

DIRECTIONS = tuple(step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0))
"""One of each two opposite steps to the 26 neighbours, as (z, y, x)."""


@dataclass(frozen=True)
class Line:
    """A region's n voxels along one direction.

    Attributes
    ----------
    order
        (n,) the voxels, counted in array order, sorted by line and along the line.
    rank
        (n,) where in that order each voxel is.
    touching
        (n - 1,) whether a voxel in that order is a neighbour of the next.
    """

    order: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]
    touching: npt.NDArray[np.bool_]

    def per_voxel(self, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n,) for every voxel, in array order, the sum of what it has from the one before and the one after it.

        Parameters
        ----------
        before, after
            (n - 1,) for each two that follow each other, what the second has from the first, and the reverse.
        """
        total = np.zeros(self.order.size, before.dtype)
        total[1:] = before
        total[:-1] += after
        return total[self.rank]


@dataclass(frozen=True)
class Layout:
    """A region's lines, and how many neighbours each of its voxels has in the region."""

    lines: tuple[Line, ...]
    neighbours: npt.NDArray[np.int32]


def lay_lines(mask: npt.NDArray[np.bool_]) -> Layout:
    """The lines of a region along every direction.

    A direction in which no line meets two voxels of the region is left out, as pyradiomics does.

    Parameters
    ----------
    mask
        (z, y, x).
    """
    at = np.argwhere(mask).astype(np.int32)
    found = (_line(at, np.array(step, np.int32), max(mask.shape)) for step in DIRECTIONS)
    lines = tuple(line for line in found if line is not None)
    neighbours = np.zeros(len(at), np.int32)
    for line in lines:
        touching = line.touching.astype(np.int32)
        neighbours += line.per_voxel(touching, touching)
    return Layout(lines, neighbours)


def _line(at: npt.NDArray[np.int32], step: npt.NDArray[np.int32], longest: int) -> Line | None:
    """Voxels at `at` (n, 3), in array order, along one direction."""
    along = at[:, np.flatnonzero(step)[0]]
    foot = (at - along[:, None] * step + longest).astype(np.int64)
    key = (foot[:, 0] * 3 * longest + foot[:, 1]) * 3 * longest + foot[:, 2]
    # Array order rises along every direction, so a stable sort by line keeps the order within each.
    order = np.argsort(key, kind="stable").astype(np.int32)
    same = key[order][1:] == key[order][:-1]
    if not same.any():
        return None
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size, dtype=np.int32)
    return Line(order, rank, same & (np.diff(along[order]) == 1))


@dataclass(frozen=True)
class Matrices:
    """Counts of a region with g grey levels, by their index, for d directions.

    Attributes
    ----------
    glcm
        (g, g, d) neighbours of two levels, each pair in one order (Haralick 1973).
    glrlm
        (g, longest, d) runs by level and length, from 1 (Galloway 1975).
    gldm
        (g, 27) voxels by level and number of neighbours of the same level, from 0 (Sun and Wee 1983).
    ngtdm
        (g, 2) voxels of a level, and sum of their distances from the mean level of their neighbours (Amadasun and King
        1989).
    """

    glcm: Floats
    glrlm: Floats
    gldm: Floats
    ngtdm: Floats


def count_matrices(levels: Indices, present: Indices, layout: Layout, longest: int) -> Matrices:
    """All four matrices of a region.

    Parameters
    ----------
    levels
        (n,) index into `present` of the region's voxels in array order.
    present
        (g,) the grey levels.
    layout
        The region's lines.
    longest
        Lengths that a run may have.
    """
    g = present.size
    glcm, glrlm = np.zeros((g, g, len(layout.lines))), np.zeros((g, longest, len(layout.lines)))
    alike, total = np.zeros(levels.size, np.int8), np.zeros(levels.size, np.int32)
    values = present.astype(np.int32)
    for i, line in enumerate(layout.lines):
        along = levels[line.order]
        before, after = along[:-1], along[1:]
        same = line.touching & (before == after)
        glcm[:, :, i] = np.bincount((before * g + after)[line.touching], minlength=g * g).reshape(g, g)
        glrlm[:, :, i] = _runs(along, same, g, longest)
        alike += line.per_voxel(same.view(np.int8), same.view(np.int8))
        value = values[along]
        total += line.per_voxel(value[:-1] * line.touching, value[1:] * line.touching)
    gldm = np.bincount(levels * (2 * len(DIRECTIONS) + 1) + alike, minlength=g * (2 * len(DIRECTIONS) + 1))
    tone = np.abs(values[levels] - total / np.maximum(layout.neighbours, 1)) * (layout.neighbours > 0)
    ngtdm = np.column_stack([np.bincount(levels, minlength=g), np.bincount(levels, tone, minlength=g)])
    return Matrices(glcm, glrlm, gldm.reshape(g, -1).astype(np.float64), ngtdm.astype(np.float64))


def _runs(along: Indices, same: npt.NDArray[np.bool_], n_levels: int, longest: int) -> npt.NDArray[np.intp]:
    """(n_levels, longest) runs of voxels of one level, of those that are in the order of a direction."""
    starts = np.flatnonzero(np.concatenate([[True], ~same]))
    lengths = np.diff(starts, append=along.size)
    counts = np.bincount(along[starts] * longest + lengths - 1, minlength=n_levels * longest)
    return counts.reshape(n_levels, longest)
