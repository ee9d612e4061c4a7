"""server/hub: what the coordinator's monitoring program can know: runs, sites, and what must be renewed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from common.errors import FedmviError
from common.observing.metrics import Kind, Measure, expiry, gauge, moment
from server.hub.control import Control, Node
from server.hub.folder import Hub, load_hub
from server.hub.orders import HubRun, State, runs_of
from server.study.progress import Progress

KEEP_SECONDS = 10.0
"""The SuperLink is not asked about its nodes more often than this, however often somebody looks."""


class HubMetrics:
    """The numbers of one hub, read from its runs' directories, its certificates and its SuperLink.

    Parameters
    ----------
    hub
        Its folder.
    nodes
        The nodes that are registered now; error 745 where the SuperLink does not answer.
    """

    def __init__(self, hub: Hub, nodes: Callable[[], list[Node]] | None = None) -> None:
        self._hub = hub
        self._ask = nodes or self._ask_superlink
        self._nodes: list[Node] | None = None
        self._asked = float("-inf")

    def __call__(self) -> Iterator[Measure]:
        """All metrics now."""
        with suppress(FedmviError):  # another kit may have been installed
            self._hub = load_hub(self._hub.folder)
        runs = runs_of(self._hub)
        yield from _of_runs(runs)
        yield from _of_going(runs)
        yield from self._of_sites()
        ends = {"server": expiry(self._hub.server_certificate), "authority": expiry(self._hub.ca)}
        ends |= {name: moment(date.isoformat()) for name, date in self._hub.site_certificates.items()}
        samples = tuple(((name,), end) for name, end in ends.items() if end is not None)
        words = "When a certificate ends, since 1970: the hub's, the authority's, and those of sites."
        yield Measure("certificate_expiry_seconds", words, Kind.GAUGE, ("whose",), samples)

    def _of_sites(self) -> Iterator[Measure]:
        if time.monotonic() - self._asked > KEEP_SECONDS:
            self._nodes, self._asked = None, time.monotonic()
            with suppress(FedmviError):
                self._nodes = self._ask()
        yield gauge("superlink_answers", "1 if the SuperLink answers.", float(self._nodes is not None))
        online = {node.site: float(node.online) for node in self._nodes or []}
        samples = tuple(((name,), online[name]) for name in sorted(online))
        yield Measure("site_online", "1 while a site is connected.", Kind.GAUGE, ("site",), samples)

    def _ask_superlink(self) -> list[Node]:
        with Control(self._hub) as control:
            return control.nodes()


def _of_runs(runs: list[HubRun]) -> Iterator[Measure]:
    states = Counter(run.state for run in runs)
    samples = tuple(((state.value,), float(states[state])) for state in State)
    yield Measure("runs", "Runs by state.", Kind.GAUGE, ("state",), samples)
    for name, words in (("to_sites", "went to sites"), ("from_sites", "came from sites")):
        sent = sum(_number(run, f"bytes_{name}") for run in runs)
        yield Measure(f"bytes_{name}", f"Bytes that {words} in finished runs.", Kind.COUNTER, samples=(((), sent),))


def _of_going(runs: list[HubRun]) -> Iterator[Measure]:
    """Where the run is that goes on now; runs wait for each other, so there is one at most."""
    going = [(run.name, progress) for run in runs if run.state is State.RUNNING and (progress := run.progress)]

    def each(name: str, words: str, value: Callable[[Progress], float | None]) -> Measure:
        found = [((run,), value(progress)) for run, progress in going]
        return Measure(name, words, Kind.GAUGE, ("run",), tuple((run, v) for run, v in found if v is not None))

    yield each("run_rounds", "Rounds that every site has answered.", lambda p: float(p.rounds + p.rounds_before))
    yield each(
        "run_round_seconds", "Mean seconds of a round.", lambda p: p.round_seconds / p.rounds if p.rounds else None
    )
    yield each("run_waiting_sites", "Sites that have not answered yet.", lambda p: float(len(p.waiting_for)))
    yield each("run_updated_seconds", "When the run came on last, since 1970.", lambda p: moment(p.updated))


def _number(run: HubRun, fact: str) -> float:
    try:
        return float(run.run.facts().get(fact, 0))
    except (FedmviError, TypeError, ValueError):
        return 0.0
