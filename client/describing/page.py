"""client/describing: the page: what the site has, in words, tables and pictures. It shows patients, and stays.

It holds its style and pictures, needs no script, and asks for nothing over any network; only the site's own account may
read the file.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from client.cohort.units import Flags
from client.describing.drawing import bars, histogram, number, survival
from client.describing.material import Material, Measured
from client.describing.numbers import Counts, Numbers, counts, numbers
from client.describing.spread import piled, spread
from common.errors import FedmviError, Severity
from common.files import write_whole
from common.terminal import need

if TYPE_CHECKING:
    from client.describing.describe import Description

GENERATOR = "FedMVI site description"
_BEGINNING = 400
_LISTED = 5
_UNKNOWN = "not known"


def may_write(path: Path) -> None:
    """See that a description can be written: to a new file, or over an earlier description.

    Raises
    ------
    FedmviError
        214 no such folder, or another file is in the place, which is kept.
    """
    try:
        if path.exists() and GENERATOR not in path.read_bytes()[:_BEGINNING].decode("utf-8", "replace"):
            raise FedmviError(214, f"{path}: it is no earlier description")
    except OSError as error:
        raise FedmviError(214, f"{path}: {error.strerror}") from error
    if not path.absolute().parent.is_dir():
        raise FedmviError(214, f"{path.absolute().parent}: no such folder")


def write_page(path: Path, described: Description) -> None:
    """Write the page, over an earlier one.

    Raises
    ------
    FedmviError
        214 see `may_write`; also where the disk is full. 804 jinja2 is not installed.
    """
    may_write(path)
    page = _page(described, path.absolute().parent)
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise FedmviError(214, f"{path}: {error.strerror}") from error


def _page(described: Description, beside: Path) -> str:
    need("site", "jinja2")
    import jinja2

    here = files("client.describing")
    css = here.joinpath("page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    environment.filters["span"] = _span
    material, found, images = described.material, described.study, described.images
    groups = _groups(material)
    sizes = [int(np.count_nonzero(rows)) for rows in groups.values()]
    return environment.from_string(here.joinpath("page.html").read_text(encoding="utf-8")).render(
        generator=GENERATOR,
        material=material,
        name=material.site.name,
        title=material.study.study.title if material.study else None,
        simulated=material.site.site.simulated or (material.study is not None and material.study.study.simulated),
        problems=_problems(material.problems),
        severities=_severities(material.problems),
        groups=list(zip(_kinds(groups), groups, sizes, strict=True)) if material.groups else [],
        variables=[_variable(each, material, groups) for each in material.measured],
        emptiest=_emptiest(material),
        here=found,
        flows=_flows(described),
        curves=_curves(described),
        images=images,
        image_problems=_problems(images.problems) if images else [],
        pages=[(words, quote(os.path.relpath(at, beside))) for words, at in images.pages] if images else [],
        patients=described.odd,
        css=css,
        style_source=f"sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}",
    )  # fmt: skip


def _span(value: float, unit: str) -> str:
    """A time in the endpoint's unit, where it was reached."""
    return f"{value:g} {unit}" if math.isfinite(value) else "not reached"


def _groups(material: Material) -> Mapping[str, Flags]:
    """The described patients by MVI, and those of whom it is not known; without MVI all as one group."""
    if material.groups is None:
        return {"all": material.kept}
    codes, names = material.groups.codes, material.groups.names
    # A hospital's own word may be "not known": these patients are then of that group too.
    found = {name: material.kept & (codes == code) for code, name in enumerate(names) if name != _UNKNOWN}
    unknown = material.kept & ~np.logical_or.reduce(list(found.values()))
    return {**found, _UNKNOWN: unknown} if unknown.any() else found


def _kinds(groups: Mapping[str, Flags]) -> list[str]:
    """The class of each group's colour: grey for those of whom MVI is not known."""
    return ["gx" if name == _UNKNOWN else f"g{place}" for place, name in enumerate(groups)]


