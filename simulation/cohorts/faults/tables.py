"""simulation/cohorts: deliberate faults of the patient table, as hospitals' exports have them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from common.errors import FedmviError
from simulation.cohorts.faults.fault import Damage, Fault, choose
from simulation.cohorts.outcomes import DAYS_PER_MONTH

FILE = "patients.csv"


@dataclass
class _Table:
    """The patient table as text: a header and as many cells in every row."""

    header: list[str]
    rows: list[list[str]]

    def position(self, name: str) -> int:
        """Where a column is; 809 where it is not."""
        if name not in self.header:
            raise FedmviError(809, problems=f"a fault needs the column '{name}', which the table does not have")
        return self.header.index(name)

    def choose(self, rng: np.random.Generator, count: int, *names: str) -> list[list[str]]:
        """`count` rows at random whose cells of these columns are filled."""
        positions = [self.position(name) for name in names]
        filled = [row for row in self.rows if all(row[p] for p in positions)]
        return choose(rng, filled, count, f"patients with {' and '.join(names)}")

    def text(self, delimiter: str = ",") -> str:
        """The table as CSV."""
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([self.header, *self.rows])
        return out.getvalue()


def _read(folder: Path) -> _Table:
    header, *rows = csv.reader(io.StringIO((folder / FILE).read_text(encoding="utf-8"), newline=""))
    return _Table(header, rows)


def _changed(change: Callable[[_Table, np.random.Generator], None]) -> Damage:
    """A fault of cells: the table stays well-formed UTF-8 unless the change makes its rows unequal."""

    def apply(folder: Path, rng: np.random.Generator) -> None:
        table = _read(folder)
        change(table, rng)
        (folder / FILE).write_text(table.text(), encoding="utf-8", newline="\n")

    return apply


def _rewritten(write: Callable[[_Table], bytes]) -> Damage:
    """A fault of the file: the same cells in bytes that they should not have."""

    def apply(folder: Path, rng: np.random.Generator) -> None:  # noqa: ARG001 - nothing is left to chance
        (folder / FILE).write_bytes(write(_read(folder)))

    return apply


def _cells(column: str, *texts: str) -> Damage:
    """Put each text in the column's cell of another patient; a text with {} keeps what was there."""

    def change(table: _Table, rng: np.random.Generator) -> None:
        position = table.position(column)
        for row, text in zip(table.choose(rng, len(texts), column), texts, strict=True):
            row[position] = text.replace("{}", row[position])

    return _changed(change)


def _duplicate_patient(table: _Table, rng: np.random.Generator) -> None:
    (row,) = table.choose(rng, 1, "patient_id")
    table.rows.append(list(row))


