"""client/imaging: a page of pictures: a row for every patient, a column for every phase. It stays at the hospital."""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from common.files import write_whole

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
class Shown:
    """What a page shows of one patient and phase.

    Attributes
    ----------
    pictures
        PNG, by the words that stand for each where it cannot be seen.
    note
        What they are.
    flags
        What a person should look at; empty where there is nothing.
    """

    pictures: Mapping[str, bytes]
    note: str
    flags: tuple[str, ...]


def write_gallery(path: Path, title: str, words: str, shown: Mapping[tuple[str, str], Shown], nothing: str) -> None:
    """Write a page: rows and columns in the order in which patients and phases first come.

    The page holds its pictures, runs no script, and loads nothing. It is readable by its owner only.

    Parameters
    ----------
    path
        Where it is written.
    title, words
        What it is, and how it is read.
    shown
        By patient and phase.
    nothing
        Stands where a patient has no picture of a phase.

    Raises
    ------
    OSError
        Where the file cannot be written.
    """
    patients = list(dict.fromkeys(patient for patient, _ in shown))
    phases = list(dict.fromkeys(phase for _, phase in shown))
    head = "".join(f'<th scope="col">{html.escape(phase)}</th>' for phase in phases)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(patient)}</th>'
        + "".join(_cell(shown.get((patient, phase)), f"{patient}, {phase}", nothing) for phase in phases)
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
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{_count(len(patients), "patient")}. {html.escape(words)} Pictures of patients: keep this page
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


def as_png(picture: Image.Image) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _cell(shown: Shown | None, who: str, nothing: str) -> str:
    if shown is None:
        return f'<td><p class="note">{html.escape(nothing)}</p></td>'
    pictures = "".join(
        f'<img alt="{html.escape(f"{words}: {who}")}" loading="lazy" decoding="async" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        for words, png in shown.pictures.items()
    )
    flags = "".join(f'<div class="flag">{html.escape(flag)}</div>' for flag in shown.flags)
    return f'<td>{pictures}<div class="note">{html.escape(shown.note)}</div>{flags}</td>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
