"""A federation whose sites refuse, as their gate does, what gives weight to fewer than five of their patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Ask, Query
from common.federation.runner import Port, Reply
from simulation.views import ArrayView, federation_of, row_keys

LIMIT = 5


@dataclass
class Weighing:
    """A port that answers with error 416 where a site's weights are too few."""

    inner: Port
    views: Sequence[ArrayView]
    refused: int = 0

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        replies = self.inner.ask(asks)
        return [self._refuse(ask) or reply for ask, reply in zip(asks, replies, strict=True)]

    def _refuse(self, ask: Ask) -> FedmviError | None:
        assert isinstance(ask.question, Query)
        for view in self.views:
            weight = ask.question.influence(view.frame(ask.question))
            if weight is not None and float(np.min(weight.sum(axis=-1))) < LIMIT:
                self.refused += 1
                return FedmviError(416, limit=LIMIT, cohort="all")
        return None


def weighing(
    columns: Mapping[str, NDArray[np.float64]], endpoints: Mapping[str, NDArray[np.float64]], site: NDArray[np.int64]
) -> Weighing:
    """The federation of a pooled table."""
    keys = row_keys(site.size)
    views = [
        ArrayView({k: v[rows] for k, v in columns.items()}, {k: v[rows] for k, v in endpoints.items()}, keys[rows])
        for rows in (site == label for label in np.unique(site))
    ]
    return Weighing(federation_of(columns, endpoints, site), views)
