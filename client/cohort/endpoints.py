"""client/cohort: the endpoints of a study for all patients, and what is wrong with them."""

from __future__ import annotations

import math

import numpy as np

from client.cohort.cells import word_index
from client.cohort.columns import Columns, Source
from client.cohort.problems import Place, Problems
from client.cohort.units import Flags
from client.cohort.values import known_values, read_numbers
from common.errors import Severity
from common.study.protocol import Endpoint, Study
from common.study.shifted import compared_by
from common.study.table import Column, FloatArray

ON_GRID = 1e-6
"""A time counts as on the grid within this share of the recording precision: it allows for binary fractions only."""
LEAK_PATIENTS = 20


def read_endpoint(
    endpoint: Endpoint, eligible: Flags, n: int, columns: Columns, problems: Problems
) -> dict[str, FloatArray]:
    """The arrays of `SiteTable.endpoints` for one endpoint; problems are noted.

    A word that the endpoint does not name is an error only for an eligible patient: a rule such as
    `no_macrovascular_invasion` is how a study says what becomes of the others.
    """
    sources = [columns.get(name) for name in endpoint.columns]
    if not endpoint.timed:
        source = sources[0]
        values = np.full(n, math.nan) if source is None else _words(endpoint, source, eligible, columns, problems)
        return {endpoint.name: values}
    time, event = np.full(n, math.nan), np.full(n, math.nan)
    if sources[0] is not None and sources[1] is not None:
        time = _times(endpoint, sources[0], columns, problems)
        event = _words(endpoint, sources[1], eligible, columns, problems)
        _pairs(endpoint, (sources[0], sources[1]), columns, problems)
        absent = np.isnan(time) | np.isnan(event)
        time[absent] = event[absent] = math.nan
    return dict(zip(endpoint.keys, (time, event), strict=True))


def _words(endpoint: Endpoint, source: Source, eligible: Flags, columns: Columns, problems: Problems) -> FloatArray:
    """The code of each patient's cell: its place in `Endpoint.codes`."""
    codes = [code for code, (_, cells) in enumerate(endpoint.codes) for _ in cells]
    words = [cell for _, cells in endpoint.codes for cell in cells]
    values = np.full(len(source.cells), math.nan)
    for i, cell in enumerate(source.cells):
        if cell is None:
            continue
        index = word_index(cell, words)
        if index is not None:
            values[i] = float(codes[index])
        elif eligible[i]:
            known = "; ".join(f"{meaning}: {', '.join(cells)}" for meaning, cells in reversed(endpoint.codes))
            detail = f"{cell!r}; {known}"
            problems.add(316, columns.place(source, i), detail, variable=endpoint.name)
    return values


def _times(endpoint: Endpoint, source: Source, columns: Columns, problems: Problems) -> FloatArray:
    unit = endpoint.unit or ""
    if source.unit is not None and source.unit != unit:
        detail = f"unit '{source.unit}'; known: {unit}"
        problems.add(319, columns.place(source), detail, variable=source.name, unit=unit)
        return np.full(len(source.cells), math.nan)
    column = read_numbers(source, 1.0, columns, problems)
    times = column.values
    steps = times / endpoint.precision
    bounded = column.censored != 0
    with np.errstate(invalid="ignore"):
        wrong: tuple[tuple[int, Flags, dict[str, str | float]], ...] = (
            (305, bounded, {"variable": source.name}),
            (310, ~bounded & (times < 0), {"endpoint": endpoint.name}),
            (
                311,
                ~bounded & (np.abs(steps - np.round(steps)) > ON_GRID),
                {"endpoint": endpoint.name, "precision": endpoint.precision, "unit": unit},
            ),
            (
                312,
                ~bounded & (times > endpoint.horizon),
                {"endpoint": endpoint.name, "maximum": endpoint.horizon, "unit": unit},
            ),
        )
    for number, rows, facts in wrong:
        for i in np.flatnonzero(rows):
            problems.add(number, columns.place(source, int(i)), repr(source.cells[i]), **facts)
        times[rows] = math.nan
    return times


