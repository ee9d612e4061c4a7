"""Tables that every statistic is held against: a public one split into uneven, unlike sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer


@dataclass(frozen=True)
class Pooled:
    """A pooled table with the site of each row."""

    names: tuple[str, ...]
    X: NDArray[np.float64]
    y: NDArray[np.float64]
    site: NDArray[np.int64]

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        return {name: self.X[:, i].copy() for i, name in enumerate(self.names)}


@pytest.fixture(scope="session")
def breast() -> Pooled:
    """569 patients, 30 features, as four sites of very different size and prevalence."""
    data = load_breast_cancer()
    order = np.lexsort((data.data[:, 0], 1 - data.target))
    shuffled = np.random.default_rng(0).permutation(order[:400]).tolist() + order[400:].tolist()
    rows = np.array(shuffled)
    site = np.repeat(np.arange(4), [45, 98, 156, 270])
    names = tuple(str(name).replace(" ", "_") for name in data.feature_names)
    return Pooled(names, data.data[rows].astype(np.float64), (1 - data.target[rows]).astype(np.float64), site)
