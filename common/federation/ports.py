"""common/federation: ports: sites behind a transport, sites in this process, and the journal that replays a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import Packed, from_bytes, pack, to_bytes, unpack
from common.federation.envelope import (
    Answer,
    Ticket,
    error_of,
    failure,
    outgoing,
    read_answers,
    read_envelope,
    respond_all,
    write_answers,
    write_envelope,
)
from common.federation.query import Ask, Mode, Query, Receipt, SiteView, Summary, Task
from common.federation.runner import Port, Reply
from common.federation.totals import Total, check_summary
from common.files import write_whole

ANSWER_SECONDS = 3600.0
"""How long a message's answers are waited for, where nothing else is said."""


class Transport(Protocol):
    """Carries one message to each named site and the answers back."""

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """Every named site with its answer, in whatever order they come, and all of them within `seconds`.

        Error 503 or 508 if one is missing: a roster does not shrink.
        """


@dataclass
class SitesPort:
    """The port to real sites: one message per site and round, everything validated, totals added up as they come."""

    transport: Transport
    ticket: Ticket
    deadline: Callable[[Sequence[Ask]], float] = lambda _: ANSWER_SECONDS
    """Seconds in which every site must have answered these questions."""

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        """See `Port`. What it returns does not depend on the order in which the sites answer."""
        wanted: dict[str, list[Ask]] = {}
        for ask in asks:
            for site in self.ticket.roster(ask.cohort):
                wanted.setdefault(site, []).append(ask)
        gathered = {ask.digest: _Gathered(ask, self.ticket.roster(ask.cohort)) for ask in asks}
        failed: dict[str, FedmviError] = {}
        missing = set(wanted)
        for site, reply in self.transport.send(self._messages(wanted), self.deadline(asks)):
            if site not in missing:
                raise FedmviError.reported(505, f"site {site} answered twice, or was not asked", {}, site)
            missing.remove(site)
            try:
                answers = read_answers(reply, self.ticket, wanted[site], site)
                for ask, answer in zip(wanted[site], answers, strict=True):
                    gathered[ask.digest].take(site, answer)
            except FedmviError as error:
                # What a site sends is read here; whoever mends it must know whose it was.
                failed[site] = (
                    error
                    if error.site
                    else FedmviError.reported(error.number, f"site {site}: {error.local}", error.facts, site)
                )
        if failed:
            raise failed[min(failed)]
        if missing:
            raise FedmviError(503, site=min(missing))
        return [gathered[ask.digest].reply() for ask in asks]

    def _messages(self, wanted: Mapping[str, Sequence[Ask]]) -> dict[str, Packed]:
        """Sites that are asked the same share one message."""
        written: dict[tuple[str, ...], Packed] = {}
        messages = {}
        for site, mine in wanted.items():
            key = tuple(ask.digest for ask in mine)
            if key not in written:
                written[key] = write_envelope(self.ticket, mine)
            messages[site] = written[key]
        return messages


class _Gathered:
    """What sites have answered to one question so far; of a total only the sum is kept."""

    def __init__(self, ask: Ask, roster: Sequence[str]) -> None:
        self._ask, self._roster, self._query = ask, roster, ask.question
        self._total = Total(ask.question, len(roster)) if _is_total(ask) and isinstance(ask.question, Query) else None
        self._parts: dict[str, Summary | Receipt] = {}
        self._errors: dict[str, FedmviError] = {}
        self._plausible: dict[bool, list[str]] = {True: [], False: []}

    def take(self, site: str, answer: Answer) -> None:
        """One site's answer; error 505 if it is none to the question."""
        if answer.error:
            self._errors[site] = error_of(answer, site)
            self._total = None  # a sum that lacks a site is no sum
        elif not isinstance(self._query, Query):
            if not self._query.plausible(answer.receipt):
                raise FedmviError(505, f"{self._query.name}: no true receipt")
            self._parts[site] = dict(answer.receipt)
        elif _is_total(self._ask):
            if self._total is not None:
                self._plausible[self._total.add(answer.blocks)].append(site)
        else:
            summary = _arrays(answer)
            check_summary(self._query, summary)
            if not self._query.plausible(summary, 1):
                raise FedmviError(505, f"{self._query.name}: no true numbers")
            self._parts[site] = summary

    def reply(self) -> Reply:
        """The answer of all sites."""
        if isinstance(self._query, Query) and not self._query.pooled and not _is_total(self._ask):
            # Sites that answer alone do not lose their results because another one refuses.
            return {site: self._errors.get(site) or self._parts[site] for site in self._roster}  # type: ignore[return-value]
        if self._errors:
            return next(self._errors[site] for site in self._roster if site in self._errors)
        if self._total is not None:
            return self._sum(self._total)
        return {site: self._parts[site] for site in self._roster}  # type: ignore[return-value]

    def _sum(self, total_: Total) -> Summary:
        """The sum; error 505 ends the run, so that the site can be mended, and names it where that can be seen.

        Where most parts could be sites' own, nothing is masked, and the others hold no true numbers. Where few could,
        all but they are masked, unless it is chance: then the sum is a true one.
        """
        own, other = self._plausible[True], self._plausible[False]
        if other and len(other) <= len(own):
            raise self._spoilt(other)
        try:
            return total_.result()
        except FedmviError as error:
            raise (self._spoilt(own) if own else error) from error

    def _spoilt(self, sites: Sequence[str]) -> FedmviError:
        named = sorted(sites)
        return FedmviError.reported(505, f"site {', '.join(named)}: {self._ask.question.name}", {}, named[0])


