"""client/images/checking: pictures of a patient: each phase in the slice where the tumour is widest, with its outlines.

A picture shows a plane of the patient as radiologists look at it: of axial slices the patient's right is on the left.
All phases are sampled on one plane in the scanner's coordinates, so that a patient who moved is seen to have moved.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from client.images.case import MaskKey, Scan
from client.images.checking.coarse import box_around, coarse_image, millilitres
from client.imaging.intensity import body_mask
from common.errors import FedmviError
from common.study.preparation import Modality, Preparation

CT_WINDOW = (-160.0, 240.0)
"""Level 40 HU, width 400 HU: abdominal soft tissue."""
MR_WINDOW = (1.0, 99.5)
"""Percentiles of the plane that are black and white."""
COLOURS = {"tumour": (255, 64, 64), "liver": (60, 210, 120)}
SECOND_READER = (255, 215, 60)
OTHER = (90, 175, 255)

_SERIES = frozenset({"t1", "t1a", "t1v", "t1d", "hepatobiliary"})
"""Phases of one dynamic series share a window, so that enhancement shows."""
_WIDTH = 420
_DASH = 5
_MARGIN_MM = 8.0
_NEAR_MM = 25.0
_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Panel:
    """A picture for a page: a data URI, and words for it."""

    source: str
    title: str
    note: str


@dataclass(frozen=True)
class Plane:
    """A grid of square pixels of one slice.

    Attributes
    ----------
    grid
        One slice whose columns and rows run as on a screen.
    letters
        What lies at the left and the right of the picture: `R`, `L`, `A`, `P`, `F` or `H`.
    """

    grid: sitk.Image
    letters: tuple[str, str]


def panels_of(scan: Scan, preparation: Preparation) -> tuple[Panel, ...]:
    """Every phase with the outlines, then the tumour enlarged; empty where no image could be read.

    Outlines are those drawn on the phase; on a phase without any, those of the reference phase are shown where they
    would lie if the patient had not moved.
    """
    if not scan.images:
        return ()
    base = _base(scan, preparation.reference)
    image = scan.images[base].image
    tumour = scan.mask("tumour", base)
    k = _widest(image, tumour)
    plane = _plane(image, _extent(image, preparation.modality, k))
    shown = {phase: _sampled(read.image, plane) for phase, read in scan.images.items()}
    where = f"slice {k + 1} of {image.GetSize()[2]} at {_height(image, k):.0f} mm"
    panels = []
    for phase, values in shown.items():
        masks = _masks(scan, phase, base)
        source = _picture(plane, values, _window(phase, shown, preparation.modality), masks, bar_mm=50)
        panels.append(Panel(source, phase, _note(scan, phase, base, where)))
    if tumour is not None and sitk.GetArrayViewFromImage(tumour).any():
        near = _plane(image, _around(tumour, k))
        window = _window(base, shown, preparation.modality)
        source = _picture(near, _sampled(image, near), window, _masks(scan, base, base), bar_mm=10)
        volume = millilitres(tumour, int((sitk.GetArrayViewFromImage(tumour) != 0).sum()))
        panels.append(Panel(source, f"{base}, enlarged", f"tumour of {volume:.3g} mL"))
    return tuple(panels)


def _base(scan: Scan, reference: str) -> str:
    """The phase whose slice is shown: the reference, or else one with a tumour."""
    outlined = [phase for region, _, phase in scan.masks if region == "tumour" and phase in scan.images]
    if reference in scan.images and (reference in outlined or not outlined):
        return reference
    return outlined[0] if outlined else next(iter(scan.images))


def _widest(image: sitk.Image, tumour: sitk.Image | None) -> int:
    """The slice with the largest area of tumour; the middle one where there is none."""
    if tumour is None:
        return int(image.GetSize()[2]) // 2
    areas = np.count_nonzero(sitk.GetArrayViewFromImage(tumour), axis=(1, 2))
    return int(np.argmax(areas)) if areas.any() else int(image.GetSize()[2]) // 2


def _height(image: sitk.Image, k: int) -> float:
    """The position of a slice along the axis of the patient that is nearest to its normal."""
    normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    axis = int(np.argmax(np.abs(normal)))
    centre = [(n - 1) / 2 for n in image.GetSize()[:2]]
    return float(image.TransformContinuousIndexToPhysicalPoint([*centre, k])[axis])


def _note(scan: Scan, phase: str, base: str, where: str) -> str:
    image = scan.images[phase].image
    x, y, z = image.GetSpacing()
    fine = f"{x:.2g} × {y:.2g} × {z:.2g} mm, {image.GetSize()[2]} slices"
    drawn = [key for key in scan.masks if key[2] == phase]
    if phase == base:
        return f"{where}; {fine}"
    return fine if drawn or not _keys(scan, base) else f"{fine}; outlines of {base}"


# ------------------------------------------------------------------------------------------------------------ the plane


def _extent(image: sitk.Image, modality: Modality, k: int) -> NDArray[np.float64]:
    """Corners (4, 3) in mm of the part of a slice with the body in it."""
    columns, rows = image.GetSize()[:2]
    box = (-0.5, columns - 0.5, -0.5, rows - 0.5)
    try:
        coarse = coarse_image(image, 4.0)
        body = sitk.GetArrayFromImage(body_mask(coarse, modality)).any(axis=0)
    except FedmviError:
        body = np.zeros((1, 1), bool)
    if body.any():
        scale = columns / coarse.GetSize()[0], rows / coarse.GetSize()[1]
        _, down, across = box_around(np.asarray(body)[None])
        margin = [_MARGIN_MM / spacing for spacing in image.GetSpacing()[:2]]
        left, right = (at * scale[0] - 0.5 for at in (across.start, across.stop))
        top, bottom = (at * scale[1] - 0.5 for at in (down.start, down.stop))
        box = (
            max(box[0], left - margin[0]), min(box[1], right + margin[0]),
            max(box[2], top - margin[1]), min(box[3], bottom + margin[1]),
        )  # fmt: skip
    return _corners(image, k, box)


def _around(tumour: sitk.Image, k: int) -> NDArray[np.float64]:
    """Corners of a square around the tumour in one slice."""
    _, down, across = box_around(sitk.GetArrayViewFromImage(tumour)[k : k + 1])
    x, y = tumour.GetSpacing()[:2]
    half = max((across.stop - across.start) * x, (down.stop - down.start) * y) / 2 + _NEAR_MM
    i, j = (across.start + across.stop - 1) / 2, (down.start + down.stop - 1) / 2
    return _corners(tumour, k, (i - half / x, i + half / x, j - half / y, j + half / y))


def _corners(image: sitk.Image, k: int, box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    left, right, top, bottom = box
    places = [(i, j, float(k)) for i in (left, right) for j in (top, bottom)]
    return np.array([image.TransformContinuousIndexToPhysicalPoint(place) for place in places])


def _plane(image: sitk.Image, corners: NDArray[np.float64]) -> Plane:
    """The plane of a slice, turned as it is usually looked at."""
    first, second, normal = np.array(image.GetDirection()).reshape(3, 3).T
    # On the right and below: axial left and back, coronal left and feet, sagittal back and feet.
    facing = int(np.argmax(np.abs(normal)))
    across, down, upside = {2: (0, 1, 1), 1: (0, 2, -1), 0: (1, 2, -1)}[facing]
    column, row = (first, second) if abs(first[across]) >= abs(second[across]) else (second, first)
    column = column * (np.sign(column[across]) or 1.0)
    row = row * (upside * np.sign(row[down]) or 1.0)
    x, y = corners @ column, corners @ row
    pixel = max(float(np.ptp(x)), float(np.ptp(y))) / _WIDTH
    grid = sitk.Image(
        [max(1, round(float(np.ptp(x)) / pixel)), max(1, round(float(np.ptp(y)) / pixel)), 1], sitk.sitkUInt8
    )
    grid.SetSpacing([pixel, pixel, 1.0])
    grid.SetDirection(np.stack([column, row, np.cross(column, row)], axis=1).ravel().tolist())
    on_plane = corners[0] - column * (x[0] - x.min()) - row * (y[0] - y.min())
    grid.SetOrigin((on_plane + (column + row) * pixel / 2).tolist())
    return Plane(grid, _LETTERS[across])


def _sampled(image: sitk.Image, plane: Plane) -> Floats:
    """(rows, columns) by linear interpolation; NaN outside of the image."""
    found = sitk.Resample(image, plane.grid, sitk.Transform(), sitk.sitkLinear, float("nan"), sitk.sitkFloat32)
    return np.asarray(sitk.GetArrayFromImage(found)[0], np.float32)


# ---------------------------------------------------------------------------------------------------------- the picture


def _window(phase: str, shown: dict[str, Floats], modality: Modality) -> tuple[float, float]:
    if modality == "ct":
        return CT_WINDOW
    together = [values for name, values in shown.items() if name == phase or {name, phase} <= _SERIES]
    values = np.concatenate([v[np.isfinite(v)] for v in together])
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, MR_WINDOW)
    return float(low), max(float(high), float(low) + 1e-6)


def _keys(scan: Scan, phase: str) -> list[MaskKey]:
    """Outlines of a phase, the tumour last so that it lies on top."""
    return sorted((key for key in scan.masks if key[2] == phase), key=lambda key: (key[0] == "tumour", -key[1]))


def _masks(scan: Scan, phase: str, base: str) -> list[tuple[MaskKey, sitk.Image]]:
    keys = _keys(scan, phase) or _keys(scan, base)
    return [(key, scan.masks[key]) for key in keys]


def _picture(
    plane: Plane,
    values: Floats,
    window: tuple[float, float],
    masks: Sequence[tuple[MaskKey, sitk.Image]],
    bar_mm: int,
) -> str:
    """A plane in grey with outlines, sides and a scale bar, as a data URI."""
    low, high = window
    grey = np.nan_to_num(np.clip((values - low) / (high - low), 0, 1), nan=0.0)
    pixels = np.repeat(np.rint(255 * grey).astype(np.uint8)[..., None], 3, axis=2)
    for key, mask in masks:
        inside = np.nan_to_num(_sampled(mask, plane)) >= 0.5
        pixels[_outline(inside, dashed=key[1] > 1)] = colour_of(key)
    picture = Image.fromarray(pixels)
    _mark(picture, plane, bar_mm)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=85, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def colour_of(key: MaskKey) -> tuple[int, int, int]:
    """The colour of an outline; a second reader's has its own."""
    return SECOND_READER if key[1] > 1 else COLOURS.get(key[0], OTHER)


def _outline(inside: Bools, dashed: bool) -> Bools:
    """The edge of a region, two pixels wide."""
    edge: Bools = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside, border_value=1)
    if dashed:
        rows, columns = np.indices(inside.shape)
        edge &= (rows // _DASH + columns // _DASH) % 2 == 0
    return edge


def _mark(picture: Image.Image, plane: Plane, bar_mm: int) -> None:
    """The sides of the patient, and a bar of so many millimetres."""
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    font = ImageFont.load_default(size=21)
    style: dict[str, Any] = {"fill": "white", "font": font, "stroke_width": 2, "stroke_fill": "black"}
    for letter, x in zip(plane.letters, (12, width - 12), strict=True):
        draw.text((x, height / 2), letter, anchor="mm", **style)
    length = bar_mm / plane.grid.GetSpacing()[0]
    right, low = width - 10, height - 12
    draw.line((right - length, low, right, low), fill="black", width=7)
    draw.line((right - length, low, right, low), fill="white", width=3)
    draw.text((right, low - 7), f"{bar_mm} mm", anchor="rb", **style)
