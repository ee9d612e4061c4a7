"""client/radiomics: which part of a volume the filters need, so that values equal those of the whole volume.

A filter that is run on a crop sees another edge than one that is run on the volume. How far that reaches was measured
on volumes of 1 mm, against pyradiomics run on the whole volume, to the last bit of a float32:

* The Laplacian of a Gaussian is recursive (Deriche, INRIA RR-1893, 1993; as ITK has it): what it takes the image to
  be beyond the edge fades by exp(-1.7) with every sigma. With a margin of 14 sigmas four voxels in a hundred differ by
  the rounding of float32, and a feature near zero, such as a mean, by 1e-5 of its value; with 17 sigmas hardly one
  voxel differs. The margin of 5 voxels that pyradiomics has by default is one sigma of a 5 mm filter, and changes
  features by half of their value.
* The stationary wavelet transform reaches as far as its filter is long, and is periodic: near an edge of the volume it
  takes voxels from the opposite edge. There the whole axis is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.imaging.lesion import box_of
from common.study.preparation import Radiomics

Triple = tuple[int, int, int]
Box = tuple[Triple, Triple]
"""First voxel and number of voxels along x, y and z."""

LOG_REACH = 17
"""Reach of a Laplacian-of-Gaussian filter in sigmas."""

WAVELET_REACH = {"haar": 2, "db2": 4, "coif1": 6}
"""Reach of a wavelet in voxels: the length of its filters."""

LEAST = 4
"""Voxels along each axis that the recursive filter needs."""


def filter_box(
    whole_size: Triple, spacing: tuple[float, float, float], box_start: Triple, box_size: Triple, radiomics: Radiomics
) -> Box:
    """The part of a volume that all filters need for the voxels of a box.

    Parameters
    ----------
    whole_size, spacing
        Voxels of the whole volume along x, y and z, and their widths in mm.
    box_start, box_size
        The box in which filtered values are wanted, such as the bounding box of all regions.
    radiomics
        The filters.

    Returns
    -------
    First voxel and size of the part, in voxels of the whole volume.
    """
    sigma = max(radiomics.log_sigma_mm, default=0.0)
    part = log_box(whole_size, spacing, (box_start, box_size), sigma) if sigma else (box_start, box_size)
    if radiomics.wavelet == "none":
        return part
    return union([part, wavelet_box(whole_size, (box_start, box_size), radiomics.wavelet)])


def log_box(whole_size: Triple, spacing: tuple[float, ...], box: Box, sigma: float) -> Box:
    """The part that a Laplacian of a Gaussian of `sigma` mm needs."""
    return grown(whole_size, box, [max(math.ceil(LOG_REACH * sigma / width), LEAST) for width in spacing])


def wavelet_box(whole_size: Triple, box: Box, wavelet: str) -> Box:
    """The part that a wavelet needs: an axis along which it reaches an edge of the volume is kept whole."""
    reach = WAVELET_REACH[wavelet]
    start, size = grown(whole_size, box, [reach] * 3)
    for axis, (first, count, whole) in enumerate(zip(*box, whole_size, strict=True)):
        if first < reach or first + count + reach > whole:
            start = replaced(start, axis, 0)
            size = replaced(size, axis, whole)
    return start, size


def grown(whole_size: Triple, box: Box, margin: list[int]) -> Box:
    """A box with a margin on both sides of every axis, within the volume."""
    start = tuple(max(first - more, 0) for first, more in zip(box[0], margin, strict=True))
    stop = (
        min(first + count + more, whole) for first, count, more, whole in zip(*box, margin, whole_size, strict=True)
    )
    size = tuple(last - first for first, last in zip(start, stop, strict=True))
    return _triple(start), _triple(size)


def union(boxes: Iterable[Box]) -> Box:
    """The smallest box that holds all of one or more boxes."""
    corners = np.array([(start, np.add(start, size)) for start, size in boxes])
    start, stop = corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)
    return _triple(start), _triple(stop - start)


def bounding_box(mask: sitk.Image) -> Box | None:
    """The smallest box that holds a mask; none where it is empty."""
    spans = box_of(sitk.GetArrayViewFromImage(mask) != 0)
    if spans is None:
        return None
    return _triple(at.start for at in reversed(spans)), _triple(at.stop - at.start for at in reversed(spans))


def cropped(image: sitk.Image, box: Box) -> sitk.Image:
    """A box of an image."""
    part: sitk.Image = sitk.RegionOfInterest(image, size=box[1], index=box[0])
    return part


def inner(box: Box, outer: Box) -> Box:
    """A box in the voxels of another that holds it."""
    return _triple(np.subtract(box[0], outer[0])), box[1]


def replaced(triple: Triple, axis: int, value: int) -> Triple:
    """A triple with another value for one axis."""
    return _triple(value if i == axis else old for i, old in enumerate(triple))


def _triple(values: Iterable[int]) -> Triple:
    x, y, z = (int(value) for value in values)
    return x, y, z
