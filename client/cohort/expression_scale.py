"""client/cohort: on which scale a table of expression is, patient by patient, and whether that is the study's.

Counts of reads are whole numbers whose sum is the depth of the sequencing; transcripts per million sum to a million;
logarithms are small. Nothing is converted: what a hospital has on another scale came from another step of another
program, and has lost what the study's statistics need.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from client.cohort.expression_files import Matrix
from client.cohort.problems import Place, Problems
from common.errors import Severity
from common.study.genomics import Genomics

COUNTS, TPM, LOGARITHMS, OTHER = "counts of reads", "transcripts per million", "logarithms", "numbers with decimals"
_WANTED: dict[Literal["counts", "tpm"], str] = {"counts": COUNTS, "tpm": TPM}
MILLION, NEAR = 1e6, 0.02
SMALL = 32.0
"""Logarithms to base 2 are smaller: no count of a sample reaches 2^32."""
_APART = 20.0
_LISTED = 8

_Kinds = NDArray[np.str_]


def check_scale(matrix: Matrix, genomics: Genomics, problems: Problems) -> None:
    """Note 325 to 329, and 223, of all genes in the table; rows with a value that is no number are left to 324."""
    whole = ~np.isnan(matrix.values).any(axis=1)
    values = matrix.values[whole]
    _negative(matrix, problems)
    if not values.size:
        return
    total = values.sum(axis=0)
    empty = np.asarray(~values.any(axis=0))
    for sample in np.flatnonzero(empty):
        problems.add(328, Place(matrix.file, 0, matrix.samples[sample], int(sample) + 1))
    _twins(matrix, values, empty, problems)
    if (values < 0).any() and not (values.max() < SMALL):
        return  # of no scale at all
    wanted = _WANTED[genomics.scale]
    kinds = _kinds(values, total)
    if wanted == TPM:
        kinds[kinds == OTHER] = TPM  # a part of the genes does not sum to a million, see 329
    if empty.all():
        return
    place = Place(matrix.file)
    names, often = np.unique(kinds[~empty], return_counts=True)
    usual = str(names[np.argmax(often)])
    if usual != wanted:
        detail = _measured(values[:, ~empty], total[~empty])
        problems.add(326, place, detail, found=usual, wanted=wanted)
    odd = np.flatnonzero((kinds != usual) & ~empty)
    if odd.size:
        detail = f"most have {usual}, but {_named(matrix, odd, kinds)}"
        problems.add(327, place, detail)
    if usual == TPM == wanted:
        _sums(matrix, np.flatnonzero((kinds == TPM) & ~empty), total, problems)


def _negative(matrix: Matrix, problems: Problems) -> None:
    below = matrix.values < 0
    for row in np.flatnonzero(below.any(axis=1)):
        bad = np.flatnonzero(below[row])
        more = f", and {bad.size - 1} more in the row" if bad.size > 1 else ""
        detail = f"{matrix.names[row][0]}: {matrix.values[row, bad[0]]:g}{more}"
        problems.add(325, matrix.place(int(row), int(bad[0])), detail)


def _kinds(values: NDArray[np.float64], total: NDArray[np.float64]) -> _Kinds:
    """(n,) what each patient's values look like."""
    whole = (values == np.floor(values)).all(axis=0)
    small = (values.max(axis=0) < SMALL) & ~whole
    million = np.abs(total - MILLION) <= NEAR * MILLION
    # One library of a million reads may be; that all have the same is no accident.
    rounded = whole & million & bool(million.all() and total.size > 1)
    return np.select([small, million & ~whole, rounded, whole], [LOGARITHMS, TPM, TPM, COUNTS], OTHER).astype(str)


def _measured(values: NDArray[np.float64], total: NDArray[np.float64]) -> str:
    decimals = 100 * np.count_nonzero(values != np.floor(values)) / values.size
    return (
        f"{decimals:.0f} % of the values have decimals, the largest is {values.max():g}, and patients' sums are "
        f"{total.min():.6g} to {total.max():.6g}"
    )


def _named(matrix: Matrix, odd: NDArray[np.intp], kinds: _Kinds) -> str:
    shown = ", ".join(f"{matrix.samples[i]} {kinds[i]}" for i in odd[:_LISTED])
    return shown + (f", and {odd.size - _LISTED} more others" if odd.size > _LISTED else "")


def _sums(matrix: Matrix, there: NDArray[np.intp], total: NDArray[np.float64], problems: Problems) -> None:
    off = there[np.abs(total[there] - MILLION) > NEAR * MILLION]
    if not off.size:
        return
    place = Place(matrix.file)
    if total[there].max() > _APART * total[there].min():
        detail = f"patients' sums are {total[there].min():.6g} to {total[there].max():.6g}"
        problems.add(327, place, detail)
        return
    shown = ", ".join(f"{matrix.samples[i]} {total[i]:.6g}" for i in off[:_LISTED])
    more = f", and {off.size - _LISTED} more" if off.size > _LISTED else ""
    problems.add(329, place, f"the sums of {shown}{more}", Severity.WARNING)


def _twins(matrix: Matrix, values: NDArray[np.float64], empty: NDArray[np.bool_], problems: Problems) -> None:
    first: dict[bytes, int] = {}
    for sample in np.flatnonzero(~empty):
        same = first.setdefault(np.ascontiguousarray(values[:, sample]).tobytes(), int(sample))
        if same != sample:
            detail = f"{matrix.samples[same]} and {matrix.samples[sample]}"
            problems.add(223, Place(matrix.file, 0, matrix.samples[sample], int(sample) + 1), detail, Severity.WARNING)
