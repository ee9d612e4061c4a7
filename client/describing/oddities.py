"""client/describing: patients whom a person should look at, and why; the only place where values stand beside ids."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from client.cohort.problems import CellError
from client.cohort.units import Flags
from client.describing.material import Material, Measured
from client.describing.spread import far_out
from common.errors import Severity

MOST_MISSING = 0.5
"""A patient who lacks more than this share of the columns is one to look at."""
ALIKE = 3
"""Two patients may well share a few findings; so many equal numbers, and all else equal too, are one row twice."""
FEW_LATER = 0.05
"""So few patients with two times in the wrong order are errors; more are another order."""
_MANY = 3


@dataclass(frozen=True)
class OddPatient:
    """A patient, the rows of the table that are meant, and what is odd in sentences."""

    patient: str
    rows: tuple[int, ...]
    sentences: tuple[str, ...]


def odd_patients(material: Material) -> tuple[OddPatient, ...]:
    """Patients with something odd, in the order of the table."""
    found: dict[str, list[str]] = defaultdict(list)
    said = set()
    for problem in material.problems:
        if isinstance(problem, CellError) and problem.place.row in material.rows and problem.severity > Severity.NOTE:
            patient = material.rows[problem.place.row]
            found[patient].append(f"{problem.code} {problem.what} {problem.local}")
            said.add((patient, problem.facts.get("variable")))
    for measured in material.measured:
        for i, sentence in _of_column(measured, material.kept):
            if (material.patients[i], measured.name) not in said:
                found[material.patients[i]].append(sentence)
    for i, sentence in [*_incomplete(material), *_disordered(material), *_twice(material)]:
        found[material.patients[i]].append(sentence)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, patient in material.rows.items():
        rows[patient].append(row)
    order = {patient: at for at, patient in enumerate(rows)}
    whom = sorted(found, key=lambda patient: order.get(patient, len(order)))
    return tuple(OddPatient(patient, tuple(rows[patient]), tuple(dict.fromkeys(found[patient]))) for patient in whom)


def _of_column(measured: Measured, kept: Flags) -> list[tuple[int, str]]:
    """What is odd in one column of numbers: values that are not plausible, far out, or only a limit."""
    column = measured.column
    if column.levels:
        return []
    values = np.where(kept & ~measured.outside, column.values, math.nan)
    far = far_out(np.where(column.censored == 0, values, math.nan))
    sentences = []
    for i in np.flatnonzero(kept & (measured.outside | far | ((column.censored != 0) & ~np.isnan(column.values)))):
        sign = {-1: "below ", 0: "", 1: "above "}[int(column.censored[i])]
        unit = f" {measured.unit}" if measured.unit else ""
        what = f"{measured.title} is {sign}{column.values[i]:g}{unit}"
        why = "not plausible" if measured.outside[i] else "far from all others" if far[i] else "given as a limit only"
        sentences.append((int(i), f"{what}: {why}."))
    return sentences


def _incomplete(material: Material) -> list[tuple[int, str]]:
    """Patients who lack more than half of the columns, or their MVI."""
    lacks = np.array([np.isnan(each.column.values) for each in material.measured])
    sentences: list[tuple[int, str]] = []
    if len(material.measured) >= _MANY:
        missing = lacks.sum(axis=0)
        many = material.kept & (missing > MOST_MISSING * len(material.measured))
        sentences += [(int(i), f"{missing[i]} of {len(lacks)} columns are empty.") for i in np.flatnonzero(many)]
    if material.groups is not None and material.study is not None:
        unknown = material.kept & np.isnan(material.groups.codes)
        sentences += [(int(i), f"{material.groups.title} is not known.") for i in np.flatnonzero(unknown)]
    return sentences


def _disordered(material: Material) -> list[tuple[int, str]]:
    """Patients in whom of two times the one is later that is earlier, or at once, in nearly all others.

    No protocol says that recurrence-free survival ends no later than survival; the table does.
    """
    study, table = material.study, material.table
    if study is None or table is None:
        return []
    timed = [each for each in study.endpoints if each.timed]
    sentences: list[tuple[int, str]] = []
    for first, last in ((a, b) for a in timed for b in timed if a.unit == b.unit):
        time, limit = (table.endpoints[each.keys[0]] for each in (first, last))
        known = material.kept & ~np.isnan(time) & ~np.isnan(limit)
        later = np.flatnonzero(known & (np.nan_to_num(time) > np.nan_to_num(limit)))
        if np.any(known & (time < limit)) and later.size <= FEW_LATER * np.count_nonzero(known):
            what = f"{first.title} ends after {last.title}"
            sentences += [(int(i), f"{what}: {time[i]:g} and {limit[i]:g} {first.unit}.") for i in later]
    return sentences


def _twice(material: Material) -> list[tuple[int, str]]:
    """Patients of whom another has the same values everywhere."""
    continuous = [each.column.values for each in material.measured if not each.column.levels]
    if len(continuous) < ALIKE:
        return []
    given = (~np.isnan(np.array(continuous))).sum(axis=0) >= ALIKE
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in np.flatnonzero(material.kept & given):
        alike[tuple(repr(float(each.column.values[row])) for each in material.measured)].append(int(row))
    sentences = []
    for same in (group for group in alike.values() if len(group) > 1):
        for i in same:
            others = ", ".join(dict.fromkeys(material.patients[j] for j in same if j != i))
            sentences.append((i, f"All values are those of {others}: is it one patient, entered twice?"))
    return sentences
