"""common/federation: queries that a site answers alone: it concludes over itself and releases the guarded result."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field

from common.federation.ports import over_views
from common.federation.query import Query, SiteView
from common.federation.runner import Conclusion, R, conclude


@dataclass(frozen=True)
class Alone(Query, ABC):
    """For cohorts of too few sites to be summed: one site's own published result, not its sums.

    Attributes
    ----------
    min_cell
        Counts below it are hidden.
    """

    min_cell: int = field(kw_only=True)

    @property
    def pooled(self) -> bool:
        """Published by each site on its own."""
        return False

    @property
    def hides_below(self) -> int:
        """See `Query`."""
        return self.min_cell

    def conclude(self, site: SiteView, conclusion: Conclusion[R]) -> R:
        """The conclusion's result over a federation of this site alone."""
        result: R = conclude(over_views({"self": site}, [self.cohort]), [conclusion])[0]
        return result
