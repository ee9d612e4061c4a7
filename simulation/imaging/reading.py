"""simulation/imaging: a few plain measurements of a tumour and the ring around it, to see what pictures carry.

They tell how much of the declared signal can be read from a cohort. They are not the product's radiomics, and nothing
but `fedmvi-simulate signal` uses them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from simulation.imaging.readers import ring_around
from simulation.imaging.volume import Examination

_Bools = NDArray[np.bool_]
_Floats = NDArray[np.float32]


def measurements(examination: Examination) -> dict[str, float]:
    """Size and shape of the tumour; level, spread and texture of both regions in every phase and difference.

    All phases must lie on the reference grid and be in register with it, as after a registration.
    """
    reference = examination.phases[examination.reference]
    tumour = examination.masks["tumour"].voxels > 0
    spacing = reference.grid.spacing
    ring = ring_around(examination.masks["tumour"], examination.masks["liver"]).voxels > 0
    found = _shape(tumour, spacing)
    phases = {
        name: volume.voxels.astype(np.float32)
        for name, volume in examination.phases.items()
        if volume.grid == reference.grid
    }
    pictures = dict(phases)
    contrast = [name for name in phases if name != "t2"]
    for before, after in pairwise(contrast):
        pictures[f"{after}-minus-{before}"] = phases[after] - phases[before]
    # A blur of the part inside only, so that what lies beyond the border does not count.
    regions = {"tumour": (tumour, _blurred(tumour)), "ring": (ring, _blurred(ring))}
    for name, picture in pictures.items():
        for region, (mask, weight) in regions.items():
            for feature, value in _texture(picture, mask, weight).items():
                found[f"{name}.{region}.{feature}"] = value
        found[f"{name}.tumour-minus-ring"] = found[f"{name}.tumour.mean"] - found[f"{name}.ring.mean"]
    return found


def _shape(tumour: _Bools, spacing: tuple[float, float, float]) -> dict[str, float]:
    volume = float(tumour.sum()) * spacing[0] * spacing[1] * spacing[2]
    surface = 0.0
    for axis in range(3):
        faces = np.count_nonzero(np.diff(tumour.astype(np.int8), axis=axis))
        surface += faces * spacing[0] * spacing[1] * spacing[2] / spacing[axis]
    return {
        "log_volume": float(np.log(volume)),
        "compactness": float(surface / (36 * np.pi * volume**2) ** (1 / 3)),
    }


def _blurred(values: NDArray[np.generic]) -> _Floats:
    blurred: _Floats = ndimage.gaussian_filter(values.astype(np.float32), (0.5, 1.5, 1.5), truncate=3)
    return blurred


def _texture(picture: _Floats, mask: _Bools, weight: _Floats) -> dict[str, float]:
    if not mask.any():
        return dict.fromkeys(("mean", "sd", "skewness", "p10", "p90", "step", "coarse"), 0.0)
    inside = picture[mask]
    mean, sd = float(inside.mean()), float(inside.std()) + 1e-9
    both = mask[:, :, 1:] & mask[:, :, :-1]
    step = np.abs(np.diff(picture, axis=2))[both]
    coarse = _blurred(picture * mask)[mask] / np.maximum(weight[mask], 1e-6)
    return {
        "mean": mean,
        "sd": float(np.log(sd)),
        "skewness": float(np.mean(((inside - mean) / sd) ** 3)),
        "p10": float(np.quantile(inside, 0.1)) - mean,
        "p90": float(np.quantile(inside, 0.9)) - mean,
        "step": float(np.log(step.mean() + 1e-9)) if step.size else 0.0,
        "coarse": float(np.log(coarse.std() + 1e-9)),
    }
