"""simulation: learning: stacks of noise whose level tells the grade: in a hospital's files, and made in no time.

They are for measuring what hospitals cost. Nothing can be said of learning from them.
"""

from __future__ import annotations

import numpy as np

from client.imaging.rectangles import Rectangle
from client.imaging.stacks import Stack
from common.study.features import LANDMARKS
from common.study.preparation import Stacks

LEVEL, SPREAD = 100.0, 20.0
"""Mean and standard deviation of the pixels of a patient without invasion."""
SLICE_MM = 5.0


def noise_stack(grade: int, effect: float, settings: Stacks, rng: np.random.Generator) -> Stack:
    """A stack of the protocol's size.

    Parameters
    ----------
    grade
        0, 1 or 2 for M0, M1, M2.
    effect
        How much brighter an M2 is, in standard deviations of a pixel; an M1 by half of it.
    settings
        The protocol's.
    rng
        The patient's own.
    """
    count, size = settings.slices, settings.size
    level = LEVEL + SPREAD * effect * grade / 2
    pixels = rng.normal(level, SPREAD, (count, size, size)).astype(np.float32)
    return Stack(
        pixels=pixels,
        slices=tuple(range(count)),
        at_mm=tuple((0.0, 0.0, SLICE_MM * k) for k in range(count)),
        shows_tumour=(True,) * count,
        repeated=False,
        rectangle=Rectangle(0.0, float(size), 0.0, float(size)),
        margin_mm=(0.0, 0.0, 0.0, 0.0),
        clamped=False,
        placed=(0, 0, size, size),
        # Those of all patients alike: what tells the grades apart is not normalised away.
        percentiles=tuple(np.linspace(LEVEL - 3 * SPREAD, LEVEL + 3 * SPREAD, len(LANDMARKS)).tolist()),
    )
