"""simulation/chaos: which faults there are, and how a seed draws a campaign of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from common.errors import FedmviError
from simulation.chaos import clocks, isolation
from simulation.network.parts import HUB_PARTS, SITE_PARTS


class Cause(StrEnum):
    """What goes wrong."""

    KILL = "kill"
    CUT = "cut"
    SLOW = "slow"
    SITE_DISK = "site-disk-full"
    HUB_DISK = "hub-disk-full"
    CLOCK = "clock"
    CLOCK_AHEAD = "clock-ahead"
    CLOCK_BEHIND = "clock-behind"
    HUB_CLOCK_AHEAD = "hub-clock-ahead"
    HUB_CLOCK_BEHIND = "hub-clock-behind"
    DUPLICATED = "reply-duplicated"
    CORRUPTED = "reply-corrupted"


ROOTS = frozenset({Cause.CUT, Cause.SLOW, Cause.SITE_DISK, Cause.HUB_DISK})
"""Only root may do these."""

CLOCKS = {
    Cause.CLOCK: -250.0,
    Cause.CLOCK_AHEAD: 600.0,
    Cause.CLOCK_BEHIND: -600.0,
    Cause.HUB_CLOCK_AHEAD: 600.0,
    Cause.HUB_CLOCK_BEHIND: -600.0,
}
"""Seconds by which a clock is ahead. The hub bears with the first, and refuses sites for the others."""

AT_HUB = frozenset({Cause.HUB_DISK, Cause.HUB_CLOCK_AHEAD, Cause.HUB_CLOCK_BEHIND})
"""These happen there, and not at a site."""

HOLD_SECONDS = 12.0
"""How long what is held lasts: a cut, a full disk, a wrong clock."""


@dataclass(frozen=True)
class Fault:
    """One fault of a campaign.

    Attributes
    ----------
    part
        What is killed, as `simulation.network.parts` names it; "" of other causes.
    site
        Where it happens; "" at the hub.
    moment
        When, as a share of the time in which faults of its run happen.
    """

    cause: Cause
    part: str
    site: str
    moment: float

    @property
    def kind(self) -> str:
        """Cause and part, by which results are counted: `kill superlink`, `cut`."""
        return f"{self.cause.value} {self.part}".strip()

    @property
    def target(self) -> str:
        """The part as a network finds it: `node:hospital-a`."""
        return f"{self.part}:{self.site}" if self.site else self.part


def kinds() -> tuple[str, ...]:
    """All kinds of faults."""
    killed = [f"{Cause.KILL.value} {part}" for part in HUB_PARTS + SITE_PARTS]
    return (*killed, *(cause.value for cause in Cause if cause is not Cause.KILL))


def skipped() -> dict[str, str]:
    """Kinds that cannot be done on this machine, and why."""
    reasons = {cause: isolation.cannot_slow() if cause is Cause.SLOW else isolation.missing() for cause in ROOTS}
    reasons |= dict.fromkeys(CLOCKS, clocks.missing())
    return {cause.value: why for cause, why in sorted(reasons.items()) if why}


def draw(count: int, seed: int, sites: Sequence[str], chosen: Sequence[str] = ()) -> list[Fault]:
    """The faults of a campaign. Each kind comes once before any comes twice.

    Parameters
    ----------
    sites
        Those that a fault may hit; of cuts, slow links and full disks it is the first and the second.
    chosen
        Kinds; all that can be done here if empty.

    Raises
    ------
    FedmviError
        822 an unknown kind.
    """
    for kind in chosen:
        if kind not in kinds():
            raise FedmviError(822, kind=kind, known=", ".join(kinds()))
    possible = [kind for kind in chosen or kinds() if kind not in skipped()]
    rng = random.Random(seed)  # noqa: S311 - a campaign is repeated by its seed
    drawn: list[str] = []
    while possible and len(drawn) < count:
        deck = list(possible)
        rng.shuffle(deck)
        drawn += deck
    return [_fault(kind, rng, sites) for kind in drawn[:count]]


def _fault(kind: str, rng: random.Random, sites: Sequence[str]) -> Fault:
    cause, _, part = kind.partition(" ")
    site, moment = rng.choice(list(sites)), rng.random()
    where = {Cause.CUT: sites[0], Cause.SLOW: sites[0], Cause.SITE_DISK: sites[1 % len(sites)]}
    where |= dict.fromkeys(AT_HUB, "")
    at = "" if part in HUB_PARTS else where.get(Cause(cause), site)
    return Fault(Cause(cause), part, at, moment)
