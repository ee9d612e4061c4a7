"""simulation/network: what a deployment costs while rounds go by: seconds, bytes, processor time, memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from common.errors import FedmviError
from simulation.network.census import Process
from simulation.network.relay import Relay

POLL_SECONDS = 0.02

Kinds = Mapping[str, Sequence[Process]]
"""The processes of a deployment by what they are."""


@dataclass(frozen=True)
class Sample:
    """Up to one moment: rounds, processor seconds by kind of process, bytes up and down of all sites."""

    rounds: int
    processor: Mapping[str, float]
    up: int
    down: int


@dataclass(frozen=True)
class Rounds:
    """Costs of consecutive rounds, the first one (in which things are fetched and opened) left out.

    Attributes
    ----------
    seconds
        Wall time of each.
    processor
        Processor seconds a round by kind of process, of all sites together.
    up, down
        Bytes a round and site, to the hub and from it.
    """

    seconds: tuple[float, ...]
    processor: Mapping[str, float]
    up: float
    down: float

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)

    def facts(self) -> dict[str, Any]:
        """What is no time of a round."""
        return {"bytes_up": self.up, "bytes_down": self.down, "processor_s": dict(self.processor)}


def follow(
    done: Callable[[], Sequence[float]], kinds: Callable[[], Kinds], relays: Sequence[Relay], rounds: int, limit: float
) -> Rounds:
    """Watch rounds go by from the first one's end to the last one's.

    Parameters
    ----------
    done
        When each round that is over ended, in seconds of any clock.
    kinds
        The processes now.
    relays
        Between each site and the hub.
    rounds
        How many there will be.
    limit
        Error 819 after so many seconds.
    """
    end = time.monotonic() + limit
    first: Sample | None = None
    while True:
        count = len(done())
        if count and first is None:
            first = _sample(count, kinds(), relays)
        if count >= rounds and first is not None:
            last = _sample(rounds, kinds(), relays)
            break
        if time.monotonic() > end:
            raise FedmviError(819, f"{count} of {rounds} rounds in {limit:g} s", part="rounds")
        time.sleep(POLL_SECONDS)
    ends = list(done())[:rounds]
    between = max(last.rounds - first.rounds, 1)
    return Rounds(
        tuple(after - before for before, after in pairwise(ends)),
        {kind: (used - first.processor.get(kind, 0.0)) / between for kind, used in last.processor.items()},
        (last.up - first.up) / between / len(relays),
        (last.down - first.down) / between / len(relays),
    )


def together(parts: Sequence[Rounds]) -> Rounds:
    """Rounds of several runs as one; what is not a time is averaged."""
    kinds = parts[0].processor
    return Rounds(
        tuple(seconds for part in parts for seconds in part.seconds),
        {kind: statistics.fmean(part.processor.get(kind, 0.0) for part in parts) for kind in kinds},
        statistics.fmean(part.up for part in parts),
        statistics.fmean(part.down for part in parts),
    )


def memory(kinds: Kinds) -> dict[str, float]:
    """MiB of resident memory by kind of process; what processes share is counted in each."""
    return {kind: sum(process.resident for process in found) / 2**20 for kind, found in kinds.items()}


def _sample(rounds: int, kinds: Kinds, relays: Sequence[Relay]) -> Sample:
    used = {kind: sum(process.seconds for process in found) for kind, found in kinds.items()}
    return Sample(rounds, used, sum(relay.up for relay in relays), sum(relay.down for relay in relays))
