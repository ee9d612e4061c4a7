"""simulation/imaging: how readers outline a tumour: near its surface, each with a hand of their own."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from simulation.imaging.lesion import RING_MM, Lesion
from simulation.imaging.noise import SmoothNoise
from simulation.imaging.volume import Grid, Volume


def outline(lesion: Lesion, grid: Grid, disagreement_mm: float, rng: np.random.Generator) -> Volume:
    """One reader's mask of the tumour on a grid.

    The reader's line lies a smooth random distance off the true surface: a constant part (some readers are generous)
    and a part that varies along it. Two readers' lines lie `disagreement_mm` apart (standard deviation).
    """
    axes = grid.axes()
    z, y, x = box = lesion.box(axes)
    part = (axes[0][z], axes[1][y], axes[2][x])
    reach = 1.6 * lesion.surface.radius + 2 * RING_MM
    centre = lesion.surface.centre
    low = (centre[0] - reach, centre[1] - reach, centre[2] - reach)
    high = (centre[0] + reach, centre[1] + reach, centre[2] + reach)
    hand = SmoothNoise.draw(rng, (low, high), max(6.0, 0.6 * lesion.surface.radius))
    # Half of the variance between two readers belongs to each; a quarter of that is the reader's constant part.
    own = disagreement_mm / math.sqrt(2)
    off = 0.5 * own * float(rng.standard_normal()) + math.sqrt(0.75) * own * hand.at(part)
    # A reader never wipes out a small tumour.
    limit = 0.35 * lesion.surface.radius
    distance = lesion.distance(part)
    # A lesion between two slices is outlined on the nearer one.
    within = distance < np.maximum(np.clip(off, -limit, limit), distance.min() + 0.01)
    mask = np.zeros(grid.shape, dtype=np.uint8)
    mask[box] = largest_part(within)
    return Volume(mask, grid)


def largest_part(within: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part: a reader outlines one lesion, and one liver."""
    parts, count = ndimage.label(within)
    if count < 2:
        return within
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == int(np.argmax(sizes)))


def ring_around(tumour: Volume, liver: Volume) -> Volume:
    """Liver within `RING_MM` of the tumour, outside of it."""
    margin = [int(RING_MM / step) + 2 for step in tumour.grid.spacing]
    box = tuple(
        slice(max(part.start - m, 0), part.stop + m)
        for part, m in zip(ndimage.find_objects(tumour.voxels)[0], margin, strict=True)
    )
    away = ndimage.distance_transform_edt(tumour.voxels[box] == 0, sampling=tumour.grid.spacing)
    ring = np.zeros_like(tumour.voxels, dtype=np.uint8)
    ring[box] = (away > 0) & (away <= RING_MM) & (liver.voxels[box] > 0)
    return Volume(ring, tumour.grid)
