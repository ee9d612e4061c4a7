"""simulation/imaging: the contact sheet: simulated patients as pictures on one page, beside the declared truth.

The page is made to be looked at by somebody who knows livers: phases side by side, the tumour enlarged, what the
readers outlined with the ring around it, and differences of phases, both as acquired and with the true motion undone.
Every panel is sampled in the patient's coordinates, whatever the grid of its phase. The page holds its style and
pictures, needs no script and asks for nothing over any network.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import jinja2
import numpy as np
from numpy.typing import NDArray

from common.files import write_whole
from simulation.cohorts.consortium import Scanner
from simulation.imaging.findings import Findings
from simulation.imaging.lesion import RING_MM
from simulation.imaging.panels import Plane, Window, displaced, found_in, picture, points_of, sampled
from simulation.imaging.readers import ring_around
from simulation.imaging.volume import Examination, Grid, Volume

_CT_WINDOW = (-60.0, 200.0)  # level 70, width 260: a window for the liver in every phase
_CT_DIFFERENCE = (-100.0, 100.0)
_BRIGHTEST = 99.5  # MR: percentile of the slice that passes for its brightest tissue
_ENHANCED = ({"plain", "arterial", "portal", "delayed"}, {"t1", "t1a", "t1v", "t1d"})
_NAMES = {
    "plain": "Plain", "arterial": "Arterial", "portal": "Portal venous", "delayed": "Delayed", "t1": "T1 plain",
    "t1a": "T1 arterial", "t1v": "T1 portal venous", "t1d": "T1 delayed", "t2": "T2", "dwi": "DWI",
}  # fmt: skip
_TRAITS = {
    "smooth_margin": "smooth margin", "capsule": "capsule", "rim": "arterial rim enhancement",
    "halo": "arterial peritumoral enhancement", "multiple": "second tumour", "cirrhosis": "cirrhosis",
    "ascites": "ascites",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """One simulated patient with the truth behind the pictures.

    Attributes
    ----------
    site
        Name of the hospital.
    grade
        Microvascular invasion: M0, M1 or M2.
    findings
        What the pictures were told to show.
    scanner
        How they were taken.
    examination
        The pictures; the sheet is let go as soon as it is drawn.
    truth
        Whatever else is to be told, by name.
    """

    site: str
    grade: str
    findings: Findings
    scanner: Scanner
    examination: Examination
    truth: Mapping[str, str]


@dataclass(frozen=True)
class _Panel:
    """A picture on the page: its data URI, what it shows for those who do not see it, and its caption."""

    source: str
    alt: str
    caption: str


@dataclass(frozen=True)
class _Row:
    """Pictures that belong together."""

    title: str
    note: str
    columns: int
    panels: list[_Panel]


@dataclass(frozen=True)
class _Page:
    """One patient, drawn."""

    site: str
    patient: str
    summary: str
    truth: list[tuple[str, str]]
    rows: list[_Row]


def write_preview(path: Path, title: str, seed: int, sheets: Iterable[Sheet], notes: Sequence[str]) -> None:
    """Write the contact sheet as one HTML file.

    Parameters
    ----------
    path
        The file; its folder exists.
    title, seed
        What was simulated, and the seed that it follows from.
    sheets
        Patients in the order of the page. Each is drawn before the next is asked for, so that a generator never
        keeps more than one examination in memory.
    notes
        Assumptions, in sentences.

    Raises
    ------
    OSError
        Where the file cannot be written.
    """
    css = files("server.report").joinpath("report.css").read_text(encoding="utf-8")
    here = files("simulation.imaging")
    css += here.joinpath("preview.css").read_text(encoding="utf-8")
    # The template is ours, and everything that it is given is escaped, except the style.
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(here.joinpath("preview.html").read_text(encoding="utf-8"))
    page = template.render(
        title=title,
        seed=seed,
        notes=notes,
        pages=list(map(_drawn, sheets)),
        css=css,
        style_source=f"sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}",
    )
    write_whole(path, page.encode(), 0o644)


def _drawn(sheet: Sheet) -> _Page:
    study = _Study.of(sheet.examination, sheet.findings.size_cm)
    rows = [_phases(study), _around(study), _outlines(study), *_differences(study)]
    summary = f"{sheet.grade}, {sheet.findings.size_cm:.1f} cm"
    return _Page(sheet.site, sheet.findings.patient, summary, _truth(sheet, study), rows)


@dataclass(frozen=True)
class _Study:
    """One examination with the planes that are shown of it, and the ring."""

    examination: Examination
    centre: tuple[float, float, float]
    slice: Plane
    near: Plane
    coronal: Plane
    ring: Volume

    @classmethod
    def of(cls, examination: Examination, size_cm: float) -> _Study:
        """Planes through the slice with the largest area of tumour, and through its middle."""
        tumour = examination.masks["tumour"]
        grid = tumour.grid
        k = int(np.argmax(tumour.voxels.sum((1, 2))))
        inside = [axis[place] for axis, place in zip(grid.axes()[1:], np.nonzero(tumour.voxels[k]), strict=True)]
        z, y, x = float(grid.axes()[0][k]), float(inside[0].mean()), float(inside[1].mean())
        pixel = max(60.0, 22 * size_cm) / 240
        around = Grid((1, 240, 320), (1.0, pixel, pixel), (z, y - 119.5 * pixel, x - 159.5 * pixel))
        rows, columns = _body(examination.phases[examination.reference].voxels[k])
        (_, dy, dx), (bottom, top, left) = grid.spacing, grid.origin
        shape = (1, rows.stop - rows.start, columns.stop - columns.start)
        whole = Grid(shape, grid.spacing, (z, top + rows.start * dy, left + columns.start * dx))
        height = int(grid.spacing[0] * (grid.shape[0] - 1) / dx) + 1
        upright = Grid((height, 1, shape[2]), (dx, dy, dx), (bottom, y, whole.origin[2]))
        ring = ring_around(tumour, examination.masks["liver"])
        return cls(examination, (z, y, x), Plane(whole), Plane(around), Plane(upright, coronal=True), ring)


def _body(values: NDArray[np.int16] | NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of a slice with more than air in them."""
    tissue = values >= (float(values.min()) + float(values.mean())) / 2
    rows, columns = (np.flatnonzero(tissue.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


# ------------------------------------------------------------------------------------------------------------- the rows


def _phases(study: _Study) -> _Row:
    panels = []
    for phase, volume in study.examination.phases.items():
        source = picture(study.slice, study.slice.show(volume), _window(study, phase))
        panels.append(_panel(source, _name(study, phase)))
    window = "Level 70 HU, width 260 HU."
    if study.examination.modality == "mr":
        window = "All T1-weighted phases share one window; T2 and DWI have their own. Black is no signal."
    note = f"The axial slice with the largest area of tumour, at {study.centre[0]:.0f} mm. {window}"
    return _Row("Phases, as acquired", note, _columns(len(panels)), panels)


def _around(study: _Study) -> _Row:
    panels = []
    for phase, volume in study.examination.phases.items():
        source = picture(study.near, study.near.show(volume), _window(study, phase), bar_mm=10)
        panels.append(_panel(source, f"{_name(study, phase)}, around the tumour"))
    return _Row("Around the tumour", "The same slice and windows; the bar is 1 cm.", _columns(len(panels)), panels)


def _outlines(study: _Study) -> _Row:
    reference = study.examination.reference
    volume = study.examination.phases[reference]
    masks = study.examination.masks
    drawn = {"ring": study.ring} | {
        name: masks[name] for name in ("liver", "tumour", "tumour.reader2") if name in masks
    }
    panels = []
    for plane, words, bar in (
        (study.slice, "the axial slice", 50),
        (study.near, "around the tumour", 10),
        (study.coronal, "coronal through the tumour's middle", 50),
    ):
        source = picture(plane, plane.show(volume), _window(study, reference), bar_mm=bar, masks=drawn)
        panels.append(_panel(source, f"{_NAMES[reference]}, outlined, {words}"))
    readers = "yellow: the tumour by reader 1; "
    if "tumour.reader2" in masks:
        readers += "dashed pink: by reader 2; "
    note = f"Solid {readers}blue: the liver; shaded orange: liver within {RING_MM:.0f} mm of reader 1's outline."
    return _Row("Outlines and ring", note, 3, panels)


def _differences(study: _Study) -> list[_Row]:
    """Subtractions of phases that follow one another, as acquired and with the true motion undone."""
    pairs = [pair for series in _ENHANCED for pair in pairwise(p for p in study.examination.phases if p in series)]
    if not pairs:
        return []
    points = points_of(study.slice.grid)
    rows = []
    for undone, title, note in (
        (False, "Differences, as acquired", "Grey is no change. Edges of organs show how they moved between phases."),
        (True, "Differences, true motion undone", "What a perfect registration would leave: contrast and noise."),
    ):
        seen = {
            phase: study.slice.flat(
                sampled(
                    study.examination.phases[phase],
                    found_in(study.examination, phase, points) if undone else points,
                )
            )
            for phase in dict.fromkeys(phase for pair in pairs for phase in pair)
        }
        panels = []
        for before, after in pairs:
            top = _window(study, before)[1] / 2
            window = _CT_DIFFERENCE if study.examination.modality == "ct" else (-top, top)
            words = f"{_NAMES[after]} minus {_within(before)}"
            panels.append(_panel(picture(study.slice, seen[after] - seen[before], window), words))
        rows.append(_Row(title, note, 3, panels))
    return rows


def _window(study: _Study, phase: str) -> Window:
    """CT: the same in every phase. MR: T1-weighted phases share a window, so that enhancement shows."""
    if study.examination.modality == "ct":
        return _CT_WINDOW
    together = next((series for series in _ENHANCED if phase in series), {phase})
    seen = [study.slice.show(v) for name, v in study.examination.phases.items() if name in together]
    # A quarter above the brightest tissue, so that the liver, which fills the slice, is not white itself.
    return 0.0, max(1.25 * float(np.nanpercentile(seen, _BRIGHTEST)), 1.0)


def _within(phase: str) -> str:
    """A phase's name within a sentence."""
    name = _NAMES[phase]
    return name[0].lower() + name[1:] if name[1].islower() else name


def _columns(panels: int) -> int:
    return panels if panels <= 4 else 3


def _name(study: _Study, phase: str) -> str:
    started = study.examination.started_s[phase]
    when = f"{started:.0f} s after injection" if started > 0 else "before injection"
    return f"{_NAMES[phase]}, {when}"


def _panel(source: str, words: str) -> _Panel:
    return _Panel(source, f"Simulated picture: {words}.", words)


# ------------------------------------------------------------------------------------------------------------ the truth


def _truth(sheet: Sheet, study: _Study) -> list[tuple[str, str]]:
    f, scanner, examination = sheet.findings, sheet.scanner, sheet.examination
    at = np.reshape(study.centre, (3, 1)).astype(np.float32)
    moved = [
        f"{_within(phase)} {np.linalg.norm(displaced(examination, phase, at)):.1f} mm"
        for phase in examination.phases
        if phase != examination.reference
    ]
    noise = f"noise {scanner.noise_hu:g} HU, bias {scanner.bias_hu:g} HU"
    if examination.modality == "mr":
        noise = f"noise {100 * scanner.noise_share:g} % of the liver's signal, "
        noise += f"coil bias {scanner.coil_bias:g}, gain {scanner.gain:g}"
    resolution = f"pixel {scanner.spacing_mm:g} mm, slice {scanner.slice_mm:g} mm, blur {scanner.kernel_mm:g} mm"
    traits = {
        present: [words for name, words in _TRAITS.items() if getattr(f, name) == present] for present in (False, True)
    }
    rows = [
        ("Hospital", sheet.site),
        ("Microvascular invasion", sheet.grade),
        ("Largest diameter", f"{f.size_cm:.1f} cm"),
        ("Latent processes", f"tumour {f.tumour:+.2f}, ring {f.ring:+.2f}, temporal {f.temporal:+.2f}"),
        ("Present", ", ".join(traits[True]) or "none"),
        ("Absent", ", ".join(traits[False]) or "none"),
        ("Moved since the reference", ", ".join(moved) or "there is one phase"),
        ("Scanner", f"{resolution}, {noise}"),
    ]
    return rows + list(sheet.truth.items())
