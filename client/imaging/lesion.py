"""client/imaging: which lesion is meant where a mask has several parts."""

from __future__ import annotations

from typing import Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

Box = tuple[slice, ...]
"""Part of an array, one slice an axis."""

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


def index_lesion(mask: sitk.Image, rule: Literal["largest", "all"]) -> tuple[sitk.Image, int]:
    """The tumour of a mask, and how many parts the mask has.

    Parts are separate where no voxel of one touches a voxel of another by a face, an edge or a corner. Of parts of
    the same volume, the one counts that begins in the lower slice, then row, then column.

    Parameters
    ----------
    mask
        Tumour, 0 and 1, 3D.
    rule
        `largest`: the part of the largest volume, the index lesion; `all`: the mask as it is.

    Returns
    -------
    tuple
        Mask of uint8 on the same grid, and the number of parts: 0 where the mask is empty.
    """
    voxels = sitk.GetArrayViewFromImage(mask) != 0
    box = box_of(voxels)
    if box is None:
        return sitk.Cast(mask, sitk.sitkUInt8), 0
    labels, parts = ndimage.label(voxels[box], structure=_TOUCHING)
    kept = labels > 0
    if rule == "largest":
        # Labels rise in the order of first voxels, so the first of the largest is the one that begins lower.
        kept = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    chosen = np.zeros(voxels.shape, dtype=np.uint8)
    chosen[box] = kept
    return image_like(chosen, mask), int(parts)


def box_of(voxels: NDArray[np.bool_]) -> Box | None:
    """The smallest box that holds all true voxels; none where there is none."""
    spans = []
    for axis in range(voxels.ndim):
        others = tuple(other for other in range(voxels.ndim) if other != axis)
        held = np.flatnonzero(voxels.any(axis=others))
        if not held.size:
            return None
        spans.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(spans)


def image_like(voxels: NDArray[np.generic], like: sitk.Image) -> sitk.Image:
    """An array, its axes in the order z, y, x, as an image on the grid of another."""
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(like)
    return image
