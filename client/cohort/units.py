"""client/cohort: declared units, plausible ranges, and columns that look like a mixture of units.

Three rules, all from the variable's own table of units; none looks at other variables, none is random.

1. *Header.* The header mentions another unit than the one in force, and site.toml declares none. This is the only
   way to find AFP in IU/mL: at a factor of 1.21 the values themselves cannot tell.
2. *Range.* Values out of the plausible range that are plausible in another unit, at a factor of 5 or more: at least
   3 of them or 2 % of the column. One problem with their number and rows takes the place of hundreds.
3. *Two groups.* Values in range, but their logarithms have a second peak one factor away. Under any distribution
   with a single peak, a window between the peak and a distant window holds at least as many values as the distant
   one; where it holds significantly fewer (a sign test, p < 1e-4), there are two groups. No shape is assumed, so a
   skewed AFP or bilirubin alone does not raise it. Biology may have two groups as well: where site.toml declares
   the unit, this is a warning only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.cohort.columns import Columns, Source, header_units
from client.cohort.problems import Problems
from common.errors import Severity
from common.study.dictionary import Variable
from common.study.table import FloatArray

Flags = NDArray[np.bool_]

DISTANT = 5.0
"""Factors nearer to 1 than this are left to the header: healthy and ill patients differ by as much."""
SHARE = 0.02
FEW = 3
EVIDENCE = 1e-4


def conversion(source: Source, variable: Variable, columns: Columns, problems: Problems) -> float | None:
    """The factor from the column's unit to the variable's; None, and 319, for an unknown unit."""
    if source.unit is None:
        return 1.0
    for unit, factor in ((variable.unit, 1.0), *variable.units.items()):
        if _same_unit(source.unit, unit):
            return factor
    known = ", ".join(unit for unit in (variable.unit, *variable.units) if unit) or "none"
    detail = f"unit '{source.unit}'; known: {known}"
    problems.add(319, columns.place(source), detail, variable=variable.name, unit=variable.unit or "the plain number")
    return None


def check_values(
    source: Source,
    variable: Variable,
    values: FloatArray,
    censored: NDArray[np.int8],
    columns: Columns,
    problems: Problems,
) -> None:
    """Note values out of range (306) and suspected units (307). `values` (n,) in the variable's unit, NaN missing."""
    out = out_of_range(variable, values, censored)
    mentioned = [] if source.unit is not None else header_units(source.header, variable)
    others = [unit for unit in mentioned if unit != variable.unit and variable.units[unit] != 1.0]
    if others and variable.unit not in mentioned:
        detail = f"the header says {others[0]}, and site.toml declares no unit"
        problems.add(323, columns.place(source), detail, variable=variable.name, unit=variable.unit)
        return
    suspicion = _by_range(source, variable, values, out) or _by_groups(source, variable, values, censored)
    if suspicion is not None:
        place = columns.place(source, int(np.flatnonzero(suspicion.rows)[0]))
        listed = _some_rows(source, columns, suspicion.rows)
        facts = {"variable": variable.name, "unit": variable.unit}
        problems.add(307, place, f"{suspicion.sentence} (rows {listed})", suspicion.severity, **facts)
        out = out & ~suspicion.rows
    low, high = _text(variable.low, "-inf"), _text(variable.high, "inf")
    for i in np.flatnonzero(out):
        cell = repr(source.cells[i])
        range_facts = {"variable": variable.name, "low": low, "high": high, "unit": variable.unit}
        problems.add(306, columns.place(source, int(i)), cell, **range_facts)


@dataclass(frozen=True)
class _Suspicion:
    rows: Flags
    sentence: str
    severity: Severity = Severity.ERROR


def out_of_range(variable: Variable, values: FloatArray, censored: NDArray[np.int8]) -> Flags:
    """Plain values outside; bounds only where nothing inside is left: `<0.1` where 0.5 is the lowest."""
    low = -math.inf if variable.low is None else variable.low
    high = math.inf if variable.high is None else variable.high
    with np.errstate(invalid="ignore"):
        result: Flags = ((values < low) & (censored <= 0)) | ((values > high) & (censored >= 0))
    return result


def _alternatives(source: Source, variable: Variable) -> list[tuple[str, float]]:
    """Other units, each with the factor that a value as read must be multiplied by if it was recorded in it."""
    units = {variable.unit: 1.0, **variable.units}
    used = next((f for unit, f in units.items() if source.unit is not None and _same_unit(source.unit, unit)), 1.0)
    ratios = [(unit, factor / used) for unit, factor in units.items()]
    return [(unit, ratio) for unit, ratio in ratios if abs(math.log(ratio)) >= math.log(DISTANT)]


