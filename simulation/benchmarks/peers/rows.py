"""simulation: benchmarks: peers: the rows that all are given: four real centres of heart disease, standardised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.study.table import FloatArray
from simulation.benchmarks.shift.centres import HEART_DISEASE
from simulation.benchmarks.shift.sites import ENDPOINT


@dataclass(frozen=True)
class Rows:
    """Complete cases.

    Attributes
    ----------
    names
        Predictors.
    sites
        By centre: (n, p) predictors, centred and scaled by the pooled rows, and (n,) 0 or 1.
    mean, scale
        (p,) of the pooled rows, in the predictors' units.
    """

    names: tuple[str, ...]
    sites: Mapping[str, tuple[FloatArray, FloatArray]]
    mean: FloatArray
    scale: FloatArray

    @property
    def pooled(self) -> tuple[FloatArray, FloatArray]:
        """All rows, centre after centre."""
        xs, ys = zip(*self.sites.values(), strict=True)
        return np.concatenate(xs), np.concatenate(ys)

    def write(self, folder: Path) -> None:
        """One `<centre>.npz` with `x` and `y` for each centre, which any program can read."""
        folder.mkdir(parents=True, exist_ok=True)
        for site, (x, y) in self.sites.items():
            np.savez(folder / f"{site}.npz", x=x, y=y)


def heart_rows() -> Rows:
    """Patients of whom all seven predictors and the outcome are known; `Absent` without the public data."""
    names = HEART_DISEASE.columns
    raw = {}
    for site, frame in HEART_DISEASE.frames().items():
        x, y = frame.matrix(names), frame.endpoints[ENDPOINT]
        known = ~(np.isnan(x).any(axis=1) | np.isnan(y))
        raw[site] = (x[known], y[known])
    everybody = np.concatenate([x for x, _ in raw.values()])
    mean, scale = everybody.mean(axis=0), everybody.std(axis=0)
    return Rows(names, {site: ((x - mean) / scale, y) for site, (x, y) in raw.items()}, mean, scale)
