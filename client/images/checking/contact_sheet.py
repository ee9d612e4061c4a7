"""client/images/checking: the contact sheet: pictures and problems of all patients on one page.

A radiologist sees every case in minutes. The page holds its style and pictures, needs no script, and asks for nothing
over any network; only the site's own account may read the file.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import jinja2

from client.cohort.site import Site
from client.images.case import MaskKey
from client.images.checking.overlays import CT_WINDOW, MR_WINDOW, colour_of
from client.images.checking.site_images import Row, patient_of
from common.errors import FedmviError, Severity
from common.files import write_whole
from common.study.protocol import Study

_GENERATOR = "FedMVI contact sheet"
_BEGINNING = 400
_STATES = {severity: severity.name.lower() for severity in Severity}


def may_write(path: Path) -> None:
    """See, before hours of work, that a contact sheet can be written: to a new file, or over an earlier sheet.

    Raises
    ------
    FedmviError
        389 no such folder, or another file is in the place, which is kept.
    """
    try:
        if path.exists() and _GENERATOR not in path.read_bytes()[:_BEGINNING].decode("utf-8", "replace"):
            raise FedmviError(389, f"{path}: it is no contact sheet")
    except OSError as error:
        raise FedmviError(389, f"{path}: {error.strerror}") from error
    if not path.absolute().parent.is_dir():
        raise FedmviError(389, f"{path.absolute().parent}: no such folder")


def write_contact_sheet(
    path: Path, site: Site, study: Study, problems: Sequence[FedmviError], rows: Sequence[Row]
) -> None:
    """Write the page, over an earlier one.

    Parameters
    ----------
    path
        The file.
    site, study
        Whose images, and for what.
    problems, rows
        As `inspect_images` gives them.

    Raises
    ------
    FedmviError
        389 see `may_write`; also where the disk is full.
    """
    may_write(path)
    page = _page(site, study, problems, rows)
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise FedmviError(389, f"{path}: {error.strerror}") from error


def _page(site: Site, study: Study, problems: Sequence[FedmviError], rows: Sequence[Row]) -> str:
    here = files("client.images.checking")
    inks = _inks(key for row in rows for key in row.masks)
    css = here.joinpath("contact_sheet.css").read_text(encoding="utf-8")
    for number, (colour, words) in enumerate(inks, start=1):
        style = "dashed" if "reader" in words else "solid"
        css += f".legend .ink-{number}::before {{ border-top: .2em {style} {colour}; }}\n"
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    shown = {row.patient for row in rows}
    low, high = CT_WINDOW
    ct = study.preparation is not None and study.preparation.modality == "ct"
    return environment.from_string(here.joinpath("contact_sheet.html").read_text(encoding="utf-8")).render(
        generator=_GENERATOR,
        site=site.name,
        study=study.study.title,
        simulated=site.site.simulated,
        window=f"Black is {low:.0f} HU or less, white {high:.0f} HU or more."
        if ct
        else f"Black and white are percentiles {MR_WINDOW[0]:g} and {MR_WINDOW[1]:g} of the plane.",
        legend=inks,
        counts=_counts(rows),
        general=[_words(p, "") for p in problems if patient_of(p) not in shown],
        rows=[_row(row) for row in rows],
        css=css,
        style_source=f"sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}",
    )


def _inks(keys: Iterable[MaskKey]) -> list[tuple[str, str]]:
    """Colours of outlines as `#rrggbb`, and what they stand for."""
    found: dict[str, set[str]] = {}
    for key in keys:
        colour = "#{:02x}{:02x}{:02x}".format(*colour_of(key))
        found.setdefault(colour, set()).add(key[0] if key[1] == 1 else f"{key[0]} of reader {key[1]}")
    return sorted((colour, " or ".join(sorted(words))) for colour, words in found.items())


def _counts(rows: Sequence[Row]) -> list[tuple[str, int]]:
    words = {"error": "with errors", "warning": "with warnings", "note": "with notes", "fine": "without problems"}
    states = [_state(row.problems) for row in rows]
    return [(phrase, states.count(state)) for state, phrase in words.items() if state in states]


def _state(problems: Sequence[FedmviError]) -> str:
    return _STATES[max(problem.severity for problem in problems)] if problems else "fine"


def _row(row: Row) -> dict[str, object]:
    counts = {s: sum(p.severity is s for p in row.problems) for s in sorted(Severity, reverse=True)}
    words = ", ".join(f"{n} {_STATES[s]}{'s' if n > 1 else ''}" for s, n in counts.items() if n)
    return {
        "patient": row.patient,
        "state": _state(row.problems),
        "summary": words or "no problems",
        "panels": row.panels,
        "problems": [_words(problem, row.patient) for problem in row.problems],
    }


def _words(problem: FedmviError, patient: str) -> dict[str, str]:
    return {
        "severity": _STATES[problem.severity],
        "code": problem.code,
        "what": problem.what,
        "do": problem.do,
        "local": problem.local.removeprefix(f"{patient}: "),
    }
