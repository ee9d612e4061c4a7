"""simulation/imaging: breathing between phases: the organs move, mostly to head or foot; ribs and spine hardly do.

The field is kept: a registration can be judged against the truth. It lives on a coarse lattice and is interpolated
linearly, here and by whoever reads it, so that the kept field is the field that was applied.
"""

from __future__ import annotations

import numpy as np

from simulation.imaging.anatomy import FIELD, Build, wall_distance
from simulation.imaging.noise import Axes, Floats, SmoothNoise, linear_weights, spread
from simulation.imaging.volume import Grid

STEP_MM = 20.0
_SHAPE = tuple(int((high - low) // STEP_MM) + 2 for low, high in zip(*FIELD, strict=True))
LATTICE = Grid((_SHAPE[0], _SHAPE[1], _SHAPE[2]), (STEP_MM,) * 3, FIELD[0])
"""The lattice of every displacement field."""


def draw_motion(rng: np.random.Generator, build: Build, head_foot_mm: float) -> Floats:
    """A displacement in mm on `LATTICE`, (3, k, j, i): where what is seen at a point lies in the reference phase.

    Parameters
    ----------
    rng
        The patient's stream.
    build
        The trunk, outside of which nothing moves.
    head_foot_mm
        Standard deviation of the head-foot shift at the dome of the liver.
    """
    axes = LATTICE.axes()
    z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    # The trunk's wall and the spine hold still. Slopes stay below 1 per mm, so that the field can be inverted.
    spine = np.sqrt((y - 75) ** 2 + x**2)
    # Between two points of the lattice the field falls evenly, so that it must end before the wall begins.
    depth = -wall_distance(axes, build)
    within = np.clip((depth - 6) / 24, 0, 1) * np.clip((spine - 42) / 28, 0, 1)
    along = 0.35 + 0.65 / (1 + np.exp(-(z + 40) / 30))
    shift = float(np.clip(rng.normal(0, head_foot_mm), -2.2 * head_foot_mm, 2.2 * head_foot_mm))
    front = float(rng.normal(0, 0.25 * head_foot_mm))
    side = float(rng.normal(0, 0.10 * head_foot_mm))
    local = [SmoothNoise.draw(rng, FIELD, 55).at(axes) * np.float32(0.13 * head_foot_mm) for _ in range(3)]
    parts = [(amount * along + noise) * within for amount, noise in zip((shift, front, side), local, strict=True)]
    return np.stack(parts).astype(np.float32)


def displacement(field: Floats, axes: Axes) -> tuple[Floats, Floats, Floats]:
    """The field's three components on a grid, each (slices, rows, columns) in mm."""
    z, y, x = (
        linear_weights(axis, start, STEP_MM, n)
        for axis, start, n in zip(axes, LATTICE.origin, LATTICE.shape, strict=True)
    )
    return spread(field[0], z, y, x), spread(field[1], z, y, x), spread(field[2], z, y, x)
