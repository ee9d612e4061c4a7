"""simulation: reading public data files: expected files, cells, and cleaning rules that count what they change."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import FedmviError

Action = Literal["repaired", "set missing", "kept"]


@dataclass(frozen=True)
class CleaningRule:
    """One stated rule about a variable. Rules look at the value and its limits of normal, never at an outcome.

    Attributes
    ----------
    key
        Short name within the importer, such as `platelets-per-ul`.
    variable
        The column of patients.csv that it concerns.
    action
        What happens to a cell that meets the rule; `kept` draws attention to a value that stays as it is.
    text
        The rule in one sentence.
    """

    key: str
    variable: str
    action: Action
    text: str


class Tally:
    """Counts how often each declared rule was applied; a rule that never met a cell is listed with 0."""

    def __init__(self, rules: Sequence[CleaningRule]) -> None:
        self.rules = tuple(rules)
        self._counts = {rule.key: 0 for rule in self.rules}

    def add(self, key: str) -> None:
        """Count one application of the rule `key`, which must be declared."""
        self._counts[key] += 1

    def __getitem__(self, key: str) -> int:
        return self._counts[key]


@dataclass(frozen=True)
class SourceFile:
    """A file that was read: its name and the SHA-256 of its bytes."""

    name: str
    sha256: str


def expect_files(source: Path, names: Sequence[str]) -> tuple[SourceFile, ...]:
    """The expected files of a data folder, hashed.

    Raises
    ------
    FedmviError
        801 naming every expected file that is absent.
    """
    absent = [name for name in names if not (source / name).is_file()]
    if absent:
        raise FedmviError(801, f"{source} lacks {', '.join(absent)}")
    return tuple(SourceFile(n, hashlib.sha256((source / n).read_bytes()).hexdigest()) for n in names)


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; all cells as text, so that the level `None` is not taken for missing.

    Raises
    ------
    FedmviError
        801 where a needed column is absent or the file is not a UTF-8 table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            absent = [name for name in columns if name not in (reader.fieldnames or ())]
            if absent:
                raise FedmviError(801, f"{path} lacks the columns {', '.join(absent)}")
            rows = [dict(row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FedmviError(801, f"{path}: {error}") from error
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise FedmviError(801, f"{path}, line {number}: the number of cells differs from the header")
    return rows


def read_cells(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file without a header, named by `columns`; 801 where a row has another number of cells."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FedmviError(801, f"{path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if len(line) != len(columns):
            raise FedmviError(801, f"{path}, row {number}: {len(line)} cells, {len(columns)} expected")
    return [dict(zip(columns, line, strict=True)) for line in lines]


def number(cell: str, variable: str, where: str) -> float | None:
    """The number in a cell; None for an empty cell, `?`, `--` or a bracketed word such as `[Not Available]`.

    Raises
    ------
    FedmviError
        303 for any other text.
    """
    text = cell.strip()
    if text in ("", "?", "--") or text.startswith("["):
        return None
    try:
        return float(text)
    except ValueError as error:
        raise FedmviError(303, f"{where}: '{text}'", variable=variable) from error


def word(cell: str, words: Mapping[str, str], variable: str, where: str) -> str:
    """The study's word for a cell; "" for one that means missing.

    Raises
    ------
    FedmviError
        308 for a word that is not in `words`, so that an unforeseen level is never dropped.
    """
    text = cell.strip()
    if text in words:
        return words[text]
    if text in ("", "?", "--") or text.startswith("["):
        return ""
    raise FedmviError(308, f"{where}: '{text}'", variable=variable)


def decimal(value: float | None, places: int) -> str:
    """Shortest text of a number rounded to `places` decimals, "" for None; never 17 digits, never an exponent."""
    if value is None:
        return ""
    text = f"{value:.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
