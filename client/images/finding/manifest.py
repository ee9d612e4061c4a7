"""client/images/finding: the manifest: one row a volume or mask of a hospital, which a person can correct.

A CSV table that spreadsheets open. Free text in it comes from DICOM headers, which anyone may have written: a cell
that a spreadsheet would take for a formula is written with an apostrophe before it, and read without it.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from client.cohort.problems import CellError, Place, Problems
from client.cohort.sheet import table_text
from common.errors import FedmviError, Severity
from common.files import write_whole
from common.spelling import nearest
from common.study.preparation import PHASES

KNOWN_PHASES = tuple(dict.fromkeys(name for names in PHASES.values() for name in names))
"""Phases of CT and MR."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_NUMBER = Annotated[float, Field(allow_inf_nan=False)]


class Line(BaseModel):
    """One row of the manifest; "" and None where nothing is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient_id: str = Field(default="", description="The patient's id, as in the table of patients.")
    kind: Literal["image", "mask"] = Field(description="image or mask.")
    phase: str = Field(
        default="",
        description=f"Of a mask: the phase it was drawn on; empty for the study's reference. {', '.join(KNOWN_PHASES)}",
    )
    region: Annotated[str, Field(pattern=r"^([a-z][a-z0-9-]{0,39})?$")] = Field(
        default="", description="Of a mask: tumour, liver, or another region in small letters, digits and hyphens."
    )
    reader: Annotated[int, Field(ge=1, le=99)] = Field(default=1, description="Of a mask: a number from 1 to 99.")
    path: str = Field(default="", description="File or folder, from the site's folder or absolute.")
    series: str = Field(default="", description="SeriesInstanceUID, where the folder holds several series.")
    volume: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Which of several volumes of the series, from 1; empty or 0 where there is one."
    )
    segment: str = Field(default="", description="Of a mask: label or number of the segment or contour in the file.")
    seconds_after_injection: _NUMBER | None = Field(
        default=None, description="A number with a decimal point; negative before the injection."
    )
    b_value: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Diffusion weighting in s/mm²: a number of at least 0."
    )
    agent: str = Field(default="", description="Contrast agent; empty to take it from the header.")
    tesla: Annotated[float, Field(gt=0, le=30)] | None = Field(
        default=None, description="Field strength of MR: a number between 0 and 30."
    )
    vendor: str = Field(default="", description="Manufacturer; empty to take it from the header.")
    use: Literal["yes", "no"] = Field(description="yes or no.")
    why: str = Field(default="", description="Why it was taken for what it is, for people.")

    @model_validator(mode="before")
    @classmethod
    def _from_cells(cls, data: Any) -> Any:
        """An empty cell is an absent one; words of fixed lists may be written in any case."""
        if not isinstance(data, dict):
            return data
        cells = {name: value for name, value in data.items() if value not in ("", None)}
        for name in ("kind", "phase", "region", "use"):
            if isinstance(cells.get(name), str):
                cells[name] = cells[name].lower()
        return cells


COLUMNS = tuple(Line.model_fields)
_NEEDED = ("patient_id", "kind", "phase", "path", "use")


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes
    ----------
    lines
        Rows that could be read, with their numbers as a spreadsheet shows them (the header is row 1).
    problems
        350 for every bad cell, at once; the local text begins with the patient wherever the row names one.
    patients
        All whom a row names, also one that could not be read.
    """

    lines: tuple[tuple[int, Line], ...]
    problems: tuple[FedmviError, ...]
    patients: frozenset[str] = frozenset()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; nothing is raised, and no row that is not understood is used.

    The separator may be a comma, or a semicolon or tab as some spreadsheets write.

    Returns
    -------
    Manifest
        `problems` holds 350 for every bad line, with its number, the column, the value and what is allowed; and a
        warning for a column of the hospital's own, which is not read.
    """
    problems = Problems()
    try:
        text = table_text(path, "utf-8")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True))
    except (FedmviError, csv.Error) as error:
        detail = error.local if isinstance(error, FedmviError) else str(error)
        return Manifest((), (CellError(350, f"{path.name}: {detail}", place=Place(path.name)),))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if not _usable(header, path, problems):
        return Manifest((), tuple(problems.found))
    lines = []
    named = set()
    for number, cells in enumerate(rows[1:], start=2):
        if any(cell.strip() for cell in cells):
            named.add(_given(cells, header).get("patient_id", ""))
            line = _line(number, cells, header, path, problems)
            if line is not None:
                lines.append((number, line))
    _refuse_twice(lines, path, problems)
    return Manifest(tuple(lines), tuple(problems.found), frozenset(named - {""}))


def manifest_bytes(lines: Iterable[Line]) -> bytes:
    """The manifest's text, the same for the same lines in whatever order they come."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    ordered = sorted(lines, key=lambda line: (line.patient_id, line.kind, line.path, line.series, line.volume,
                                              line.segment, line.phase, line.reader))  # fmt: skip
    for line in ordered:
        writer.writerow([_written(line, name) for name in COLUMNS])
    return out.getvalue().encode()


