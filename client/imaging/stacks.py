"""client/imaging: ROI stacks: a few slices of the tumour, cut out and resized, as the CNN sees them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from client.imaging.rectangles import Pair, Rectangle, bounding_rectangle, choose_slices, oriented
from common.errors import FedmviError
from common.study.preparation import Stacks

Floats = NDArray[np.float32]
Point = tuple[float, float, float]
"""In DICOM's patient coordinates, in mm."""
Margin = tuple[float, float, float, float]
"""At the top, bottom, left and right."""

_SIDES = (b"top", b"bottom", b"left", b"right")


@dataclass(frozen=True, eq=False)
class Stack:
    """A tumour's slices of one image, as acquired: neither corrected for bias nor normalised nor clipped.

    Attributes
    ----------
    pixels
        (slices, size, size) of float32.
    slices
        Their indices in the image in reading orientation (`rectangles.oriented`), rising, the same one where repeated.
    at_mm
        The middle of the rectangle on each slice, in the patient's coordinates: where other images look for theirs.
    shows_tumour
        Whether the tumour meets each slice.
    repeated
        Whether a slice stands for another: the tumour, or the image at these positions, has fewer.
    rectangle
        What is shown, after the image's border was respected.
    margin_mm
        What was drawn for the top, bottom, left and right.
    clamped
        Whether the image's border took part of the margin away.
    placed
        First row, first column, rows and columns of `pixels` that show the image; what lies around them was padded
        with the first of `percentiles`.
    percentiles
        The body's intensities at the percentiles `LANDMARKS`, for whoever normalises.
    """

    pixels: Floats
    slices: tuple[int, ...]
    at_mm: tuple[Point, ...]
    shows_tumour: tuple[bool, ...]
    repeated: bool
    rectangle: Rectangle
    margin_mm: Margin
    clamped: bool
    placed: tuple[int, int, int, int]
    percentiles: tuple[float, ...]


def make_stack(
    image: sitk.Image,
    tumour: sitk.Image,
    settings: Stacks,
    seed: bytes,
    percentiles: tuple[float, ...],
    at_mm: tuple[Point, ...] | None = None,
) -> Stack:
    """Cut the slices of a tumour out of an image.

    One rectangle serves all slices: what bounds the tumour on any of them, enlarged by a margin on each side. With
    `margin = "mm"` it is sampled at a common pixel width before it is resized, so that images of fine and of coarse
    pixels look alike; `published` keeps the image's own pixels. Interpolation is linear, beyond the outermost pixels
    as at their middle. Padding keeps true proportions in mm; the padding has the body's first percentile, which every
    later normalisation maps to the same number. With `fit = "stretch"` nothing is padded.

    Parameters
    ----------
    image
        As acquired.
    tumour
        The index lesion (`lesion.index_lesion`), 0 and 1, on the image's grid.
    settings
        The protocol's.
    seed
        Secret bytes that decide the margin; the same seed gives the same margin, in mm or in pixels, on every image.
    percentiles
        `intensity.body_percentiles` of the image as it is.
    at_mm
        `Stack.at_mm` of the reference image: this image's slices nearest to these points are taken, matched by table
        position and not by the tumour, which breathing moves. None: the slices where the tumour is widest.

    Raises
    ------
    FedmviError
        381 where the tumour is empty on this image.
    ValueError
        Where image and mask differ in size.
    """
    if image.GetSize() != tumour.GetSize():
        raise ValueError(f"the mask has {tumour.GetSize()} voxels and the image {image.GetSize()}")
    image, tumour = oriented(image), oriented(tumour)
    voxels, held = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(tumour) != 0
    if not held.any():
        raise FedmviError(381, "the tumour has no voxel on the image")
    across, down, _ = image.GetSpacing()
    pixel = (down, across)
    slices = choose_slices(held, pixel, settings.slices) if at_mm is None else _nearest(image, at_mm)
    shown = tuple(bool(held[k].any()) for k in slices)
    # Where breathing has moved the tumour away from all of these positions, the rectangle is that of the whole tumour.
    outline = (held[list(slices)] if any(shown) else held).any(axis=0)
    margin = _margin(settings, seed, pixel)
    wished = bounding_rectangle(outline, pixel).enlarged(margin)
    rectangle = wished.within((voxels.shape[1] * down, voxels.shape[2] * across))
    step = (settings.spacing_mm, settings.spacing_mm) if settings.margin == "mm" else pixel
    cut = np.stack([_cut(voxels[k], rectangle, pixel, step) for k in slices])
    pixels, placed = _resized(cut, step, settings, percentiles[0])
    return Stack(
        pixels=pixels,
        slices=slices,
        at_mm=tuple(_point(image, rectangle, k) for k in slices),
        shows_tumour=shown,
        repeated=len(set(slices)) < len(slices),
        rectangle=rectangle,
        margin_mm=margin,
        clamped=rectangle != wished,
        placed=placed,
        percentiles=percentiles,
    )


