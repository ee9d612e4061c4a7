"""client/cohort: a problem found in a table: a numbered error that knows its file, row and column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.errors import Fact, FedmviError, Severity


@dataclass(frozen=True)
class Place:
    """Where in a table a problem is.

    Attributes
    ----------
    file
        The table's path as site.toml writes it.
    row
        The row as a spreadsheet numbers it (the header is row 1); 0 where the problem is not in one row.
    column
        The header, as the table writes it; "" where the problem is not in one column.
    position
        The column's number, from 1: problems of one row are listed from left to right.
    """

    file: str = ""
    row: int = 0
    column: str = ""
    position: int = 0

    def __str__(self) -> str:
        row = f", row {self.row}" if self.row else ""
        column = f", column '{self.column}'" if self.column else ""
        return f"{self.file}{row}{column}"


class CellError(FedmviError):
    """A `FedmviError` with a place; the place is part of `local` and never leaves."""

    def __init__(
        self,
        number: int,
        local: str = "",
        *,
        place: Place | None = None,
        severity: Severity = Severity.ERROR,
        **facts: Fact,
    ) -> None:
        super().__init__(number, local, severity=severity, **facts)
        self.place = place or Place()


class Problems:
    """Collects all problems of one pass over a table."""

    def __init__(self) -> None:
        self.found: list[FedmviError] = []

    def add(
        self, number: int, place: Place, detail: str = "", severity: Severity = Severity.ERROR, /, **facts: Fact
    ) -> None:
        """Note one problem; `detail` follows the place in the local text."""
        local = ": ".join(part for part in (str(place), detail) if part)
        self.found.append(CellError(number, local, place=place, severity=severity, **facts))

    def rows_with(self, number: int) -> frozenset[int]:
        """The rows in which a problem of that number was noted."""
        return frozenset(p.place.row for p in self.found if isinstance(p, CellError) and p.number == number)


def worst_first(problems: Iterable[FedmviError]) -> list[FedmviError]:
    """Sorted by severity (worst first), then number, then file, row and column."""

    def key(problem: FedmviError) -> tuple[int, int, str, int, int]:
        place = problem.place if isinstance(problem, CellError) else Place()
        return -problem.severity, problem.number, place.file, place.row, place.position

    return sorted(problems, key=key)
