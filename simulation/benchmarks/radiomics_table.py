"""simulation: benchmarks: a table of the size and shape of a radiomics study, made up: features, readers, sites.

Nothing is claimed about real patients: blocks of correlated features, scanner shifts by site, a second reading of
every lesion, and an outcome that depends on a few of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray

BLOCK = 10
TRAITS = 12
SEED = 7


@dataclass(frozen=True)
class RadiomicsTable:
    """Pooled rows.

    Attributes
    ----------
    first, second
        (n, p) the two readers' values; analyses use the first.
    y, site, fold
        (n,) outcome 0/1, site of each row, and fold 0-9, dealt inside sites by outcome.
    """

    names: tuple[str, ...]
    first: FloatArray
    second: FloatArray
    y: FloatArray
    site: NDArray[np.int64]
    fold: NDArray[np.int64]


def radiomics_table(features: int, patients: int, sites: int, folds: int) -> RadiomicsTable:
    """The same table for the same numbers; sites are uneven, the largest about three times the smallest."""
    rng = np.random.default_rng(SEED)
    share = np.linspace(1.0, 3.0, sites)
    site = np.sort(rng.choice(sites, size=patients, p=share / share.sum()))
    blocks = -(-features // BLOCK)
    traits = rng.normal(size=(patients, TRAITS))
    loading = rng.normal(0, 0.35, size=(TRAITS, blocks)) * (rng.random((TRAITS, blocks)) < 0.5)
    factors = traits @ loading + rng.normal(size=(patients, blocks)) * 0.8
    common = factors.repeat(BLOCK, axis=1)[:, :features]
    mixing = rng.uniform(0.4, 0.995, size=features)
    signal = mixing * common + np.sqrt(1 - mixing**2) * rng.normal(size=(patients, features))
    effect = rng.normal(0, 0.6, size=TRAITS)
    logit = traits @ effect + rng.normal(0, 0.4, size=sites)[site] - 0.4
    y = (rng.random(patients) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    shift, scale = rng.normal(0, 0.7, size=(sites, features)), rng.uniform(0.8, 1.25, size=(sites, features))
    units = 10.0 ** rng.uniform(-2, 4, size=features)
    reading = rng.uniform(0.02, 0.7, size=features)
    first = ((signal + reading * rng.normal(size=signal.shape)) * scale[site] + shift[site]) * units
    second = ((signal + reading * rng.normal(size=signal.shape)) * scale[site] + shift[site]) * units
    constant = rng.choice(features, size=max(1, features // 100), replace=False)
    first[:, constant] = second[:, constant] = 1.0
    fold = np.empty(patients, dtype=np.int64)
    for k in range(sites):
        for value in (0.0, 1.0):
            rows = np.flatnonzero((site == k) & (y == value))
            fold[rows] = (rng.integers(folds) + np.arange(rows.size)) % folds
    names = tuple(f"feature_{i:04d}" for i in range(features))
    return RadiomicsTable(names, first, second, y, site, fold)
