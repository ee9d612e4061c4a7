"""server/report: writes `nomogram.html`: a calculator of each model's probability, and its printed nomogram.

The page holds its style, its program and its numbers, works without any network and asks for nothing. What a person
enters stays in the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import jinja2

from common.files import write_whole
from common.published import format as fmt
from common.published.results import Results
from server.report.figures import Picture, slug
from server.report.nomogram import Axis, Nomogram, nomograms
from server.report.svg import inline

PAGE = "nomogram.html"
_HERE = files("server.report")


def write_nomograms(results: Results, pictures: Mapping[str, Picture], folder: Path) -> Path | None:
    """Write the page into a run's folder; None if no model was fitted."""
    drawn = list(nomograms(results))
    page = folder / PAGE
    if not drawn:
        page.unlink(missing_ok=True)
        return None
    write_whole(page, render(results, drawn, pictures).encode())
    return page


def render(results: Results, drawn: list[Nomogram], pictures: Mapping[str, Picture]) -> str:
    """The page as text: the same results are the same text."""
    css = "".join(_HERE.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "nomogram.css"))
    script = _HERE.joinpath("nomogram.js").read_text(encoding="utf-8")
    # Everything is escaped but our own style and program, matplotlib's escaped SVG, and JSON without angle brackets.
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["inline"] = inline
    environment.globals |= {"shown": _shown, "slug": slug}
    template = environment.from_string(_HERE.joinpath(PAGE).read_text(encoding="utf-8"))
    return template.render(
        results=results,
        title=fmt.plain(results.title),
        css=css,
        style_source=_source(css),
        script=script,
        script_source=_source(script),
        nomograms=drawn,
        pictures=pictures,
        data=_embedded([_numbers(nomogram) for nomogram in drawn]),
    )


def _source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _numbers(nomogram: Nomogram) -> dict[str, object]:
    """What the program computes with, with all digits."""
    return {
        "name": nomogram.name,
        "coefficients": nomogram.coefficients,
        "covariance": nomogram.covariance,
        "axes": [_axis(axis) for axis in nomogram.axes],
    }


def _axis(axis: Axis) -> dict[str, object]:
    return {
        "label": axis.label,
        "unit": axis.unit,
        "coding": axis.coding,
        "position": axis.position,
        "usual": axis.usual,
        "plausible": axis.plausible,
        "smallest": axis.smallest,
        "perPoint": axis.per_point,
        "terms": [choice.term for choice in axis.choices],
    }
