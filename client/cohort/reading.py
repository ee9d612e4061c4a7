"""client/cohort: reads the patient table into typed columns, endpoints and exclusions, and notes every problem."""

from __future__ import annotations

import re

import numpy as np

from client.cohort.columns import Columns, Source
from client.cohort.eligibility import failed
from client.cohort.endpoints import check_endpoint, check_leaks, read_endpoint
from client.cohort.problems import Problems
from client.cohort.sheet import Sheet, read_sheet
from client.cohort.site import Site
from client.cohort.values import check_bounds, read_again, read_variable
from client.cohort.withdrawn import withdrawn
from common.errors import FedmviError, Severity
from common.study.acquisition import acquisition_facts
from common.study.protocol import Study
from common.study.scores import needed_columns
from common.study.shifted import compared_by
from common.study.table import Column, SiteTable

PATIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
ID_COLUMN = "patient_id"
LABEL_COLUMN = "cohort"


def read_table(site: Site, study: Study) -> tuple[SiteTable, list[FedmviError]]:
    """Everything that the study needs of the site's patient table.

    Features of images are not in the table, nor need be how the images were acquired; `preparation` adds them.

    Returns
    -------
    The table, and all problems in the order in which they were met. Nothing is raised: a cell that cannot be read
    is NaN, and its problem is in the list; a table with a problem of severity ERROR must not be used.
    """
    problems = Problems()
    sheet = read_sheet(site, problems) or Sheet(site.tables.patients, (), (), ())
    if not sheet.header:
        return _empty(study), problems.found
    try:
        sheet = consenting(site, sheet, problems)
    except FedmviError as error:  # nobody knows who withdrew: the table must not be used
        problems.found.append(error)
    columns = Columns(site, study, sheet, problems)
    patients = read_patients(columns, sheet, problems)
    n = len(patients)
    exclusions = {name: failed(name, rule, n, columns, problems) for name, rule in study.eligibility.rules()}
    eligible = ~np.logical_or.reduce([np.zeros(n, bool), *exclusions.values()])
    measured = [name for name in study.variable_names() if name not in study.features()]
    for name in acquisition_facts(study.preparation):  # the images tell them where the table does not
        columns.get(name, required=False)
    variables = {name: read_variable(study.variable(name), n, columns, problems) for name in measured}
    second = {name: read_again(study.variable(name), n, columns, problems) for name in study.traits_read_twice()}
    endpoints = {}
    for endpoint in study.endpoints:
        arrays = read_endpoint(endpoint, eligible, n, columns, problems)
        endpoints.update(arrays)
        if all(columns.get(name) is not None for name in endpoint.columns):
            place = columns.place(columns.require(endpoint.columns[-1]))
            check_endpoint(study, endpoint, list(arrays.values())[-1], eligible, site.name, place, problems)
    looked = compared_by(study)
    models = (*study.models, *(() if looked is None else (looked,)))
    coded = (column for model in models for column in needed_columns(study, model))
    check_bounds(coded, variables, columns, problems)
    check_leaks(study, variables, endpoints, columns, problems)
    labels = columns.get(LABEL_COLUMN, required=False)
    words = ("",) * n if labels is None else tuple(cell or "" for cell in labels.cells)
    return SiteTable(patients, variables, endpoints, exclusions, words, second=second), problems.found


def read_patients(columns: Columns, sheet: Sheet, problems: Problems) -> tuple[str, ...]:
    """Patient ids, one a record ("" where absent); bad ones (302) and repeated ones (301) are noted."""
    source = columns.get(ID_COLUMN)
    if source is None:
        return ("",) * len(sheet.records)
    first: dict[str, int] = {}
    for i, cell in enumerate(source.cells):
        if cell is None or not PATIENT_ID.fullmatch(cell):
            problems.add(302, columns.place(source, i), "empty" if cell is None else repr(cell))
        if cell is not None and first.setdefault(cell, i) != i:
            problems.add(301, columns.place(source, i), _both_rows(source, sheet, first[cell], i))
    return tuple(cell or "" for cell in source.cells)


def consenting(site: Site, sheet: Sheet, problems: Problems) -> Sheet:
    """The rows of patients who did not withdraw their consent, as if the others had never been there; error 763."""
    gone = withdrawn(site)
    source = Columns(site, None, sheet, Problems()).get(ID_COLUMN, required=False) if gone else None
    if source is None:
        return sheet
    stays = [cell not in gone for cell in source.cells]
    if all(stays):
        return sheet
    problems.found.append(FedmviError(765, severity=Severity.NOTE, count=stays.count(False)))
    kept = [pair for pair, here in zip(zip(sheet.numbers, sheet.records, strict=True), stays, strict=True) if here]
    return Sheet(sheet.file, sheet.header, tuple(row for row, _ in kept), tuple(cells for _, cells in kept))


def _both_rows(source: Source, sheet: Sheet, first: int, again: int) -> str:
    return f"{source.cells[again]!r} is in rows {sheet.numbers[first]} and {sheet.numbers[again]}"


def _empty(study: Study) -> SiteTable:
    """A table without patients, of the study's shape."""
    nothing = np.zeros(0)
    columns = {
        name: Column(nothing, study.variable(name).level_names, np.zeros(0, np.int8)) for name in study.variable_names()
    }
    second = {name: columns[name] for name in study.traits_read_twice()}
    keys = [key for e in study.endpoints for key in e.keys]
    exclusions = {name: np.zeros(0, bool) for name, _ in study.eligibility.rules()}
    return SiteTable((), columns, dict.fromkeys(keys, nothing), exclusions, (), second=second)
