"""client/imaging: the slices and the rectangle in which a tumour is shown.

Everything here works on the voxels of one image in reading orientation, see `oriented`, without resampling: slices of
an oblique MR image stay the slices that were acquired. Lengths in a slice are in mm from the outer corner of its first
pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

Bits = NDArray[np.bool_]
Pair = tuple[float, float]
"""Along rows' direction of counting (down), then along columns' (to the right)."""

_READING = ("PIL", "LIP", "LPS")
"""Directions of columns, rows and slices of sagittal, coronal and axial images as they are read on a screen."""


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in the plane of slices, in mm from the outer corner of the first pixel.

    Attributes
    ----------
    top, bottom
        Limits along the rows.
    left, right
        Limits along the columns; of the picture, not of the patient.
    """

    top: float
    bottom: float
    left: float
    right: float

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def middle(self) -> Pair:
        """Half-way down and half-way to the right."""
        return (self.top + self.bottom) / 2, (self.left + self.right) / 2

    def enlarged(self, margin: tuple[float, float, float, float]) -> Rectangle:
        """With margins at the top, bottom, left and right."""
        top, bottom, left, right = margin
        return Rectangle(self.top - top, self.bottom + bottom, self.left - left, self.right + right)

    def within(self, extent: Pair) -> Rectangle:
        """What of it lies in a picture of this height and width."""
        height, width = extent
        return replace(
            self,
            top=max(self.top, 0.0),
            bottom=min(self.bottom, height),
            left=max(self.left, 0.0),
            right=min(self.right, width),
        )


def rectangle_overlap(first: Rectangle, second: Rectangle) -> float:
    """Intersection over union of two rectangles of the same image: 1 where they agree, 0 where they do not meet.

    For two readers, make the second reader's stack at the positions of the first one's, and with the same seed: then
    both rectangles lie on the same slices and have the same margins.
    """
    down = min(first.bottom, second.bottom) - max(first.top, second.top)
    across = min(first.right, second.right) - max(first.left, second.left)
    shared = max(down, 0.0) * max(across, 0.0)
    union = first.height * first.width + second.height * second.width - shared
    return shared / union if union > 0 else 0.0


def oriented(image: sitk.Image) -> sitk.Image:
    """The image with its axes swapped and reversed, never resampled, so that slices lie as they are read on a screen.

    Axial: the patient's left is on the right, the back is at the bottom, slices rise to the head. Coronal: the feet
    are at the bottom, slices go to the back. Sagittal: the back is on the right, slices go to the left. What an image
    counts as is told by the axis that its slices are stacked along.
    """
    normal = np.abs(np.reshape(image.GetDirection(), (3, 3))[:, 2])
    wanted = _READING[int(np.argmax(normal))]
    given = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    return image if given == wanted else sitk.DICOMOrient(image, wanted)


def choose_slices(tumour: Bits, pixel: Pair, count: int) -> tuple[int, ...]:
    """Consecutive slices around the one in which the tumour is widest.

    The widest slice is the one of the largest diameter in the plane, then of the larger area, then the lower one. It
    is in the middle, unless the tumour ends earlier on one side: then the others move to the side where there is more
    of it. Where it has fewer slices than asked for, its outermost slices are repeated.

    Parameters
    ----------
    tumour
        One lesion, (slices, rows, columns), not empty.
    pixel
        Distance of rows and of columns in mm.
    count
        How many slices.

    Returns
    -------
    tuple
        Indices, rising.
    """
    held = np.flatnonzero(tumour.any(axis=(1, 2))).tolist()
    widest = max(held, key=lambda k: (diameter(tumour[k], pixel), int(tumour[k].sum()), -k))
    first = last = widest
    while first - 1 in held:
        first -= 1
    while last + 1 in held:
        last += 1
    # A longer tumour holds the slices, a shorter one lies within them.
    low, high = sorted((first, last - count + 1))
    start = min(max(widest - (count - 1) // 2, low), high)
    return tuple(min(max(k, first), last) for k in range(start, start + count))


def diameter(outline: Bits, pixel: Pair) -> float:
    """The largest distance in mm between two points of a region in a plane, pixels taken with their corners."""
    rows = np.flatnonzero(outline.any(axis=1))
    starts = outline.argmax(axis=1)[rows]
    stops = outline.shape[1] - outline[:, ::-1].argmax(axis=1)[rows]
    # A row's outermost corners are enough: all others lie between them.
    corners = np.array([(row + down, at) for row, *ends in zip(rows, starts, stops, strict=True)
                        for at in ends for down in (0, 1)], dtype=np.float64)  # fmt: skip
    corners *= pixel
    return float(np.round(pdist(corners[ConvexHull(corners).vertices]).max(), 6))


def bounding_rectangle(outline: Bits, pixel: Pair) -> Rectangle:
    """The smallest rectangle that holds all pixels of a region, which is not empty, with their corners."""
    rows, columns = np.flatnonzero(outline.any(axis=1)), np.flatnonzero(outline.any(axis=0))
    down, across = pixel
    return Rectangle(
        float(rows[0] * down),
        float((rows[-1] + 1) * down),
        float(columns[0] * across),
        float((columns[-1] + 1) * across),
    )
