"""client/predicting: who is predicted, and what the hospital's table says of them.

The table is read as `fedmvi-site check` reads it: headers, units and codes of site.toml, the same errors with row and
column. A patient who withdrew his consent is not looked at: what stands in his row cannot even be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from client.cohort.columns import Columns
from client.cohort.problems import Problems, worst_first
from client.cohort.reading import ID_COLUMN, consenting, read_patients
from client.cohort.sheet import Sheet, read_sheet
from client.cohort.site import Site
from client.cohort.values import check_bounds, read_variable
from client.cohort.withdrawn import withdrawn
from client.preparation.prepare import UnfitDataError
from common.errors import FedmviError, Severity
from common.models.logistic import FrozenModel
from common.study.dictionary import Variable
from common.study.table import Column, SiteTable

WITHDREW, WITHDRAWN_NOTE = 787, 765


@dataclass(frozen=True)
class Known:
    """What is known of the patients before any image.

    Attributes
    ----------
    patients
        All who are asked for, in order.
    table
        Those who did not withdraw their consent, with the variables that were read.
    refused
        Of the others, why nothing is computed.
    warnings
        Of the table.
    """

    patients: tuple[str, ...]
    table: SiteTable
    refused: Mapping[str, str]
    warnings: tuple[FedmviError, ...] = ()


def read_known(
    model: FrozenModel, reader: Site, site: Site | None, variables: Sequence[Variable], only: str = ""
) -> Known:
    """Read the table of patients.

    Parameters
    ----------
    model
        Its inputs say what a value must be good for.
    reader
        Where the table is and how it is written.
    site
        Whose patients may have withdrawn their consent; None: nobody's.
    variables
        What is read.
    only
        The one patient who is asked for; "": everybody. Rows of others are then not looked at.

    Raises
    ------
    UnfitDataError
        With every problem of the table, each with its row and column.
    FedmviError
        783 the table lacks features of images that are to be read, 786 it has no such patient, 787 the one who is
        asked for withdrew his consent, 763 nobody knows who did.
    """
    problems = Problems()
    sheet = read_sheet(reader, problems) or Sheet(reader.tables.patients, (), (), ())
    if not sheet.header:
        raise UnfitDataError(worst_first(problems.found))
    sheet = _of_one(reader, sheet, only) if only else sheet
    everybody = read_patients(Columns(reader, None, sheet, Problems()), sheet, Problems())
    if site is not None:
        sheet = _consenting(site, reader, sheet, problems)
    columns = Columns(reader, model, sheet, problems)
    _need_features(variables, columns)
    patients = read_patients(columns, sheet, problems)
    table = _table(model, variables, patients, columns, problems)
    if any(problem.severity is Severity.ERROR for problem in problems.found):
        raise UnfitDataError(worst_first(problems.found))
    gone = [patient for patient in everybody if patient not in set(patients)]
    return Known(everybody, table, refusals(gone, only), tuple(worst_first(problems.found)))


def refusals(gone: Sequence[str], only: str = "") -> dict[str, str]:
    """Why nothing is computed of patients who withdrew; error 787 if one of them is the one who is asked for."""
    error = FedmviError(WITHDREW)
    if only and only in gone:
        raise FedmviError(WITHDREW, only)
    return dict.fromkeys(gone, f"{error.code} {error.what}")


def _of_one(reader: Site, sheet: Sheet, only: str) -> Sheet:
    """The rows of one patient; error 786 if there is none."""
    source = Columns(reader, None, sheet, Problems()).get(ID_COLUMN)
    rows = [] if source is None else [i for i, cell in enumerate(source.cells) if cell == only]
    if source is not None and not rows:
        raise FedmviError(786, f"{only}: {sheet.file}")
    numbers, records = (tuple(sheet.numbers[i] for i in rows), tuple(sheet.records[i] for i in rows))
    return Sheet(sheet.file, sheet.header, numbers, records)


def _consenting(site: Site, reader: Site, sheet: Sheet, problems: Problems) -> Sheet:
    """The rows of those who did not withdraw; that they are left out is said in their rows of the answer."""
    settings = reader.model_copy(update={"folder": site.folder})
    kept = consenting(settings, sheet, problems)
    problems.found[:] = [problem for problem in problems.found if problem.number != WITHDRAWN_NOTE]
    return kept


def withdrew(site: Site | None) -> frozenset[str]:
    """Who withdrew his consent; error 763 where nobody knows."""
    return frozenset() if site is None else frozenset(withdrawn(site))


def _need_features(variables: Sequence[Variable], columns: Columns) -> None:
    absent = [v.name for v in variables if "." in v.name and columns.get(v.name, required=False) is None]
    if absent:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise FedmviError(783, shown, count=len(absent))


def _table(
    model: FrozenModel, variables: Sequence[Variable], patients: tuple[str, ...], columns: Columns, problems: Problems
) -> SiteTable:
    """The variables; implausible values are no problem here, because they are flagged one by one."""
    values = {v.name: read_variable(v, len(patients), columns, problems) for v in variables}
    problems.found[:] = [problem for problem in problems.found if problem.number != 306]
    coded = (column for one in model.all_inputs for column in one.columns)
    check_bounds(coded, values, columns, problems)
    _check_logarithms(model, values, columns, problems)
    return SiteTable(patients, values, {}, {}, ("",) * len(patients))


def _check_logarithms(model: FrozenModel, values: Mapping[str, Column], columns: Columns, problems: Problems) -> None:
    """Note 306 for values that have no place on the model's scale, the logarithm of 1 + value."""
    for variable in (i.variable for i in model.all_inputs if i.coding == "log" and i.variable.name in values):
        facts = {"variable": variable.name, "low": "above -1", "high": f"{variable.high}", "unit": variable.unit}
        for row in np.flatnonzero(values[variable.name].values <= -1.0):
            source = columns.require(variable.name)
            problems.add(306, columns.place(source, int(row)), repr(source.cells[row]), **facts)
