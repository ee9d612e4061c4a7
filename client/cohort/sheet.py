"""client/cohort: a CSV table as text: encoding, rows and cells, before any meaning."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client.cohort.problems import CellError, Place, Problems
from client.cohort.site import Site
from common.errors import FedmviError


@dataclass(frozen=True)
class Sheet:
    """A table's cells.

    Attributes
    ----------
    file
        Its path as site.toml writes it.
    header
        Headers without surrounding blanks.
    numbers
        For each record, its row as a spreadsheet shows it; blank rows count, the header is row 1.
    records
        For each patient the cells, without surrounding blanks; as many as headers.
    """

    file: str
    header: tuple[str, ...]
    numbers: tuple[int, ...]
    records: tuple[tuple[str, ...], ...]

    def place(self, index: int, position: int) -> Place:
        """The place of a cell: record index and column position, both from 0."""
        return Place(self.file, self.numbers[index], self.header[position], position + 1)


def table_path(site: Site) -> Path:
    """Where the patient table is."""
    return site.folder / site.tables.patients


def expression_path(site: Site) -> Path:
    """Where the table of gene expression is."""
    return site.folder / site.tables.expression


def table_text(path: Path, encoding: str) -> str:
    """The decoded text of a table, without a byte order mark.

    Raises
    ------
    FedmviError
        204 no such file, and those of `decoded`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CellError(204, f"{path}: {error.strerror}", place=Place(path.name)) from error
    return decoded(data, path, encoding)


def decoded(data: bytes, path: Path, encoding: str) -> str:
    """The text of a table's bytes, without a byte order mark.

    Raises
    ------
    FedmviError
        203 an encoding that Python does not know, 205 not in that encoding; `local` names the line and the encoding
        that the bytes look like.
    """
    try:
        codec = codecs.lookup(encoding).name
    except LookupError as error:
        raise FedmviError(203, f"site.toml: [tables] encoding: {error}", count=1) from error
    # A byte order mark proves UTF-8, whatever was declared.
    codec = "utf-8-sig" if codec == "utf-8" or data.startswith(codecs.BOM_UTF8) else codec
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        local = f"{path.name}, line {line}: not {encoding}{_looks_like(data)}"
        raise CellError(205, local, place=Place(path.name, line)) from error
    if "\0" in text:
        raise CellError(205, f"{path.name}: zero bytes, as in UTF-16{_looks_like(data)}", place=Place(path.name))
    return text


_LIKELY = (
    "utf_16", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "gb18030", "big5", "shift_jis", "cp949",
)  # fmt: skip
"""Encodings that hospitals' software exports; among all there are, a few accents are not enough to tell them apart."""


def _looks_like(data: bytes) -> str:
    # Imported here: it is slow to load, needed only for a broken table, and absent in a coordinator's installation.
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return ""
    best = from_bytes(data, cp_isolation=list(_LIKELY)).best()
    return f'; it looks like `encoding = "{best.encoding}"`' if best else ""


def read_sheet(site: Site, problems: Problems) -> Sheet | None:
    """The patient table, or None where it has no usable header; every problem is noted.

    Broken rows (206) are noted and left out, so that the rest of the table can still be checked.
    """
    file = site.tables.patients
    try:
        text = table_text(table_path(site), site.tables.encoding)
    except FedmviError as error:
        problems.found.append(error)
        return None
    records = list(rows_of(text, site.tables.delimiter, file, problems))
    if not records or records[0][0] != 1:
        problems.add(206, Place(file, 1), "the first line has no headers")
        return None
    header = tuple(records.pop(0)[1])
    if len(header) == 1 and any(mark in header[0] for mark in ";\t,|"):
        hint = f"one header only, {header[0][:60]!r}: is the `delimiter` under [tables] in site.toml right?"
        problems.add(206, Place(file, 1), hint)
        return None
    for name in (name for name, count in Counter(header).items() if name and count > 1):
        twice = [i for i, other in enumerate(header) if other == name]
        problems.add(208, Place(file, 1, name, twice[1] + 1), f"columns {', '.join(str(i + 1) for i in twice)}")
    good: list[tuple[int, tuple[str, ...]]] = []
    for row, cells in records:
        if len(cells) == len(header):
            good.append((row, cells))
        else:
            problems.add(206, Place(file, row), f"{len(cells)} cells where the header has {len(header)}")
    if not records and all(problem.number != 206 for problem in problems.found):
        problems.add(211, Place(file))
    return Sheet(file, header, tuple(row for row, _ in good), tuple(cells for _, cells in good))


def rows_of(text: str, delimiter: str, file: str, problems: Problems) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(row, stripped cells) of every row that is not blank; the reader goes on after a malformed one (206)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    row = 0
    while True:
        row += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(206, Place(file, row), f"line {reader.line_num} of the file: {error}")
            continue
        if any(cell and not cell.isspace() for cell in cells):
            yield row, tuple(cell.strip() for cell in cells)
