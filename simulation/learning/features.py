"""simulation: learning: features that are drawn beside drawn stacks, so that a study of both can be rehearsed.

No image is measured. A feature is a standard normal number of its patient's, its logistic function where the feature
is a share, its exponential where it cannot be negative. Blocks of ten have half of their variance in common, as those
of one image have; the first of every second block is larger with MVI, and each hospital has offsets of its own. All of
it is assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.study.dictionary import Variable
from common.study.recipe import logistic_function
from common.study.table import FloatArray
from simulation.cohorts.streams import stream

BLOCK = 10
"""Features that have half of their variance in common."""

SIGNAL = 4.0
"""Effect on a feature of signal over that on a rim's brightness, in standard deviations (M2; half of it M1)."""


def draw_features(
    study: str, seed: int, site: str, features: Sequence[Variable], grades: Sequence[int], effect: float, shift: float
) -> FloatArray:
    """(patients, features) of one hospital.

    Parameters
    ----------
    study, seed, site
        As for `stream`.
    features
        In the order of the protocol; their ranges decide the form.
    grades
        0 to 2 of each patient.
    effect, shift
        As of `Drawing`: SIGNAL * effect is the effect on a feature of signal, 0.3 * shift the standard deviation of a
        hospital's offsets.
    """
    rng = stream(study, seed, site, "features")
    n, p = len(grades), len(features)
    common = rng.normal(size=(n, -(-p // BLOCK)))
    values = np.sqrt(0.5) * (np.repeat(common, BLOCK, axis=1)[:, :p] + rng.normal(size=(n, p)))
    values[:, :: 2 * BLOCK] += SIGNAL * effect * np.array(grades)[:, np.newaxis] / 2.0
    values += 0.3 * shift * rng.normal(size=p)
    for place, feature in enumerate(features):
        if feature.high == 1.0:
            values[:, place] = logistic_function(values[:, place])
        elif feature.low == 0.0:
            values[:, place] = np.exp(values[:, place])
    drawn: FloatArray = np.round(values, 6)
    return drawn