def _is_total(ask: Ask) -> bool:
    return ask.mode is Mode.TOTAL


def _arrays(answer: Answer) -> Summary:
    if not all(isinstance(block, np.ndarray) for block in answer.blocks.values()):
        raise FedmviError(505)
    return dict(answer.blocks)


@dataclass
class Meter:
    """A transport that counts what passes: rounds, messages and payload bytes."""

    inner: Transport
    rounds: int = 0
    messages: int = 0
    bytes_to_sites: int = 0
    bytes_from_sites: int = 0

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """See `Transport`."""
        self.rounds += 1
        self.messages += len(messages)
        self.bytes_to_sites += sum(message.nbytes for message in messages.values())
        for site, reply in self.inner.send(messages, seconds):
            self.bytes_from_sites += reply.nbytes
            yield site, reply


@dataclass
class InProcess:
    """A transport to sites in this process, for tests, exactness and a federation of one."""

    sites: Mapping[str, Callable[[Packed], Packed]]

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:  # noqa: ARG002
        """See `Transport`; nothing is far, so every answer is waited for."""
        for site, message in messages.items():
            yield site, self.sites[site](message)


Blocks = dict[str, NDArray[Any]]
Hide = Callable[[Ticket, Ask, Blocks], Blocks]
"""Puts masks on the blocks of a total."""


@runtime_checkable
class Worker(Protocol):
    """A view of a site that also does tasks."""

    def perform(self, task: Task) -> Receipt:
        """Do the work, keep its result, and tell that it is done."""


def ungated(view: SiteView, hide: Hide | None = None) -> Callable[[Packed], Packed]:
    """A site without gate or ledger over a view of its data: for pooled comparisons and a federation of one.

    Tasks are done where the view is a `Worker`, before the queries of the same message; elsewhere they are error 501.
    """

    def handle(message: Packed) -> Packed:
        ticket, asks = read_envelope(message)
        done = {ask.digest: _performed(view, ask) for ask in asks if isinstance(ask.question, Task)}
        results = respond_all(asks, view)
        for ask in asks:
            if ask.digest not in done:
                sites = len(ticket.roster(ask.cohort))
                done[ask.digest] = _answered(ticket, ask, results[ask.digest], sites, hide)
        return write_answers(ticket.run_id, [done[ask.digest] for ask in asks])

    return handle


def _performed(view: SiteView, ask: Ask) -> Answer:
    try:
        if not isinstance(ask.question, Task) or not isinstance(view, Worker):
            raise FedmviError(501, "a task without anybody who does it")
        return Answer(ask.digest, receipt=view.perform(ask.question))
    except FedmviError as error:
        return failure(ask.digest, error)


def _answered(ticket: Ticket, ask: Ask, result: Summary | FedmviError, sites: int, hide: Hide | None) -> Answer:
    if isinstance(result, FedmviError):
        return failure(ask.digest, result)
    if isinstance(ask.question, Query):
        check_summary(ask.question, result)
    blocks = outgoing(ask, result, sites, masked=hide is not None)
    if hide is not None and ask.mode is Mode.TOTAL:
        blocks = hide(ticket, ask, blocks)
    return Answer(ask.digest, blocks=blocks)


def over_views(views: Mapping[str, SiteView], cohorts: Sequence[str]) -> SitesPort:
    """A port over views in this process; every site is in every cohort."""
    ticket = Ticket("local", "", {cohort: tuple(sorted(views)) for cohort in cohorts})
    return SitesPort(InProcess({name: ungated(view) for name, view in views.items()}), ticket)


class Journal:
    """A port that remembers: every answered round is on disk before it is used, and is never asked again.

    Files are `NNNNNN.npz`, one a round: the questions' digests and the decoded replies (totals, not the sites'
    parts). Errors are not kept, nor are replies to questions that are not `journaled`: a resumed run asks again.

    Parameters
    ----------
    folder
        Made with mode 0700 if absent; its files are the inner circle's and have mode 0600.
    inner
        Where new questions go; without it an unknown question is error 509 (replay only).
    """

    def __init__(self, folder: Path, inner: Port | None = None) -> None:
        self._folder = folder
        self._inner = inner
        self._known: dict[str, Reply] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.rounds = 0
        for path in sorted(folder.glob("[0-9]*.npz")):
            self._known.update(_read_round(path))
            self.rounds += 1

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        """See `Port`."""
        open_ = [ask for ask in asks if ask.digest not in self._known]
        fresh: dict[str, Reply] = {}
        if open_:
            if self._inner is None:
                raise FedmviError(509, open_[0].question.words())
            fresh = dict(zip((ask.digest for ask in open_), self._inner.ask(open_), strict=True))
            kept = {
                ask.digest: fresh[ask.digest]
                for ask in open_
                if ask.question.journaled and not _has_error(fresh[ask.digest])
            }
            if kept:
                write_whole(self._folder / f"{self.rounds:06d}.npz", to_bytes(pack(kept)))
                self.rounds += 1
            self._known.update(kept)
        return [self._known.get(ask.digest, fresh.get(ask.digest, FedmviError(509))) for ask in asks]


def _has_error(reply: Reply) -> bool:
    return isinstance(reply, FedmviError) or any(isinstance(part, FedmviError) for part in reply.values())


def _read_round(path: Path) -> dict[str, Any]:
    try:
        return unpack(from_bytes(path.read_bytes()), dict)
    except FedmviError as error:
        raise FedmviError(510, f"{path}: {error.local}") from error