def write_manifest(path: Path, lines: Iterable[Line]) -> None:
    """Write a new manifest, whole or not at all.

    Raises
    ------
    FedmviError
        358 there is a file already, which holds a person's corrections; 377 the folder cannot be written.
    """
    if path.exists():
        raise FedmviError(358, str(path))
    try:
        write_whole(path, manifest_bytes(lines))
    except OSError as error:
        raise FedmviError(377, f"{path}: {error.strerror}") from error


def _separator(text: str) -> str:
    first = text.partition("\n")[0]
    return max((",", ";", "\t"), key=first.count)


def _usable(header: list[str], path: Path, problems: Problems) -> bool:
    """Whether the rows can be read; 350 for what is wrong with the header."""
    absent = [name for name in _NEEDED if name not in header]
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    for name in doubled:
        problems.add(350, Place(path.name, 1, name), "this column is there twice")
    for position, name in enumerate(header, start=1):
        if name and name not in COLUMNS:
            hint = nearest(name, [column for column in COLUMNS if column not in header])
            severity = Severity.ERROR if hint else Severity.WARNING
            problems.add(350, Place(path.name, 1, name, position), f"not a column of a manifest{hint}", severity)
    if absent:
        problems.add(
            350, Place(path.name, 1), f"columns are missing: {', '.join(absent)}; all are {', '.join(COLUMNS)}"
        )
    return not absent and not doubled


def _given(cells: list[str], header: list[str]) -> dict[str, str]:
    return {name: _plain(cell) for name, cell in zip(header, cells, strict=False) if name in COLUMNS}


def _line(number: int, cells: list[str], header: list[str], path: Path, problems: Problems) -> Line | None:
    given = _given(cells, header)
    if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
        what = f"{len(cells)} cells, but {len(header)} columns"
        problems.found.append(bad_line(Place(path.name, number), given.get("patient_id", ""), what))
        return None
    line = None
    found: list[tuple[str, str]] = []
    try:
        line = Line.model_validate(given)
    except ValidationError as error:
        for bad in error.errors(include_url=False):
            name = str(bad["loc"][0])
            found.append(
                (name, f"{given.get(name, '')!r} is not allowed here; expected: {Line.model_fields[name].description}")
            )
    found += _contradictions(given)
    for name, detail in found:
        place = Place(path.name, number, name, header.index(name) + 1 if name in header else 0)
        problems.found.append(bad_line(place, given.get("patient_id", ""), detail))
    return None if found else line


def bad_line(place: Place, patient: str, detail: str) -> CellError:
    """350 for one row of the manifest; its local text begins with the patient, where the row names one."""
    return CellError(350, ": ".join(filter(None, [patient, str(place), detail])), place=place)


def _contradictions(given: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Columns that cannot be so beside the others, with a sentence."""
    phase, kind = given.get("phase", "").lower(), given.get("kind", "").lower()
    used = given.get("use", "").lower() == "yes"
    if phase and phase not in KNOWN_PHASES:
        yield (
            "phase",
            f"{phase!r} is not a phase{nearest(phase, KNOWN_PHASES) or '.'} Allowed: {', '.join(KNOWN_PHASES)}",
        )
    if kind == "image" and given.get("region"):
        yield "region", "an image has no region"
    if not used:
        return
    for name in ("patient_id", "path"):
        if not given.get(name):
            yield name, "needed where `use` is yes"
    if kind == "image" and not phase:
        yield "phase", f"needed where `use` is yes: {', '.join(KNOWN_PHASES)}"
    if kind == "mask" and not given.get("region"):
        yield "region", "needed where `use` is yes, such as tumour or liver"


def _refuse_twice(lines: list[tuple[int, Line]], path: Path, problems: Problems) -> None:
    """350 where two lines in use are the same phase of a patient, or the same mask."""
    rows: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    for number, line in lines:
        if line.use == "yes":
            region, reader = (line.region, line.reader) if line.kind == "mask" else ("", 0)
            rows[line.patient_id, line.phase, region, reader].append(number)
    for (patient, phase, region, reader), numbers in rows.items():
        if len(numbers) > 1:
            what = f"the mask {region} of reader {reader} on {phase or 'the reference'}" if region else phase
            where = ", ".join(map(str, numbers))
            place = Place(path.name, numbers[1], "use")
            problems.found.append(bad_line(place, patient, f"{what} is in use in rows {where}"))


def _plain(cell: str) -> str:
    text = cell.strip()
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _written(line: Line, name: str) -> str:
    value = getattr(line, name)
    if value is None or (name == "volume" and value == 0) or (name == "reader" and line.kind == "image"):
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    text = str(value)
    if name not in ("path", "patient_id", "segment"):
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    # What UTF-8 or a table cannot hold is shown, so that the file can be read again.
    text = text.replace("\0", "").encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if text.startswith(_FORMULA) else text
