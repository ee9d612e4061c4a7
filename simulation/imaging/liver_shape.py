"""simulation/imaging: a liver's shape from a label map of a real scan, in place of the parametric one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from common.errors import FedmviError
from simulation.imaging.noise import Axes, Floats

_CAP_MM = 22.0  # how fast a cut liver closes: by half its square over this
_CAP_REACH_MM = 75.0
_CENTRE = (-8.0, -6.0, -48.0)
"""Where the parametric liver has its middle: z, y, x in mm."""


@dataclass(frozen=True)
class MaskedLiver:
    """A liver whose signed distance was sampled from a mask.

    Attributes
    ----------
    sampled
        Distance in mm to the surface, negative inside, (k, j, i) along z, y, x.
    spacing
        Distance between samples along z, y, x in mm.
    middle
        Index of the liver's centre of mass.
    scale
        Factor on its size.
    """

    sampled: Floats
    spacing: tuple[float, float, float]
    middle: tuple[float, float, float]
    scale: float

    def distance(self, axes: Axes) -> Floats:
        """See `anatomy.Shape`."""
        places = [
            (a - c) / (step * self.scale) + m
            for a, c, step, m in zip(axes, _CENTRE, self.spacing, self.middle, strict=True)
        ]
        found = ndimage.map_coordinates(self.sampled, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
        return np.asarray(found * self.scale, dtype=np.float32)


def load_liver(path: Path, label: int, scale: float) -> MaskedLiver:
    """The liver of a NIfTI label map.

    Raises
    ------
    FedmviError
        810 where the file cannot be read as an image or does not hold the label.
    """
    sampled, spacing, middle = _sampled(path, label)
    return MaskedLiver(sampled, spacing, middle, scale)


@lru_cache(maxsize=4)
def _sampled(path: Path, label: int) -> tuple[Floats, tuple[float, float, float], tuple[float, float, float]]:
    try:
        image = nib.as_closest_canonical(nib.load(path))
        values = np.asanyarray(image.dataobj)
    except (OSError, ImageFileError, ValueError) as error:
        raise FedmviError(810, f"{path}: {error}", label=label) from error
    inside = values == label
    if values.ndim != 3 or not inside.any():
        raise FedmviError(810, str(path), label=label)
    # Canonical NIfTI runs to the right, to the front, to the head; ours to the head, to the back, to the left.
    inside = inside.transpose(2, 1, 0)[:, ::-1, ::-1]
    dx, dy, dz = (float(step) for step in image.header.get_zooms()[:3])
    # A scan that ends within the liver leaves a cut: its outline goes on, and closes like a cap.
    more = math.ceil(_CAP_REACH_MM / dz)
    cuts = (bool(inside[0].any()), bool(inside[-1].any()))
    inside = np.pad(np.pad(inside, ((more, more), (0, 0), (0, 0)), mode="edge"), ((0, 0), (8, 8), (8, 8)))
    # Label maps often leave out the vessels.
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(inside, iterations=2))
    spacing = (dz, dy, dx)
    away = ndimage.distance_transform_edt(~inside, sampling=spacing)
    depth = ndimage.distance_transform_edt(inside, sampling=spacing)
    beyond = np.zeros(len(inside))
    steps = np.arange(1, more + 1) * dz
    beyond[:more] = steps[::-1] * cuts[0]
    beyond[-more:] = steps * cuts[1]
    distance = (away - depth) + (beyond**2 / (2 * _CAP_MM))[:, None, None]
    middle = ndimage.center_of_mass(distance < 0)
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), 1)
    return smooth, spacing, (float(middle[0]), float(middle[1]), float(middle[2]))
