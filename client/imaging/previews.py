"""client/imaging: a page of ROI stacks, so that a person sees what the CNN will see. It stays at the hospital."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.imaging.gallery import Shown, as_png, write_gallery
from client.imaging.rectangles import oriented
from client.imaging.stacks import Stack
from common.study.preparation import Modality

_SOFT_TISSUE_HU = (-160.0, 240.0)
_RANGE = (0.5, 99.5)
_WHOLE_HEIGHT = 200
"""Pixels of a whole slice on the page; its width follows from its proportions in mm."""
_STACK_SIDE = 112
_GAP, _BETWEEN = 4, 60  # grey, so that a gap is not taken for padding
_LINE = (240, 228, 66)  # Okabe & Ito's yellow, which shows on grey
_EDGE = (0, 0, 0)


@dataclass(frozen=True)
class Preview:
    """One stack of one patient, drawn.

    Attributes
    ----------
    patient, phase
        Whose, and of which image.
    whole
        PNG of the middle slice with its rectangle.
    stack
        PNG of all slices of the stack, side by side.
    note
        Which slices they are.
    flags
        What a person should look at; empty where there is nothing.
    """

    patient: str
    phase: str
    whole: bytes
    stack: bytes
    note: str
    flags: tuple[str, ...]


def preview(patient: str, phase: str, image: sitk.Image, stack: Stack, modality: Modality) -> Preview:
    """Draw a stack, and where it was cut out.

    CT is shown from -160 to 240 HU; MR between the first and the last of the body's percentiles where a slice is shown
    as a whole, and over its own range where the stack is, since a liver near the coil may be the brightest there is.

    Parameters
    ----------
    patient, phase
        Whose, and of which image.
    image
        The image that the stack was cut out of.
    stack
        As `stacks.make_stack` made it.
    modality
        `ct` or `mr`.
    """
    window = _SOFT_TISSUE_HU if modality == "ct" else (stack.percentiles[0], stack.percentiles[-1])
    image = oriented(image)
    at = stack.slices[len(stack.slices) // 2]
    plane = sitk.GetArrayViewFromImage(image)[at]
    numbers = ", ".join(str(k + 1) for k in stack.slices)
    note = f"Slices {numbers} of {image.GetSize()[2]}; {stack.rectangle.width:.0f} × {stack.rectangle.height:.0f} mm"
    return Preview(
        patient=patient,
        phase=phase,
        whole=_whole(plane, image.GetSpacing(), stack, window),
        stack=_side_by_side(stack, window if modality == "ct" else _range(stack)),
        note=note,
        flags=tuple(_flags(stack)),
    )


def stack_previews(path: Path, previews: Sequence[Preview]) -> None:
    """Write the page: a row for every patient, a column for every phase, in the order in which they first come.

    The page holds its pictures, runs no script, and loads nothing. It is readable by its owner only.

    Parameters
    ----------
    path
        Where it is written.
    previews
        As `preview` draws them.

    Raises
    ------
    OSError
        Where the file cannot be written.
    """
    shown = {
        (each.patient, each.phase): Shown(
            {"Slice with rectangle": each.whole, "ROI stack": each.stack}, each.note, each.flags
        )
        for each in previews
    }
    words = (
        "Above: the middle slice with its rectangle; axial slices have the patient's right on the left. "
        "Below: the slices as they are stored, before intensities are changed."
    )
    write_gallery(path, "ROI stacks", words, shown, "No stack.")


def _flags(stack: Stack) -> list[str]:
    flags = []
    if not any(stack.shows_tumour):
        flags.append("The tumour's outline meets none of these slices.")
    elif not all(stack.shows_tumour):
        flags.append(f"The tumour's outline meets {sum(stack.shows_tumour)} of {len(stack.slices)} slices.")
    if stack.repeated:
        flags.append("A slice is repeated.")
    if stack.clamped:
        flags.append("The image's border cuts the margin.")
    return flags


def _whole(plane: NDArray[np.generic], spacing: Sequence[float], stack: Stack, window: tuple[float, float]) -> bytes:
    """A slice in true proportions with the rectangle, in yellow between black."""
    across, down = spacing[0], spacing[1]
    scale = _WHOLE_HEIGHT / (plane.shape[0] * down)
    picture = Image.fromarray(_grey(plane, window)).resize(
        (max(round(plane.shape[1] * across * scale), 1), _WHOLE_HEIGHT), Image.Resampling.BILINEAR
    )
    picture = picture.convert("RGB")
    box = stack.rectangle
    left, top, right, bottom = (round(mm * scale) for mm in (box.left, box.top, box.right, box.bottom))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_EDGE, width=3)
    draw.rectangle((left, top, right, bottom), outline=_LINE)
    return as_png(picture)


def _side_by_side(stack: Stack, window: tuple[float, float]) -> bytes:
    count = len(stack.slices)
    sheet = Image.new("L", (count * (_STACK_SIDE + _GAP) - _GAP, _STACK_SIDE), _BETWEEN)
    for place, plane in enumerate(stack.pixels):
        small = Image.fromarray(_grey(plane, window)).resize((_STACK_SIDE, _STACK_SIDE), Image.Resampling.BILINEAR)
        sheet.paste(small, (place * (_STACK_SIDE + _GAP), 0))
    return as_png(sheet)


def _range(stack: Stack) -> tuple[float, float]:
    """Nearly the lowest and the highest value that a stack shows."""
    first, left, rows, columns = stack.placed
    shown = stack.pixels[:, first : first + rows, left : left + columns]
    low, high = (float(value) for value in np.percentile(shown, _RANGE))
    return (low, high) if low < high else (low - 1, low + 1)


def _grey(plane: NDArray[np.generic], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    shares = (plane.astype(np.float64) - low) / (high - low)
    return np.asarray(np.rint(255 * np.clip(shares, 0, 1)), dtype=np.uint8)
