"""simulation: learning: a site's view without a table: it has a network's patients, or nobody at all."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import FedmviError
from common.federation.query import Query
from common.study.recipe import Frame


class NoTable:
    """Refuses what a table is needed for."""

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        raise FedmviError(901, f"no frame for {query.name}")

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """See `SiteView`."""
        raise FedmviError(901, f"no flow into {cohort}")

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """See `SiteView`."""
        raise FedmviError(901, f"no classes of {endpoint} in {cohort}")
