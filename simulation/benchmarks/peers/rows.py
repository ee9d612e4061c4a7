"""simulation: benchmarks: peers: the rows that all are given: heart disease at four centres, and survival."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from common.study.table import FloatArray
from simulation.benchmarks.peers.question import Question
from simulation.benchmarks.shift.centres import HEART_DISEASE
from simulation.benchmarks.shift.sites import ENDPOINT
from simulation.exactness.measuring import public_data
from simulation.importers.asaur import import_asaur

SURVIVAL_PREDICTORS = ("age", "cirrhosis", "afp_code", "size_code", "multiplicity_code")
_CODES = {"no": 0.0, "yes": 1.0}


@dataclass(frozen=True)
class Rows:
    """Complete cases.

    Attributes
    ----------
    data
        Where they are from.
    names
        Predictors.
    sites
        By site, arrays by name: `x` (n, p) predictors, centred and scaled by the pooled rows, and (n,) `y`, 0 or 1, or
        `time` in months and `event`, 0 or 1.
    mean, scale
        (p,) of the pooled rows, in the predictors' units.
    """

    data: str
    names: tuple[str, ...]
    sites: Mapping[str, Mapping[str, FloatArray]]
    mean: FloatArray
    scale: FloatArray

    def pooled(self, name: str) -> FloatArray:
        """All rows of an array, site after site."""
        return np.concatenate([rows[name] for rows in self.sites.values()])

    @property
    def event_times(self) -> FloatArray:
        """(t,) the times at which anybody had the event, in months."""
        return np.unique(self.pooled("time")[self.pooled("event") == 1.0])

    def write(self, folder: Path) -> None:
        """One `<site>.npz` for each site, which any program can read."""
        folder.mkdir(parents=True, exist_ok=True)
        for site, arrays in self.sites.items():
            np.savez(folder / f"{site}.npz", **arrays)  # type: ignore[arg-type]


def rows_of(question: Question) -> Rows:
    """The rows of a question; `Absent` without the public data."""
    return heart_rows() if question is Question.LOGISTIC else asaur_rows()


def heart_rows() -> Rows:
    """Patients of whom all seven predictors and the outcome are known; `Absent` without the public data."""
    names = HEART_DISEASE.columns
    raw = {}
    for site, frame in HEART_DISEASE.frames().items():
        x, y = frame.matrix(names), frame.endpoints[ENDPOINT]
        known = ~(np.isnan(x).any(axis=1) | np.isnan(y))
        raw[site] = {"x": x[known], "y": y[known]}
    return _standardised("heart_disease_4centres", names, raw)


def asaur_rows() -> Rows:
    """227 resected patients, overall survival by the month, in the four blocks of `fedmvi-simulate import asaur`.

    `Absent` without the public data.
    """
    raw = {}
    with TemporaryDirectory(prefix="fedmvi-asaur-") as name:
        import_asaur(public_data("hcc_resection_asaur"), Path(name, "sites"))
        for path in sorted(Path(name, "sites").glob("*/patients.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                patients = list(csv.DictReader(file))
            column = {key: np.array([_number(p[key]) for p in patients])
                      for key in (*SURVIVAL_PREDICTORS, "os_months", "os_event")}  # fmt: skip
            x = np.column_stack([column[key] for key in SURVIVAL_PREDICTORS])
            raw[path.parent.name] = {"x": x, "time": column["os_months"], "event": column["os_event"]}
    return _standardised("hcc_resection_asaur", SURVIVAL_PREDICTORS, raw)


def _number(cell: str) -> float:
    return _CODES[cell] if cell in _CODES else float(cell)


def _standardised(data: str, names: tuple[str, ...], raw: Mapping[str, Mapping[str, FloatArray]]) -> Rows:
    everybody = np.concatenate([rows["x"] for rows in raw.values()])
    mean, scale = everybody.mean(axis=0), everybody.std(axis=0)
    sites = {site: {**rows, "x": (rows["x"] - mean) / scale} for site, rows in raw.items()}
    return Rows(data, names, sites, mean, scale)
