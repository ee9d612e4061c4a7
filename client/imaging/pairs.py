"""client/imaging: a picture of two phases, before and after registration, by which a person sees what it is worth.

Fields of the reference phase and of the other one lie beside each other as on a chessboard: where they fit, edges run
on from field to field.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from client.imaging.gallery import Shown, as_png
from client.imaging.lesion import box_of
from client.imaging.quality import PairQuality
from client.imaging.rectangles import oriented
from client.imaging.registration import CLIP_HU, CLIP_PERCENTILES, Registered
from client.imaging.resampling import Grid
from common.study.preparation import Modality

PAIR = "pair.png"
ACROSS_MM, DOWN_MM = 260.0, 200.0
"""Of each picture, around the tumour."""
_PIXEL_MM = 1.3
_FIELD = 20
"""Pixels of a field."""
_GAP, _BETWEEN = 4, 60
_HERE, _THERE = (240, 228, 66), (86, 180, 233)
"""Okabe & Ito's yellow for the outline on the reference phase, and their blue for that on the other."""


def draw_pair(
    fixed: sitk.Image,
    moving: sitk.Image,
    registered: Registered,
    tumour: sitk.Image | None,
    other: sitk.Image | None,
    modality: Modality,
) -> bytes:
    """Four chessboards: above an axial, below a coronal plane through the tumour; left as scanned, right registered.

    Parameters
    ----------
    fixed, moving
        The reference phase and the other one.
    registered
        The way from the one to the other.
    tumour, other
        The tumour's outline on the reference phase (yellow) and on the other one (blue), where there are any. Without
        the first, planes go through the middle of the image.
    modality
        `ct` is shown from -200 to 300 HU, `mr` between the percentiles 1 and 99 of each plane.

    Returns
    -------
    bytes
        PNG.
    """
    ways = (sitk.Transform(3, sitk.sitkIdentity), registered.transform)
    rows = []
    for plane in _planes(oriented(fixed), None if tumour is None else oriented(tumour)):
        here = _grey(_sampled(fixed, plane, ways[0], sitk.sitkLinear), modality)
        yellow = _edge(tumour, plane, ways[0])
        tiles = [
            _chessboard(here, _grey(_sampled(moving, plane, way, sitk.sitkLinear), modality), yellow,
                        _edge(other, plane, way))
            for way in ways
        ]  # fmt: skip
        rows.append(np.concatenate([tiles[0], np.full((tiles[0].shape[0], _GAP, 3), _BETWEEN, np.uint8), tiles[1]], 1))
    return as_png(Image.fromarray(np.concatenate([rows[0], np.full((_GAP, *rows[0].shape[1:]), _BETWEEN, np.uint8),
                                                  rows[1]])))  # fmt: skip


def shown_pair(folder: Path, quality: PairQuality) -> Shown:
    """A pair on a page, from the folder of its registration."""
    note = f"{quality.method}; NMI {quality.nmi_before:.3f} as scanned, {quality.nmi_after:.3f} as used"
    for name, value in (("livers", quality.dice_liver), ("tumours", quality.dice_tumour)):
        note += "" if value is None else f"; overlap of the {name} {value:.2f}"
    flags = (f"{quality.fell_back[0].upper()}{quality.fell_back[1:]}.",) if quality.fell_back else ()
    return Shown({"As scanned and registered": (folder / PAIR).read_bytes()}, note, flags)


def _planes(fixed: sitk.Image, tumour: sitk.Image | None) -> tuple[Grid, Grid]:
    """An axial and a coronal plane of an image whose axes run to the left, to the back and to the head."""
    middle = [(n - 1) / 2 for n in fixed.GetSize()]
    box = None if tumour is None else box_of(sitk.GetArrayViewFromImage(tumour) != 0)
    if box is not None:
        middle = [(span.start + span.stop - 1) / 2 for span in reversed(box)]
    centre = np.array(fixed.TransformContinuousIndexToPhysicalPoint(middle))
    left, back, head = np.reshape(fixed.GetDirection(), (3, 3)).T
    return _plane(centre, left, back, head), _plane(centre, left, -head, back)


def _plane(
    centre: NDArray[np.float64], across: NDArray[np.float64], down: NDArray[np.float64], through: NDArray[np.float64]
) -> Grid:
    size = (round(ACROSS_MM / _PIXEL_MM), round(DOWN_MM / _PIXEL_MM), 1)
    first = centre - across * (size[0] - 1) / 2 * _PIXEL_MM - down * (size[1] - 1) / 2 * _PIXEL_MM
    direction = np.stack([across, down, through], axis=1).ravel()
    x, y, z = (float(value) for value in first)
    return Grid(size, (_PIXEL_MM, _PIXEL_MM, _PIXEL_MM), (x, y, z), tuple(float(value) for value in direction))


def _sampled(image: sitk.Image, plane: Grid, way: sitk.Transform, how: int) -> NDArray[np.float64]:
    found = sitk.Resample(
        image, plane.size, way, how, plane.origin, plane.spacing, plane.direction, float("nan"), sitk.sitkFloat64
    )
    values: NDArray[np.float64] = sitk.GetArrayFromImage(found)[0]
    return values


def _grey(values: NDArray[np.float64], modality: Modality) -> NDArray[np.uint8]:
    """0 to 255; black where there is no image."""
    low, high = CLIP_HU
    known = values[np.isfinite(values)]
    if modality == "mr":
        low, high = np.percentile(known, CLIP_PERCENTILES) if known.size else (0.0, 1.0)
    shares = np.clip((values - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    return np.rint(255 * np.nan_to_num(shares, nan=0.0)).astype(np.uint8)


def _edge(mask: sitk.Image | None, plane: Grid, way: sitk.Transform) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    inside = np.nan_to_num(_sampled(mask, plane, way, sitk.sitkNearestNeighbor)) > 0
    edge: NDArray[np.bool_] = inside & ~ndimage.binary_erosion(inside)
    return edge


def _chessboard(
    here: NDArray[np.uint8],
    there: NDArray[np.uint8],
    yellow: NDArray[np.bool_] | None,
    blue: NDArray[np.bool_] | None,
) -> NDArray[np.uint8]:
    """(rows, columns, 3) the fields of two planes in turn, with outlines."""
    rows, columns = np.indices(here.shape)
    picture = np.where((rows // _FIELD + columns // _FIELD) % 2 == 0, here, there)[..., None].repeat(3, axis=2)
    for edge, colour in ((blue, _THERE), (yellow, _HERE)):
        if edge is not None:
            picture[edge] = colour
    return picture