def _variable(measured: Measured, material: Material, groups: Mapping[str, Flags]) -> dict[str, Any]:
    """A column's numbers for all and by group, its picture, and what should be looked at."""
    own = material.groups is not None and material.groups.name == measured.name
    parts = {"all": material.kept} if own or material.groups is None else groups
    rows = {"all": material.kept, **parts}
    column = measured.column
    found: dict[str, Numbers | Counts] = {
        name: counts(column, here) if column.levels else numbers(column, here) for name, here in rows.items()
    }
    whole = found["all"]
    return {
        "name": measured.name,
        "title": measured.title,
        "unit": measured.unit,
        "levels": column.levels,
        "rows": found,
        "picture": _picture(measured, parts, found),
        "share": whole.missing / max(whole.n + whole.missing, 1),
        "range": _range(measured),
        "outside": int(np.count_nonzero(measured.outside & material.kept)),
        "below": int(np.count_nonzero((column.censored < 0) & material.kept)),
        "piled": () if column.levels else piled(column.values[material.kept & (column.censored == 0)]),
        "above": int(np.count_nonzero((column.censored > 0) & material.kept)),
    }


def _picture(measured: Measured, parts: Mapping[str, Flags], found: Mapping[str, Numbers | Counts]) -> str:
    column = measured.column
    if column.levels:
        each = [here for name in parts if isinstance(here := found[name], Counts)]
        return bars(measured.title, column.levels, each, _kinds(parts))
    # One value that cannot be would press all others into one bar.
    drawn: Flags = np.logical_or.reduce(list(parts.values())) & ~measured.outside
    shown = spread(np.where(drawn, column.values, math.nan), tuple(parts.values()))
    return histogram(measured.title, shown, measured.unit, measured.cutoffs, _kinds(parts)) if shown else ""


def _range(measured: Measured) -> str:
    low, high = measured.low, measured.high
    if low is None and high is None:
        return ""
    ends = f"{number(low)} to {number(high)}" if low is not None and high is not None else (
        f"{number(low)} or more" if low is not None else f"{number(high or 0.0)} or less"
    )  # fmt: skip
    return f"{ends} {measured.unit}".strip()


def _emptiest(material: Material) -> list[tuple[str, float]]:
    """The columns that lack most values, worst first."""
    if material.n == 0:
        return []
    shares = [(m.title, float(np.isnan(m.column.values[material.kept]).mean())) for m in material.measured]
    return sorted((pair for pair in shares if pair[1] > 0), key=lambda pair: -pair[1])[:_LISTED]


def _flows(described: Description) -> list[tuple[str, list[int]]]:
    """The steps from the table to each cohort: a row a step, a column a cohort."""
    cohorts = described.study.cohorts if described.study else ()
    return [(step, [dict(each.flow)[step] for each in cohorts]) for step in (dict(cohorts[0].flow) if cohorts else {})]


def _curves(described: Description) -> dict[str, str]:
    """The Kaplan-Meier curve of each survival endpoint, of all eligible patients."""
    pictures = {}
    for each in described.study.endpoints if described.study else ():
        for found in list(each.followed.values())[:1]:
            if found.n:
                pictures[each.endpoint.name] = survival(each.endpoint.title, found.curve, each.endpoint.unit or "")
    return pictures


def _severities(problems: Sequence[FedmviError]) -> list[tuple[int, str]]:
    found = [(sum(p.severity is s for p in problems), s.name.lower()) for s in sorted(Severity, reverse=True)]
    return [(count, word if count == 1 else f"{word}s") for count, word in found if count]


def _problems(problems: Sequence[FedmviError]) -> list[dict[str, Any]]:
    """Problems of one kind together, as `check` says them: the first few places, then all others."""
    alike = sorted(problems, key=lambda p: (-p.severity, p.number, p.what))
    found = []
    for (severity, number_, what), several in groupby(alike, key=lambda p: (p.severity, p.number, p.what)):
        kind = list(several)
        found.append({"severity": severity.name.lower(), "code": f"FEDMVI-{number_}", "what": what, "do": kind[0].do,
                      "first": [p.local for p in kind[:_LISTED] if p.local],
                      "rest": [p.local for p in kind[_LISTED:] if p.local]})  # fmt: skip
    return found