def _by_range(source: Source, variable: Variable, values: FloatArray, out: Flags) -> _Suspicion | None:
    known = int(np.count_nonzero(~np.isnan(values)))
    best: _Suspicion | None = None
    most = 0
    for unit, ratio in _alternatives(source, variable):
        rows = out & ~out_of_range(variable, values * ratio, np.zeros(values.shape, np.int8)) & (values != 0)
        count = int(np.count_nonzero(rows))
        if count > most and (count >= FEW or count >= SHARE * known):
            most = count
            whole = f'; if the whole column is, declare `unit = "{unit}"`' if 2 * count > known else ""
            sentence = f"{count} of {known} values are implausible as they are and plausible in {unit}{whole}"
            best = _Suspicion(rows, sentence)
    return best


def _by_groups(source: Source, variable: Variable, values: FloatArray, censored: NDArray[np.int8]) -> _Suspicion | None:
    with np.errstate(invalid="ignore"):
        usable = (values > 0) & (censored == 0)
    logs = np.log(values[usable])
    for unit, ratio in _alternatives(source, variable):
        for shift in (-math.log(ratio), math.log(ratio)):
            threshold = second_peak(logs, shift)
            if threshold is None:
                continue
            far = logs < threshold if shift < 0 else logs > threshold
            rows = np.zeros(values.shape, bool)
            rows[np.flatnonzero(usable)[far]] = True
            side = "below" if shift < 0 else "above"
            count, apart = int(np.count_nonzero(far)), math.exp(abs(shift))
            sentence = f"{count} of {logs.size} values form a group about {apart:.3g} times {side} the others"
            severity = Severity.ERROR if source.unit is None else Severity.WARNING
            return _Suspicion(rows, f"{sentence}, as if some were recorded in {unit}", severity)
    return None


def second_peak(logs: FloatArray, shift: float) -> float | None:
    """The valley before a second peak at about `shift` from the highest one, or None where there is none.

    Parameters
    ----------
    logs
        (n,) natural logarithms.
    shift
        Where the second peak is sought, relative to the first; a sixth of it either way is allowed.
    """
    ordered = np.sort(logs)
    half = abs(shift) / 8

    def within(centre: float) -> int:
        first, last = np.searchsorted(ordered, (centre - half, centre + half))
        return int(last - first)

    if ordered.size < 2:
        return None
    ends = np.searchsorted(ordered, ordered + half, side="right") - np.searchsorted(ordered, ordered - half)
    peak = float(ordered[int(np.argmax(ends))])
    best: tuple[float, float] | None = None
    for offset in np.linspace(-1 / 6, 1 / 6, 5):
        second = peak + shift * (1 + float(offset))
        there = within(second)
        for fraction in (0.35, 0.425, 0.5, 0.575, 0.65):
            valley = peak + (second - peak) * fraction
            chance = _at_most_half(within(valley), there)
            if chance < EVIDENCE and (best is None or chance < best[0]):
                best = chance, valley
    if best is None:
        return None
    beyond = np.count_nonzero(ordered < best[1] if shift < 0 else ordered > best[1]) / ordered.size
    return best[1] if SHARE <= beyond <= 1 - SHARE else None


def _at_most_half(valley: int, peak: int) -> float:
    """P(X <= valley) for X binomial(valley + peak, 1/2): the sign test of a valley no lower than the peak."""
    n = valley + peak
    if 2 * valley >= n:
        return 1.0
    return float(sum(math.comb(n, i) for i in range(valley + 1)) / 2**n)


def _some_rows(source: Source, columns: Columns, rows: Flags) -> str:
    """The first five rows with their cells."""
    where = [int(i) for i in np.flatnonzero(rows)]
    shown = ", ".join(f"{columns.place(source, i).row}: {source.cells[i]}" for i in where[:5])
    return shown + (", ..." if len(where) > 5 else "")


def _same_unit(a: str, b: str) -> bool:
    def plain(unit: str) -> str:
        return unit.casefold().replace("µ", "u").replace("μ", "u").replace(" ", "")

    return plain(a) == plain(b)


def _text(bound: float | None, absent: str) -> str:
    return absent if bound is None else f"{bound:g}"
