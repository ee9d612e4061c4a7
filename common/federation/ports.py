"""common/federation: ports: sites behind a transport, sites in this process, and the journal that replays a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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
from common.federation.query import Ask, Mode, Query, SiteView, Summary, check_summary, decode_total
from common.federation.runner import Port, Reply
from common.files import write_whole


class Transport(Protocol):
    """Carries one message to each named site and the answers back."""

    def send(self, messages: Mapping[str, Packed]) -> Mapping[str, Packed]:
        """Every named site's answer; error 503 or 508 if one is missing: a roster does not shrink."""


@dataclass
class SitesPort:
    """The port to real sites: one message per site and round, totals added here, everything validated."""

    transport: Transport
    ticket: Ticket

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        """See `Port`."""
        wanted: dict[str, list[Ask]] = {}
        for ask in asks:
            for site in self.ticket.roster(ask.cohort):
                wanted.setdefault(site, []).append(ask)
        messages = {site: write_envelope(self.ticket, mine) for site, mine in wanted.items()}
        received = self.transport.send(messages)
        answers: dict[tuple[str, str], Answer] = {}
        for site, mine in wanted.items():
            for ask, answer in zip(mine, read_answers(received[site], self.ticket, mine, site), strict=True):
                answers[site, ask.digest] = answer
        return [self._reply(ask, answers) for ask in asks]

    def _reply(self, ask: Ask, answers: Mapping[tuple[str, str], Answer]) -> Reply:
        mine = {site: answers[site, ask.digest] for site in self.ticket.roster(ask.cohort)}
        errors = {site: error_of(answer, site) for site, answer in mine.items() if answer.error}
        if isinstance(ask.question, Query) and not ask.question.pooled:
            # Sites that answer alone do not lose their results because another one refuses.
            return {site: errors.get(site) or self._part(ask.question, answer) for site, answer in mine.items()}
        if errors:
            return next(iter(errors.values()))
        if not isinstance(ask.question, Query):
            return {site: dict(answer.receipt) for site, answer in mine.items()}
        if ask.mode is Mode.TOTAL:
            summary = decode_total(ask.question, [_arrays(answer) for answer in mine.values()])
            check_summary(ask.question, summary)
            return summary
        question = ask.question
        return {site: self._part(question, answer) for site, answer in mine.items()}

    @staticmethod
    def _part(query: Query, answer: Answer) -> Summary:
        summary = _arrays(answer)
        check_summary(query, summary)
        return summary


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

    def send(self, messages: Mapping[str, Packed]) -> Mapping[str, Packed]:
        """See `Transport`."""
        replies = self.inner.send(messages)
        self.rounds += 1
        self.messages += len(messages)
        self.bytes_to_sites += sum(message.nbytes for message in messages.values())
        self.bytes_from_sites += sum(reply.nbytes for reply in replies.values())
        return replies


@dataclass
class InProcess:
    """A transport to sites in this process, for tests, exactness and a federation of one."""

    sites: Mapping[str, Callable[[Packed], Packed]]

    def send(self, messages: Mapping[str, Packed]) -> Mapping[str, Packed]:
        """See `Transport`."""
        return {site: self.sites[site](message) for site, message in messages.items()}


Blocks = dict[str, NDArray[Any]]
Hide = Callable[[Ticket, Ask, Blocks], Blocks]
"""Puts masks on the blocks of a total."""


def ungated(view: SiteView, hide: Hide | None = None) -> Callable[[Packed], Packed]:
    """A site without gate or ledger over a view of its data: for pooled comparisons and a federation of one."""

    def handle(message: Packed) -> Packed:
        ticket, asks = read_envelope(message)
        results = respond_all(asks, view)
        answers = []
        for ask in asks:
            result = results[ask.digest]
            if isinstance(result, FedmviError):
                answers.append(failure(ask.digest, result))
                continue
            if isinstance(ask.question, Query):
                check_summary(ask.question, result)
            sites = len(ticket.roster(ask.cohort))
            blocks = outgoing(ask, result, sites)
            if hide is not None and ask.mode is Mode.TOTAL:
                blocks = hide(ticket, ask, blocks)
            answers.append(Answer(ask.digest, blocks=blocks))
        return write_answers(ticket.run_id, answers)

    return handle


def over_views(views: Mapping[str, SiteView], cohorts: Sequence[str]) -> SitesPort:
    """A port over views in this process; every site is in every cohort."""
    ticket = Ticket("local", "", {cohort: tuple(sorted(views)) for cohort in cohorts})
    return SitesPort(InProcess({name: ungated(view) for name, view in views.items()}), ticket)


class Journal:
    """A port that remembers: every answered round is on disk before it is used, and is never asked again.

    Files are `NNNNNN.npz`, one a round: the questions' digests and the decoded replies (totals, not the sites'
    parts). Errors are not kept: a resumed run asks again.

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
            kept = {key: reply for key, reply in fresh.items() if not _has_error(reply)}
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
