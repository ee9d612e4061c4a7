"""simulation: ungated views of plain arrays, so that a federated result can be held against the pooled one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.ports import SitesPort, over_views
from common.federation.query import Query
from common.study.recipe import Frame
from common.study.table import FloatArray

COHORT = "all"
"""The one cohort of `federation_of`."""


@dataclass(frozen=True)
class ArrayView:
    """A site that holds columns and endpoints as arrays; recipes may impute, complete, standardise and score.

    Attributes
    ----------
    columns, endpoints
        (n,) arrays by name.
    """

    columns: Mapping[str, FloatArray]
    endpoints: Mapping[str, FloatArray]

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        n = len(next(iter({**self.columns, **self.endpoints}.values())))
        return query.recipe.apply_to(Frame(self.columns, self.endpoints, n))

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """Arrays have no flow."""
        raise FedmviError(901, f"no flow into {cohort}")

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """Arrays have no classes of their own."""
        raise FedmviError(901, f"no classes of {endpoint} in {cohort}")


def federation_of(
    columns: Mapping[str, FloatArray], endpoints: Mapping[str, FloatArray], site: NDArray[np.int64]
) -> SitesPort:
    """Split the rows of a pooled table into sites by their (n,) labels; a port whose cohort `all` has them all."""
    views = {}
    for label in np.unique(site).tolist():
        rows = site == label
        views[f"site-{label}"] = ArrayView(
            {k: v[rows] for k, v in columns.items()}, {k: v[rows] for k, v in endpoints.items()}
        )
    return over_views(views, [COHORT])
