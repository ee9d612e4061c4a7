"""client/describing: what there is to describe: the columns that a study uses, or all that are known without one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from client.cohort.cells import level_index, parse_number
from client.cohort.check import inspect
from client.cohort.columns import Columns, Source
from client.cohort.membership import eligible
from client.cohort.problems import Problems, worst_first
from client.cohort.reading import ID_COLUMN, LABEL_COLUMN, consenting, read_patients
from client.cohort.sheet import Sheet, read_sheet
from client.cohort.site import Site
from client.cohort.units import Flags, out_of_range
from client.cohort.values import read_numbers, read_variable
from common.errors import FedmviError
from common.study.dictionary import DICTIONARY, Variable
from common.study.protocol import Study
from common.study.table import Column, FloatArray, SiteTable

MANY_WORDS = 12
"""A column of more different texts has no bars."""
MANY_GROUPS = 5
"""An endpoint of more classes does not tell groups apart: there are so many colours."""
_GROUPED_BY = ("mvi", "vascular_invasion", "mvi_grade")


@dataclass(frozen=True)
class Measured:
    """One column of the table.

    Attributes
    ----------
    name, title, unit
        As the study or the dictionary calls it, or the table where neither does.
    column
        Of all patients of the table.
    cutoffs
        Above which the study tells patients apart, in `unit`.
    low, high
        The plausible range; None where it has no end.
    outside
        (n,) True where a value is not plausible.
    """

    name: str
    title: str
    unit: str
    column: Column
    cutoffs: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    outside: Flags = field(default_factory=lambda: np.zeros(0, bool))


@dataclass(frozen=True)
class Groups:
    """By what all others are described: the classes of MVI. `codes` (n,) is the place in `names`, NaN where missing."""

    name: str
    title: str
    names: tuple[str, ...]
    codes: FloatArray


@dataclass(frozen=True)
class Material:
    """What a page is made of.

    Attributes
    ----------
    site, study
        Whose data, and for what; a site may be described without a study.
    patients
        (n,) ids, "" where a row has none.
    rows
        The row of each patient, as a spreadsheet counts.
    kept
        (n,) True for the patients who are described: those whom the study takes, without a study all.
    measured
        The columns, sorted by name; without a study in the table's order.
    groups
        None where there is no MVI.
    problems
        What `fedmvi-site check` says, worst first.
    table
        What the study reads; None without one.
    unread
        Headers of columns that nothing is known of.
    """

    site: Site
    study: Study | None
    patients: tuple[str, ...]
    rows: Mapping[int, str]
    kept: Flags
    measured: tuple[Measured, ...]
    groups: Groups | None
    problems: tuple[FedmviError, ...]
    table: SiteTable | None = None
    unread: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Patients who are described."""
        return int(np.count_nonzero(self.kept))


def read_material(site: Site, study: Study | None) -> Material:
    """Read the site's table as `check` and `prepare` do; what is wrong with it is in `problems`, nothing is raised."""
    return _without_study(site) if study is None else _for_study(site, study)


def _for_study(site: Site, study: Study) -> Material:
    table, problems = inspect(site, study)
    measured = [_measured(study.variable(name), column, _cutoffs(study, name)) for name, column in table.columns.items()
                if name not in study.features()]  # fmt: skip
    asked = [study.endpoint(model.endpoint) for model in study.models] + list(study.endpoints)
    groups = None
    for endpoint in (each for each in asked if 1 < len(each.level_names) <= MANY_GROUPS):
        groups = Groups(endpoint.name, endpoint.title, endpoint.level_names, table.endpoints[endpoint.name])
        break
    rows = _rows(site)
    return Material(site, study, table.patients, rows, eligible(table), tuple(measured), groups, tuple(problems), table)


def _cutoffs(study: Study, name: str) -> tuple[float, ...]:
    """All that models, analyses, comparisons and a look before training use of a variable."""
    named = [term for part in study.on_predictors for term in part.predictors]
    named += [term for comparison in study.comparisons for term in comparison.cox or ()]
    terms = [term for term in named if term.variable == name and term.coding == "above"]
    found = {study.variable(name).cutoff if term.cutoff is None else term.cutoff for term in terms}
    return tuple(sorted(cutoff for cutoff in found if cutoff is not None))


