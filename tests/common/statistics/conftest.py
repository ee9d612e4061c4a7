"""Tables that every statistic is held against: a public one split into uneven, unlike sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from simulation.exactness.tables import breast_cancer


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
    table = breast_cancer()
    X = np.column_stack(list(table.columns.values()))
    return Pooled(tuple(table.columns), X, table.endpoints["y"], table.site)
