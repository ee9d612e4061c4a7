"""client/release: copies of the ledger for people: the whole chain, an extract of it, or a table.

A copy of the whole ledger is the ledger: `verify` says the same of it. An extract begins with a line that says of what
it is one; each other line of it is whole or not, and where lines were left out the chain has a gap, which is counted.
That nothing that belongs into it is missing can be checked against the whole ledger only.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.release.ledger import GENESIS, Ledger, whole_line
from common.errors import FedmviError
from common.federation.signatures import Head
from common.study.fingerprint import canonical_json

EXTRACT = "extract"
COLUMNS = (
    "time", "run_id", "study", "left", "query", "words", "mode", "cohort", "roster", "patients", "counted", "shapes",
    "bytes", "limits", "held", "repeat", "question", "answer", "previous", "hash",
)  # fmt: skip
"""Of the table; what other programs of the site have recorded beside answers is in `words` or left out."""


@dataclass(frozen=True)
class Chosen:
    """Which lines are exported: of a study by how its fingerprint begins, since a date (YYYY-MM-DD); by default all."""

    study: str = ""
    since: str = ""

    @property
    def all(self) -> bool:
        """Whether no line is left out."""
        return not (self.study or self.since)

    def has(self, entry: dict[str, Any]) -> bool:
        """Whether a line is exported."""
        return str(entry.get("study", "")).startswith(self.study) and str(entry.get("time", "")) >= self.since


@dataclass(frozen=True)
class CopyState:
    """What `verify_copy` found: whole lines, the last hash, the first bad line (0 = none), gaps of an extract."""

    lines: int
    head: str
    broken_at: int
    gaps: int = 0
    extract: bool = False


def copy_of(ledger: Ledger, site: str, chosen: Chosen) -> bytes:
    """The chosen lines as they stand in the ledger, byte for byte; a cut one only in a copy of the whole."""
    if chosen.all:
        return b"".join(line + b"\n" for line in ledger.lines())
    head = ledger.head()
    told = {"site": site, "study": chosen.study, "since": chosen.since, "lines": head.lines, "hash": head.hash}
    kept = [line for line in ledger.lines() if (entry := _entry(line)) is not None and chosen.has(entry)]
    return b"".join(line + b"\n" for line in [canonical_json({EXTRACT: told}).encode(), *kept])


def table_of(ledger: Ledger, chosen: Chosen) -> bytes:
    """The chosen lines as CSV, with a byte order mark for spreadsheets."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in ledger.entries():
        if chosen.has(entry):
            writer.writerow([_cell(entry.get(column, "")) for column in COLUMNS])
    return text.getvalue().encode("utf-8-sig")


def verify_copy(path: Path) -> CopyState:
    """Walk the chain of a copy or an extract.

    Raises
    ------
    FedmviError
        515 it cannot be read, or is neither.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise FedmviError(515, f"{path}: {type(error).__name__}") from error
    first = _entry(lines[0])
    if first is None:
        raise FedmviError(515, str(path))
    if EXTRACT not in first:
        state = Ledger(path).verify()
        return CopyState(state.lines, state.head, state.broken_at)
    return _walk([line for line in lines[1:] if line], _end(first, path))


def _walk(lines: list[bytes], end: Head) -> CopyState:
    previous, gaps = GENESIS, 0
    for number, raw in enumerate(lines, start=1):
        line = whole_line(raw)
        if line is None:
            return CopyState(number - 1, previous, number + 1, gaps, extract=True)  # the first line says what it is
        gaps += line["previous"] != previous
        previous = line["hash"]
    gaps += previous != end.hash
    return CopyState(len(lines), previous, 0, gaps, extract=True)


def _end(first: dict[str, Any], path: Path) -> Head:
    try:
        return Head(first[EXTRACT]["lines"], first[EXTRACT]["hash"])
    except (KeyError, TypeError, FedmviError) as error:
        raise FedmviError(515, f"{path}: its first line") from error


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _cell(value: Any) -> str:
    """A cell; what a spreadsheet would take for a formula is shown as text: a coordinator chose some of the words."""
    text = value if isinstance(value, str) else canonical_json(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


FORMATS: dict[str, Callable[[Ledger, str, Chosen], bytes]] = {
    ".jsonl": copy_of,
    ".csv": lambda ledger, _, chosen: table_of(ledger, chosen),
}
"""How a file is written, by how its name ends."""
