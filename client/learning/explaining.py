"""client/learning: pictures of what the network looked at in a few patients; they show patients, and stay here."""

from __future__ import annotations

import base64
import hashlib
import io
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.files import write_whole

PAGE = "explained.html"
MOST = 3
"""Patients with the highest scores that are shown, and as many with the lowest."""

_SIDE = 160
"""Pixels of a slice on a picture."""
_GAP, _BETWEEN = 4, 60  # grey, so that a gap is not taken for padding
_RANGE = (0.5, 99.5)
_HEAT = (240.0, 228.0, 66.0)  # Okabe & Ito's yellow, which shows on grey
_OPAQUE = 0.75
"""How much of the grey the hottest pixel hides."""


@dataclass(frozen=True)
class Explained:
    """A patient with a score, and where the network saw it.

    Attributes
    ----------
    patient
        Whose.
    score
        Probability that MVI is present.
    slices, heat
        (k, s, h, w): the stacks as stored, and their maps (`grad_cam.heat_maps`).
    present
        (k,) False where the patient lacks the sequence.
    """

    patient: str
    score: float
    slices: NDArray[np.float32]
    heat: NDArray[np.float32]
    present: NDArray[np.bool_]


def extremes(ids: Sequence[str], scores: NDArray[np.float64], most: int = MOST) -> list[int]:
    """Who is shown: the highest scores, highest first, then the lowest, lowest last; nobody twice, no NaN."""
    scored = [i for i in range(len(ids)) if np.isfinite(scores[i])]
    ranked = sorted(scored, key=lambda i: (-scores[i], ids[i]))
    return ranked if len(ranked) <= 2 * most else [*ranked[:most], *ranked[-most:]]


def write_page(
    folder: Path, title: str, sequences: Sequence[str], shown: Sequence[Explained], *, simulated: bool
) -> None:
    """Write `<patient>.png` of each patient and one page with all of them, readable by their owner only.

    Parameters
    ----------
    folder
        Where; it exists.
    title
        What the network and the cohort are called.
    sequences
        The branches, in the order of `Explained.slices`.
    shown
        In the order of the page.
    simulated
        Whether the site's patients are made up; the page says so.
    """
    pictures = [(patient, draw(patient)) for patient in shown]
    for patient, png in pictures:
        write_whole(folder / f"{patient.patient}.png", png)
    written = tomllib.loads(files("client.learning").joinpath("explained.toml").read_text(encoding="utf-8"))
    css = written["style"]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string(written["page"]).render(
        title=title,
        simulated=simulated,
        sequences=sequences,
        rows=[
            {
                "patient": patient.patient,
                "score": f"{patient.score:.2f}",
                "missing": [name for name, there in zip(sequences, patient.present, strict=True) if not there],
                "picture": f"data:image/png;base64,{base64.b64encode(png).decode()}",
            }
            for patient, png in pictures
        ],
        css=css,
        style_source=f"sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}",
    )
    write_whole(folder / PAGE, page.encode())


def draw(explained: Explained) -> bytes:
    """A PNG: a row for each sequence that is there; left its slices, right the same with heat in yellow.

    Heat has one scale for all slices of the patient, so that sequences compare; grey has one for each sequence.
    """
    there = np.flatnonzero(explained.present)
    hottest = float(explained.heat.max())
    rows = [_row(explained.slices[i], explained.heat[i] / hottest if hottest > 0 else explained.heat[i]) for i in there]
    sheet = Image.new("RGB", (rows[0].width, len(rows) * (_SIDE + _GAP) - _GAP), (_BETWEEN,) * 3)
    for place, row in enumerate(rows):
        sheet.paste(row, (0, place * (_SIDE + _GAP)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def _row(slices: NDArray[np.float32], shares: NDArray[np.float32]) -> Image.Image:
    low, high = (float(value) for value in np.percentile(slices, _RANGE))
    grey = 255 * np.clip((slices - low) / (high - low if high > low else 1.0), 0, 1)[..., None].repeat(3, axis=-1)
    cover = _OPAQUE * shares[..., None]
    heated = (1 - cover) * grey + cover * np.array(_HEAT)
    tiles = [*grey, *heated]
    sheet = Image.new("RGB", (len(tiles) * (_SIDE + _GAP) - _GAP, _SIDE), (_BETWEEN,) * 3)
    for place, tile in enumerate(tiles):
        picture = Image.fromarray(np.rint(tile).astype(np.uint8), mode="RGB")
        sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), (place * (_SIDE + _GAP), 0))
    return sheet