def _pairs(endpoint: Endpoint, sources: tuple[Source, Source], columns: Columns, problems: Problems) -> None:
    unread = problems.rows_with(317)  # a date that cannot be read says itself why there is no time
    for i, (time, event) in enumerate(zip(sources[0].cells, sources[1].cells, strict=True)):
        if (time is None) != (event is None) and columns.place(sources[0], i).row not in unread:
            absent, present = (sources[0], sources[1]) if time is None else (sources[1], sources[0])
            detail = f"empty, while '{present.header}' is {present.cells[i]!r}"
            problems.add(309, columns.place(absent, i), detail, endpoint=endpoint.name)


def check_endpoint(
    study: Study,
    endpoint: Endpoint,
    values: FloatArray,
    eligible: Flags,
    site: str,
    place: Place,
    problems: Problems,
) -> None:
    """Note an endpoint that is missing (313, 318) or has one class (315) among the eligible patients.

    Missing for everybody is an error only where a cohort of this site is asked for the endpoint: a site may serve
    an outcome cohort alone.
    """
    known = values[eligible & ~np.isnan(values)]
    missing = int(np.count_nonzero(eligible)) - known.size
    if not np.any(eligible) and not bool(np.isnan(values).all()):
        return
    if known.size == 0:
        severity = Severity.ERROR if endpoint.name in asked_endpoints(study, site) else Severity.WARNING
        problems.add(313, place, "", severity, endpoint=endpoint.name)
        return
    if missing:
        detail = f"missing for {missing} of {missing + known.size} eligible patients"
        problems.add(318, place, detail, Severity.NOTE, endpoint=endpoint.name)
    classes = known if endpoint.kind == "ordinal" else known == 1.0  # a competing event is none of interest
    if np.unique(classes).size == 1:
        what = endpoint.level_names[int(known[0])] if endpoint.kind == "ordinal" else "it" if classes[0] else "none"
        detail = f"all {known.size} eligible patients have {what}"
        problems.add(315, place, detail, Severity.WARNING, endpoint=endpoint.name)


def asked_endpoints(study: Study, site: str) -> set[str]:
    """Endpoints that models, comparisons, analyses or splits ask of this site's cohorts."""
    here = {cohort.name for cohort in study.cohorts if site in cohort.sites}
    asked = {m.endpoint for m in study.models if here & {m.cohort, *m.evaluate}}
    looked = compared_by(study)
    asked |= {looked.endpoint} if looked is not None and looked.cohort in here else set()
    for comparison in study.comparisons:
        if comparison.cohort in here:
            asked |= {comparison.endpoint, comparison.group}
    for analysis in study.analyses:
        if analysis.cohort in here:
            asked |= {name for name in (analysis.endpoint, analysis.group) if name is not None}
    splits = [c.split for c in study.cohorts if c.name in here and c.split is not None]
    return asked | {split.stratify for split in splits if split.stratify is not None}


def check_leaks(
    study: Study, table: dict[str, Column], endpoints: dict[str, FloatArray], columns: Columns, problems: Problems
) -> None:
    """Note 314 for a predictor that equals its model's endpoint, or its complement, in at least 20 patients."""
    pairs = sorted({(model.endpoint, term.variable) for model in study.models for term in model.predictors})
    for endpoint, name in ((endpoint, name) for endpoint, name in pairs if name in table):
        outcome, column, source = endpoints[endpoint], table[name], columns.get(name)
        values = known_values(column)
        if values.size != 2 or source is None:
            continue
        both = ~np.isnan(outcome) & ~np.isnan(column.values)
        same = (column.values[both] == values[1]) == (outcome[both] == 1)
        two_classes = np.unique(outcome[both]).size == 2
        if same.size >= LEAK_PATIENTS and two_classes and (np.all(same) or not np.any(same)):
            detail = f"in {same.size} patients"
            problems.add(314, columns.place(source), detail, variable=name, endpoint=endpoint)