def _decimal_commas(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    position = table.position("albumin")
    for row in table.rows:
        row[position] = row[position].replace(".", ",")


def _unit_mixture(table: _Table, rng: np.random.Generator) -> None:
    position = table.position("albumin")
    for row in table.choose(rng, max(3, len(table.rows) // 3), "albumin"):
        row[position] = f"{float(row[position]) / 10:.2f}"


def _months_for_days(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    for name in (name for name in table.header if name.endswith("_days") and name != "imaging_to_surgery_days"):
        position = table.position(name)
        for row in table.rows:
            row[position] = row[position] and str(max(1, round(float(row[position]) / DAYS_PER_MONTH)))


def _recurrence_after_death(table: _Table, rng: np.random.Generator) -> None:
    (row,) = table.choose(rng, 1, "rfs_days", "os_days")
    row[table.position("rfs_event")] = row[table.position("os_event")] = "1"
    row[table.position("os_days")] = "300"
    row[table.position("rfs_days")] = "330"


def _followed_longer_for_recurrence(table: _Table, rng: np.random.Generator) -> None:
    (row,) = table.choose(rng, 1, "rfs_days", "os_days")
    row[table.position("rfs_event")] = row[table.position("os_event")] = "0"
    row[table.position("os_days")] = "300"
    row[table.position("rfs_days")] = "900"


def _padded(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    table.header = [f" {name}\t" for name in table.header]
    table.rows = [[f"\u00a0{cell}  " if cell else cell for cell in row] for row in table.rows]


def _leak(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    outcome, column = table.position("mvi"), table.position("cirrhosis")
    for row in table.rows:
        row[column] = {"present": "yes", "absent": "no"}.get(row[outcome], "")


def _one_class(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    position = table.position("mvi")
    for row in table.rows:
        row[position] = row[position] and "present"


def _no_outcome(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    for name in ("os_days", "os_event"):
        position = table.position(name)
        for row in table.rows:
            row[position] = ""


def _repeated_header(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    position = table.position("afp")
    table.header.append("afp")
    for row in table.rows:
        row.append(row[position])


def _missing_column(table: _Table, rng: np.random.Generator) -> None:  # noqa: ARG001
    position = table.position("albumin")
    for row in (table.header, *table.rows):
        del row[position]


def _ragged_row(table: _Table, rng: np.random.Generator) -> None:
    (row,) = table.choose(rng, 1, "patient_id")
    del row[-1]


def _unclosed_quote(table: _Table) -> bytes:
    head, _, tail = table.text().rstrip("\n").rpartition("\n")
    return f'{head}\n"{tail}\n'.encode()


def _spreadsheet(table: _Table) -> bytes:
    table.rows = [[cell.replace(".", ",") for cell in row] for row in table.rows]
    return codecs.BOM_UTF8 + table.text(";").replace("\n", "\r\n").encode()


def _latin_1(table: _Table) -> bytes:
    table.header.append("ward")
    for row in table.rows:
        row.append("Chirurgie Süd")
    return table.text().encode("latin-1")


def _missing_table(folder: Path, rng: np.random.Generator) -> None:  # noqa: ARG001
    (folder / FILE).unlink()


def _table(text: str, apply: Damage, tell: int | None = None) -> Fault:
    return Fault("table", text, apply, tell)


TABLE_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        # The file.
        "missing-table": _table("There is no patient table.", _missing_table, 204),
        "latin-1": _table("The table is in Latin-1, with an umlaut.", _rewritten(_latin_1), 205),
        "utf-16": _table("The table is in UTF-16.", _rewritten(lambda t: t.text().encode("utf-16")), 205),
        "zero-bytes": _table("The table is an empty file.", _rewritten(lambda _: b""), 206),
        "spreadsheet-export": _table(
            "A spreadsheet wrote a byte order mark, semicolons and decimal commas.", _rewritten(_spreadsheet), 206
        ),
        "ragged-row": _table("One row has a cell too few.", _changed(_ragged_row), 206),
        "unclosed-quote": _table("A quotation mark in the last row is never closed.", _rewritten(_unclosed_quote), 206),
        "no-header": _table(
            "The first line is a patient's.", _rewritten(lambda t: _Table(t.rows[0], t.rows[1:]).text().encode()), 207
        ),
        "missing-column": _table("There is no column `albumin`.", _changed(_missing_column), 207),
        "repeated-header": _table("Two columns are called `afp`.", _changed(_repeated_header), 208),
        "no-patients": _table(
            "There is a header and nothing else.", _rewritten(lambda t: _Table(t.header, []).text().encode()), 211
        ),
        # Patients.
        "duplicate-patient": _table("One patient has two rows.", _changed(_duplicate_patient), 301),
        "illegal-id": _table("A pseudonym has a blank, a slash and an accent.", _cells("patient_id", "42/é 7"), 302),
        "empty-id": _table("One patient has no pseudonym.", _cells("patient_id", ""), 302),
        "formula-in-id": _table(
            "A pseudonym is a formula that a spreadsheet would run.",
            _cells("patient_id", "=cmd|'/C calc'!A0"),
            302,
        ),
        # Numbers.
        "letters-in-numbers": _table(
            "The letters O and l stand for digits.", _cells("ggt", "{}O", "l8", "4l", "about {}"), 303
        ),
        "spreadsheet-errors": _table("Cells hold a spreadsheet's errors.", _cells("ggt", "#DIV/0!", "#REF!"), 303),
        "control-characters": _table(
            "Cells hold a bell, a hard blank and a zero-width blank.",
            _cells("ggt", "{}\u0007", "1\u00a0200", "{}\u200b"),
            303,
        ),
        "dates-for-days": _table("Times of death are dates.", _cells("os_days", "2018-05-03", "2019-11-30"), 303),
        "decimal-commas": _table("Albumin is written with decimal commas.", _changed(_decimal_commas), 304),
        "beyond-the-assay": _table(
            "AFP is given as above the limit of the assay, and the study needs the number.",
            _cells("afp", ">1210", ">1210", "≥ 1210"),
            305,
        ),
        "impossible-age": _table("A patient is 599 years old.", _cells("age", "599"), 306),
        "unit-mixture": _table("A third of the albumin values are in g/dL.", _changed(_unit_mixture), 307),
        # Words.
        "unknown-level": _table("The sex of two patients is no level.", _cells("sex", "unclear", "1"), 308),
        "formula-in-cell": _table(
            "A cell is a formula that a spreadsheet would run.", _cells("sex", '=HYPERLINK("http://x.invalid")'), 308
        ),
        "unknown-outcome": _table(
            "A report of pathology is neither present nor absent.", _cells("mvi", "suspected"), 316
        ),
        # Follow-up.
        "event-without-time": _table("Whether a patient died is given, and when is not.", _cells("os_days", ""), 309),
        "time-without-event": _table(
            "How long a patient was followed is given, and whether they died is not.", _cells("os_event", ""), 309
        ),
        "negative-time": _table("A patient died before surgery.", _cells("os_days", "-12"), 310),
        "time-off-grid": _table("A time in whole days has a fraction.", _cells("os_days", "123.4"), 311),
        "time-too-late": _table("A time is 274 years.", _cells("os_days", "99999"), 312),
        "no-outcome": _table("Overall survival is empty for everybody.", _changed(_no_outcome), 313),
        "leak": _table("Cirrhosis repeats the outcome in all patients.", _changed(_leak), 314),
        "one-class": _table("All patients have microvascular invasion.", _changed(_one_class), 315),
        # Nothing looks for these: only two columns together, or all sites together, show that they are wrong.
        "recurrence-after-death": _table(
            "A recurrence is dated a month after the death.", _changed(_recurrence_after_death)
        ),
        "rfs-beyond-os": _table(
            "A patient is followed for recurrence longer than for death.", _changed(_followed_longer_for_recurrence)
        ),
        "months-for-days": _table("Times of follow-up are in months, not days.", _changed(_months_for_days)),
        # Ugly, and to be read as if it were not.
        "padded-cells": _table(
            "Blanks, tabulators and hard blanks surround headers and cells, which changes nothing.", _changed(_padded)
        ),
    }
)
"""Faults of the patient table by name."""