def _measured(variable: Variable, column: Column, cutoffs: tuple[float, ...] = ()) -> Measured:
    none = np.zeros(column.values.size, bool)
    outside = none if column.levels else out_of_range(variable, column.values, column.censored)
    ends = (variable.low, variable.high)
    return Measured(variable.name, variable.title, variable.unit, column, cutoffs, *ends, outside)


def _rows(site: Site) -> dict[int, str]:
    """The patient of each row, to say whose cell a problem is in."""
    sheet = read_sheet(site, Problems())
    source = Columns(site, None, sheet, Problems()).get(ID_COLUMN, required=False) if sheet else None
    if sheet is None or source is None:
        return {}
    return {row: cell or "" for row, cell in zip(sheet.numbers, source.cells, strict=True)}


def _without_study(site: Site) -> Material:
    """The dictionary's columns, those of [columns] in site.toml, and the names of all others."""
    problems = Problems()
    sheet = read_sheet(site, problems) or Sheet(site.tables.patients, (), (), ())
    try:
        sheet = consenting(site, sheet, problems)
    except FedmviError as error:  # nobody knows who withdrew: the table must not be shown
        problems.found.append(error)
        sheet = Sheet(sheet.file, (), (), ())
    columns = Columns(site, None, sheet, problems)
    patients = read_patients(columns, sheet, problems) if sheet.header else ()
    found = _sources(site, columns) if sheet.header else {}
    measured = tuple(_known(source, columns, problems) for source in found.values())
    read = {source.position for source in found.values()}
    read |= {s.position for name in (ID_COLUMN, LABEL_COLUMN) if (s := columns.get(name, required=False)) is not None}
    unread = tuple(header for i, header in enumerate(sheet.header) if i not in read)
    kept = np.ones(len(patients), bool)
    told = tuple(worst_first(problems.found))
    return Material(site, None, patients, _rows(site), kept, measured, _mvi(measured), told, unread=unread)


def _sources(site: Site, columns: Columns) -> dict[str, Source]:
    """Columns by name, in the table's order; what site.toml maps goes before an alias of the dictionary."""
    found: dict[int, Source] = {}
    for name in (*site.columns, *DICTIONARY):
        source = None if name in (ID_COLUMN, LABEL_COLUMN) else columns.get(name, required=False)
        if source is not None:
            found.setdefault(source.position, source)
    return {found[position].name: found[position] for position in sorted(found)}


def _known(source: Source, columns: Columns, problems: Problems) -> Measured:
    """A column as the dictionary has it; where none of its cells fits, or it is not there, as its cells look."""
    variable = columns.variable(source.name)
    cells = [cell for cell in source.cells if cell is not None]
    if variable is not None:
        levels = variable.level_names
        if not levels or not cells or any(level_index(cell, levels) is not None for cell in cells):
            return _measured(variable, read_variable(variable, len(source.cells), columns, problems))
    title = source.header if variable is None else f"{variable.title} (column {source.header})"
    if cells and all(not isinstance(parse_number(cell), int) for cell in cells):
        return _plain(source, title, read_numbers(source, 1.0, columns, problems))
    return _plain(source, title, _words(source))


def _plain(source: Source, title: str, column: Column) -> Measured:
    none = np.zeros(column.values.size, bool)
    return Measured(source.name, title, source.unit or "", column, outside=none)


def _words(source: Source) -> Column:
    """A column of words: its levels are the words that it has, or one level where these are many."""
    words = sorted({cell for cell in source.cells if cell is not None})
    none: NDArray[np.int8] = np.zeros(len(source.cells), np.int8)
    if len(words) > MANY_WORDS:
        given = np.array([math.nan if cell is None else 0.0 for cell in source.cells])
        return Column(given, (f"one of {len(words)} different texts",), none)
    places = [math.nan if cell is None else float(words.index(cell)) for cell in source.cells]
    return Column(np.array(places), tuple(words), none)


def _mvi(measured: tuple[Measured, ...]) -> Groups | None:
    """The column of MVI, under the names that it usually has."""
    for name in _GROUPED_BY:
        for each in measured:
            if each.name == name and 1 < len(each.column.levels) <= MANY_GROUPS:
                return Groups(each.name, each.title, each.column.levels, each.column.values)
    return None
