"""client/imaging: a page of ROI stacks, so that a person sees what the CNN will see. It stays at the hospital."""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from client.imaging.rectangles import oriented
from client.imaging.stacks import Stack
from common.files import write_whole
from common.study.preparation import Modality

_SOFT_TISSUE_HU = (-160.0, 240.0)
_RANGE = (0.5, 99.5)
_WHOLE_HEIGHT = 200
"""Pixels of a whole slice on the page; its width follows from its proportions in mm."""
_STACK_SIDE = 112
_GAP, _BETWEEN = 4, 60  # grey, so that a gap is not taken for padding
_LINE = (240, 228, 66)  # Okabe & Ito's yellow, which shows on grey
_EDGE = (0, 0, 0)
_STYLE = """
:root { color-scheme: dark; }
body { margin: 1.5rem; background: #15171a; color: #e8e8e8; font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
p { max-width: 60rem; margin: .2rem 0 1rem; color: #c3c7cc; }
.scroll { overflow-x: auto; }
table { border-collapse: separate; border-spacing: .9rem .6rem; margin-left: -.9rem; }
thead th { position: sticky; top: 0; background: #15171a; text-align: left; }
th[scope=row] { text-align: left; vertical-align: top; white-space: nowrap; }
td { vertical-align: top; }
img { display: block; background: #000; margin-bottom: .25rem; }
.note { color: #c3c7cc; font-size: .82rem; max-width: 22rem; }
.flag { color: #f0e442; font-size: .82rem; font-weight: 600; max-width: 22rem; }
"""


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
    patients = list(dict.fromkeys(shown.patient for shown in previews))
    phases = list(dict.fromkeys(shown.phase for shown in previews))
    drawn = {(shown.patient, shown.phase): shown for shown in previews}
    head = "".join(f'<th scope="col">{html.escape(phase)}</th>' for phase in phases)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(patient)}</th>'
        + "".join(_cell(drawn.get((patient, phase))) for phase in phases)
        + "</tr>\n"
        for patient in patients
    )
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'sha256-{digest}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>ROI stacks</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>ROI stacks</h1>
<p>{_count(len(patients), "patient")}. Above: the middle slice with its rectangle; axial slices have the patient's right
on the left. Below: the slices as they are stored, before intensities are changed. Pictures of patients: keep this page
inside the hospital.</p>
<div class="scroll"><table>
<thead><tr><td></td>{head}</tr></thead>
<tbody>
{rows}</tbody>
</table></div>
</body>
</html>
"""
    write_whole(path, page.encode())


def _cell(shown: Preview | None) -> str:
    if shown is None:
        return '<td><p class="note">No stack.</p></td>'
    who = html.escape(f"{shown.patient}, {shown.phase}")
    flags = "".join(f'<div class="flag">{html.escape(flag)}</div>' for flag in shown.flags)
    return (
        f'<td><img alt="Slice with rectangle: {who}" src="{_uri(shown.whole)}">'
        f'<img alt="ROI stack: {who}" src="{_uri(shown.stack)}">'
        f'<div class="note">{html.escape(shown.note)}</div>{flags}</td>'
    )


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
    return _png(picture)


def _side_by_side(stack: Stack, window: tuple[float, float]) -> bytes:
    count = len(stack.slices)
    sheet = Image.new("L", (count * (_STACK_SIDE + _GAP) - _GAP, _STACK_SIDE), _BETWEEN)
    for place, plane in enumerate(stack.pixels):
        small = Image.fromarray(_grey(plane, window)).resize((_STACK_SIDE, _STACK_SIDE), Image.Resampling.BILINEAR)
        sheet.paste(small, (place * (_STACK_SIDE + _GAP), 0))
    return _png(sheet)


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


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