def _nearest(image: sitk.Image, at_mm: tuple[Point, ...]) -> tuple[int, ...]:
    """The slices that lie nearest to points; the image's first or last where they lie beyond it."""
    last = image.GetSize()[2] - 1
    places = (image.TransformPhysicalPointToContinuousIndex(point)[2] for point in at_mm)
    # Half-way between two slices is rounded up, whatever the last digits of the position.
    return tuple(sorted(min(max(int(np.floor(place + 0.5 + 1e-6)), 0), last) for place in places))


def _point(image: sitk.Image, rectangle: Rectangle, at: int) -> Point:
    (down, across), (width, height, _) = rectangle.middle, image.GetSpacing()
    x, y, z = image.TransformContinuousIndexToPhysicalPoint((across / width - 0.5, down / height - 0.5, float(at)))
    return float(x), float(y), float(z)


def _margin(settings: Stacks, seed: bytes, pixel: Pair) -> Margin:
    """A margin for each side, uniform between the limits; in whole pixels, both limits included, where published."""
    shares = [int.from_bytes(hashlib.sha256(side + b"|" + seed).digest()[:8], "big") / 2**64 for side in _SIDES]
    if settings.margin == "mm":
        low, high = settings.margin_mm
        drawn = [low + (high - low) * share for share in shares]
    else:
        first, last = settings.margin_pixels
        steps = (pixel[0], pixel[0], pixel[1], pixel[1])
        drawn = [step * (first + int(share * (last - first + 1))) for step, share in zip(steps, shares, strict=True)]
    top, bottom, left, right = drawn
    return top, bottom, left, right


def _cut(plane: NDArray[np.generic], rectangle: Rectangle, pixel: Pair, step: Pair) -> Floats:
    """A rectangle of a slice at a pixel width: as many whole pixels as it holds, around its middle."""
    places = []
    for middle, length, width, native in zip(
        rectangle.middle, (rectangle.height, rectangle.width), step, pixel, strict=True
    ):
        count = max(round(length / width), 1)
        places.append((middle + (np.arange(count) - (count - 1) / 2) * width) / native - 0.5)
    return _at(plane, places[0], places[1])


def _resized(cut: Floats, step: Pair, settings: Stacks, padding: float) -> tuple[Floats, tuple[int, int, int, int]]:
    """Slices brought to the protocol's size, and where in it they lie."""
    size = settings.size
    rows = columns = size
    if settings.fit == "pad":
        height, width = cut.shape[1] * step[0], cut.shape[2] * step[1]
        rows, columns = (max(round(size * length / max(height, width)), 1) for length in (height, width))
    first, left = (size - rows) // 2, (size - columns) // 2
    pixels = np.full((len(cut), size, size), padding, dtype=np.float32)
    down = (np.arange(rows) + 0.5) * (cut.shape[1] / rows) - 0.5
    across = (np.arange(columns) + 0.5) * (cut.shape[2] / columns) - 0.5
    for target, plane in zip(pixels, cut, strict=True):
        target[first : first + rows, left : left + columns] = _at(plane, down, across)
    return pixels, (first, left, rows, columns)


def _at(plane: NDArray[np.generic], rows: NDArray[np.floating], columns: NDArray[np.floating]) -> Floats:
    """A plane at fractional rows and columns, by linear interpolation."""
    places = np.meshgrid(rows, columns, indexing="ij")
    values: Floats = ndimage.map_coordinates(
        plane.astype(np.float64), places, order=1, mode="nearest", output=np.float32
    )
    return values
