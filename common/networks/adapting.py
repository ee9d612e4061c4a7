"""common/networks: the task by which a network is adapted to a site's images; how it is done is in the client."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from common.federation.codec import STRICT, pack
from common.federation.learning import Member
from common.federation.query import Receipt, Task
from common.statistics.score_mixture import ScoreClasses
from common.statistics.shift_verdict import Verdict

ADAPTED, UNADAPTED = "adapted", "unadapted"
"""The columns that the task makes: scores with the site's statistics, and with those of training."""
TOLD = "adaptation"
"""What a receipt says where the site's policy allows that it tells of itself alone: its verdict."""


@dataclass(frozen=True)
class AdaptNetwork(Task):
    """Estimates a frozen network's statistics of batch normalisation from a cohort's images, and scores with them.

    Statistics and scores stay at the site, kept together and for good; the receipt names the work, and has `TOLD`
    where the site tells. Where the site's scores speak of another frequency of the endpoint, or of nothing that the
    adaptation mends, both columns are the scores of the network as trained.

    Attributes
    ----------
    member
        The network, whole.
    patients
        k: of n patients the statistics found count n / (n + k), those of training the rest.
    reference
        Scores of the training patients, out of fold, by which a site judges its own.
    """

    __pydantic_config__ = STRICT
    name: ClassVar[str] = "task.adapt-network"

    cohort: str
    network: str
    combination: tuple[str, ...]
    seed: int
    member: Member
    patients: int
    reference: ScoreClasses

    @property
    def model(self) -> str:
        """Names network and rule, wherever they are used: this is what is frozen."""
        return pack(replace(self, cohort=""), AdaptNetwork).digest

    def plausible(self, receipt: Receipt) -> bool:
        """See `Task`."""
        return TOLD not in receipt or receipt[TOLD] in set(Verdict)

    def words(self) -> str:
        """See `Task`."""
        return (
            f"adapt {self.network} on {', '.join(self.combination)}, seed {self.seed}, to the images of {self.cohort}, "
            "and score; statistics and scores stay"
        )
