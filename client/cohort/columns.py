"""client/cohort: finds the columns of a study in the hospital's table, and applies its codes and missing words."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Protocol

from client.cohort.cells import parse_date
from client.cohort.problems import Place, Problems
from client.cohort.sheet import Sheet
from client.cohort.site import ColumnMap, Site
from common.errors import FedmviError
from common.study.dictionary import DICTIONARY, Variable


@dataclass(frozen=True)
class Source:
    """One column of the study as found in the table.

    Attributes
    ----------
    name
        The column's name in the study.
    header
        What the errors call it: its header, or both headers of a difference of dates.
    position
        Its position in the table, from 0.
    cells
        (n,) texts after the site's `codes`; None where missing.
    unit
        The unit that site.toml declares, if it does.
    """

    name: str
    header: str
    position: int
    cells: tuple[str | None, ...]
    unit: str | None


class Declares(Protocol):
    """What defines variables of its own: a study, or a model that was handed on."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Its variables; they go before the dictionary's."""


class Columns:
    """Looks columns up by name, each once; what is missing or ambiguous is noted once."""

    def __init__(self, site: Site, study: Declares | None, sheet: Sheet, problems: Problems) -> None:
        self._site, self._study, self._sheet, self._problems = site, study, sheet, problems
        self._known: dict[str, Source | None] = {}

    def variable(self, name: str) -> Variable | None:
        """The study's or the dictionary's variable of that name, if there is one."""
        own = {v.name: v for v in self._study.variables} if self._study else {}
        return own.get(name) or DICTIONARY.get(name)

    def place(self, source: Source, index: int | None = None) -> Place:
        """The place of a cell (record index from 0), or of the whole column."""
        row = 0 if index is None else self._sheet.numbers[index]
        return Place(self._sheet.file, row, source.header, source.position + 1)

    def get(self, name: str, *, required: bool = True) -> Source | None:
        """The column of that name; None (and 207, or 320 if ambiguous) where the table does not have it."""
        if name not in self._known:
            self._known[name] = self._find(name, required)
        return self._known[name]

    def require(self, name: str) -> Source:
        """The column of that name, which the caller knows to be there."""
        source = self.get(name)
        if source is None:
            raise FedmviError(207, column=name)
        return source

    def _find(self, name: str, required: bool) -> Source | None:
        entry = self._site.columns.get(name, ColumnMap())
        if entry.start is not None and entry.end is not None:
            return self._days(name, entry, entry.start, entry.end)
        position = self._position(name, entry.header, required or entry.header is not None)
        if position is None:
            return None
        cells = tuple(self._meaning(record[position], entry) for record in self._sheet.records)
        return Source(name, self._sheet.header[position], position, cells, entry.unit)

    def _meaning(self, cell: str, entry: ColumnMap) -> str | None:
        """Codes go before missing words: a site may say that its "NA" means "not assessed", or that 9 means ""."""
        word = entry.codes.get(cell, cell)
        return None if word in self._site.tables.missing or not word else word

    def _position(self, name: str, mapped: str | None, required: bool) -> int | None:
        """A header named in site.toml is final; else the name itself, then the dictionary's aliases."""
        variable = self.variable(name)
        tiers = [(mapped,)] if mapped is not None else [(name,), variable.aliases if variable else ()]
        for names in tiers:
            for matches in (self._exact(names), self._folded(names, variable)):
                if len(matches) == 1:
                    return matches[0]
                if len({self._sheet.header[i] for i in matches}) > 1:
                    listed = ", ".join(f"'{self._sheet.header[i]}'" for i in matches)
                    self._problems.add(320, Place(self._sheet.file, 1), listed, column=name)
                    return None
                if matches:  # the same header twice: 208 has been noted
                    return matches[0]
        if required:
            near = difflib.get_close_matches(mapped or name, self._sheet.header, n=1)
            hint = f"; the nearest header is '{near[0]}'" if near else ""
            wanted = f"no header '{mapped or name}'"
            self._problems.add(207, Place(self._sheet.file, 1), wanted + hint, column=name)
        return None

    def _exact(self, names: tuple[str, ...]) -> list[int]:
        return [i for i, header in enumerate(self._sheet.header) if header in names]

    def _folded(self, names: tuple[str, ...], variable: Variable | None) -> list[int]:
        """Regardless of case, blanks for underscores, and with a unit of the variable behind: `AFP (ng/mL)`."""
        folded = {_fold(name) for name in names}
        return [
            i
            for i, header in enumerate(self._sheet.header)
            if _fold(header) in folded or _fold(_without_unit(header, variable)) in folded
        ]

    def _days(self, name: str, entry: ColumnMap, start: str, end: str) -> Source | None:
        """Whole days between two dates, as cells; the dates go no further than here."""
        pair = (self._position(name, start, True), self._position(name, end, True))
        if pair[0] is None or pair[1] is None:
            return None
        cells: list[str | None] = []
        for index, record in enumerate(self._sheet.records):
            dates = []
            for position in (pair[0], pair[1]):
                word = self._meaning(record[position], entry)
                value = parse_date(word) if word is not None else None
                if isinstance(value, int):
                    self._problems.add(value, self._sheet.place(index, position), repr(word))
                dates.append(None if isinstance(value, int) else value)
            first, last = dates
            cells.append(None if first is None or last is None else str((last - first).days))
        return Source(name, f"{start} to {end}", pair[1], tuple(cells), entry.unit)


def header_units(header: str, variable: Variable) -> list[str]:
    """The units of a variable that a header mentions as words of their own: `AFP [IU/ml]`, `tb_mg_dl`."""
    text = header.casefold().replace("µ", "u").replace("μ", "u")
    names = [unit for unit in (variable.unit, *variable.units) if unit]
    return [unit for unit in names if _unit_pattern(unit).search(text)]


def _unit_pattern(unit: str) -> re.Pattern[str]:
    top, slash, bottom = unit.casefold().partition("/")
    between = r"\s*(?:/|\bper\b|_per_)\s*" if not top else r"[\s_]*(?:/|per|\s|_)[\s_]*"
    body = re.escape(top) + (between + re.escape(bottom) if slash else "")
    return re.compile(rf"(?:^|(?<=[^a-z0-9])){body}(?=$|[^a-z0-9])")


def _without_unit(header: str, variable: Variable | None) -> str:
    if variable is None:
        return header
    text = header.casefold().replace("µ", "u").replace("μ", "u")
    for unit in (variable.unit, *variable.units):
        found = _unit_pattern(unit).search(text) if unit else None
        if found and not text[found.end() :].strip(" )]"):
            return text[: found.start()].rstrip(" ([_,-")
    return header


def _fold(header: str) -> str:
    return re.sub(r"[\s_-]+", "_", header.strip().casefold())
