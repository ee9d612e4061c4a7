"""simulation/cohorts: what is lost or mistyped between the patients and the table: missing values and typing errors.

Columns are lost by three mechanisms. *MCAR*: every value alike. *MAR*: by age, up to 60 years and above. *MNAR*: the
probability doubles with every standard deviation that the value itself is above the hospital's mean (log-normal
variables on the scale of their logarithm), and is on average the declared one. A value that follows from another is
lost with it: the grade of MVI with MVI, and whether an endpoint occurred with its time.

Typing errors hit the continuous variables of Table 1 and the two sizes: two neighbouring digits change places, a digit
is doubled, or the decimal point moves by one place. Every one of them changes the number.

All of it touches the cells that are written; the patients stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from common.errors import FedmviError
from simulation.cohorts.consortium import Consortium, Missing
from simulation.cohorts.patients import Patients
from simulation.cohorts.published import MARGINS
from simulation.cohorts.streams import stream
from simulation.importers.source import decimal

OLD_AGE = 60
"""Age in years above which MAR takes its second share."""

_LAB = tuple(name for name, margin in MARGINS.items() if margin.cutoff is not None)
_SIZES = ("tumour_size_imaging", "tumour_size_pathology")
TYPED = (*_LAB, *_SIZES)
"""Columns in which typing errors occur."""

_LOG_NORMAL = {*TYPED} - {"age"}
_FOLLOWS = {"mvi": "mvi_grade", "rfs_days": "rfs_event", "dfs_days": "dfs_event", "os_days": "os_event"}
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TypingError:
    """One cell that was mistyped: whose, in which column, what is true and what is written."""

    patient: str
    column: str
    true: str
    written: str


@dataclass(frozen=True)
class Recorded:
    """The table of one hospital as it is written, and what is wrong with it.

    Attributes
    ----------
    cells
        The columns of patients.csv as text, in order; a value that is missing is empty.
    missing
        Pseudonyms of the patients whose value is missing, by column; only columns that miss any.
    typing_errors
        Every mistyped cell, by column and then by patient.
    """

    cells: Mapping[str, list[str]]
    missing: Mapping[str, tuple[str, ...]]
    typing_errors: tuple[TypingError, ...]


def as_recorded(consortium: Consortium, patients: Patients, seed: int) -> Recorded:
    """The patients' table with what the consortium declares missing and mistyped.

    Raises
    ------
    FedmviError
        809 where a column is declared missing that no patient has.
    """
    lost = _lost(consortium, patients, seed)
    cells = {
        column: ["" if gone else cell for gone, cell in zip(lost[column], texts, strict=True)]
        if column in lost
        else texts
        for column, texts in patients.cells.items()
    }
    errors: list[TypingError] = []
    for column in TYPED:
        cells[column], found = _mistyped(consortium, patients, column, cells[column], seed)
        errors += found
    missing = {
        column: tuple(patient for patient, gone in zip(patients.ids, lost[column], strict=True) if gone)
        for column in cells
        if column in lost and lost[column].any()
    }
    return Recorded(cells, missing, tuple(errors))


def _lost(consortium: Consortium, patients: Patients, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Which patients' values are missing, (n,), by column."""
    lost: dict[str, NDArray[np.bool_]] = {}
    declared = consortium.missing
    mechanisms: tuple[tuple[str, tuple[str, ...], Callable[[str], _Floats]], ...] = (
        ("mcar", declared.mcar_columns, lambda _: np.full(len(patients), declared.mcar)),
        ("mar", declared.mar_columns, lambda _: _mar(declared, patients)),
        ("mnar", declared.mnar_columns, lambda column: _mnar(declared.mnar, column, patients)),
    )
    for mechanism, columns, probability in mechanisms:
        for column in columns:
            if column not in patients.cells or column in ("patient_id", "cohort"):
                problem = f"missing.{mechanism}_columns: no column {column} that can be missing is drawn"
                raise FedmviError(809, consortium.name, problems=problem)
            rng = stream(consortium.name, seed, patients.site, f"{mechanism} {column}")
            gone = rng.random(len(patients)) < probability(column)
            for name in (column, _FOLLOWS.get(column)):
                if name is not None:
                    lost[name] = lost.get(name, False) | gone
    return lost


def _mar(declared: Missing, patients: Patients) -> _Floats:
    return np.where(patients.values["age"] > OLD_AGE, declared.mar_old, declared.mar_young)


def _mnar(share: float, column: str, patients: Patients) -> _Floats:
    """Probabilities proportional to 2 ** (value in standard deviations), at most 1, with `share` as their mean."""
    value = patients.values["sex_female" if column == "sex" else column]
    value = np.log(value) if column in _LOG_NORMAL else value
    spread = value.std()
    weight = 2 ** ((value - value.mean()) / spread) if spread > 0 else np.ones_like(value)
    if share == 0:
        return np.zeros_like(weight)
    # The limit of 1 takes from the mean, so the factor is solved for; at 1 / smallest weight everything is missing.
    factor = brentq(lambda f: np.minimum(f * weight, 1).mean() - share, 0, 1 / weight.min())
    probability: _Floats = np.minimum(factor * weight, 1)
    return probability


def _mistyped(
    consortium: Consortium, patients: Patients, column: str, texts: list[str], seed: int
) -> tuple[list[str], list[TypingError]]:
    """The column with typing errors in a share of the cells that are there, and the list of them."""
    rng = stream(consortium.name, seed, patients.site, f"typing {column}")
    hit = rng.random(len(texts)) < consortium.missing.typing_errors
    written, errors = list(texts), []
    for i in np.flatnonzero(hit).tolist():
        if texts[i]:
            written[i] = _mistype(texts[i], rng)
            errors.append(TypingError(patients.ids[i], column, texts[i], written[i]))
    return written, errors


def _mistype(text: str, rng: np.random.Generator) -> str:
    """Another number: the kind of error is drawn among those that are possible, then its place."""
    kinds = (_transposed(text), _doubled(text), _shifted(text))
    possible = [found for kind in kinds if (found := [t for t in kind if float(t) != float(text)])]
    kind = possible[int(rng.integers(len(possible)))]
    return kind[int(rng.integers(len(kind)))]


def _transposed(text: str) -> list[str]:
    """Two neighbouring digits change places, also across the decimal point, which stays."""
    places = [i for i, c in enumerate(text) if c.isdigit()]
    return [text[:i] + text[j] + text[i + 1 : j] + text[i] + text[j + 1 :] for i, j in pairwise(places)]


def _doubled(text: str) -> list[str]:
    return [text[: i + 1] + text[i:] for i, c in enumerate(text) if c.isdigit()]


def _shifted(text: str) -> list[str]:
    places = len(text.partition(".")[2])
    return [decimal(float(text) * 10, places), decimal(float(text) / 10, places + 1)]
