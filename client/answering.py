"""client: answers one message: decode, gate, answer, record, and only then let go.

The process that does so lives for one message and remembers nothing; all it needs is in the site's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from client.cohort.site import Site, load_site
from client.cohort.store import load_prepared
from client.release.gate import Gate
from client.release.ledger import Ledger
from client.release.replies import ReplyStore
from client.run import OpenRun, freeze_run, load_run, open_run
from client.view import GatedView
from common.errors import FedmviError
from common.federation.codec import Packed, pack, unpack
from common.federation.envelope import (
    Answer,
    Ticket,
    failure,
    outgoing,
    read_envelope,
    respond_all,
    roster_digest,
    write_answers,
)
from common.federation.query import Ask, Mode, Query, Summary, check_summary
from common.federation.tasks import Freeze, Open
from common.study.fingerprint import canonical_json, digest

_LOG = logging.getLogger("fedmvi.site")


def answer_message(folder: Path, message: Packed) -> Packed:
    """Answer one message for the site in `folder`.

    Never raises: what goes wrong leaves as a number with public facts; the detail stays in the local log.
    """
    run_id = ""
    try:
        site = load_site(folder)
        ticket, asks = read_envelope(message)
        run_id = ticket.run_id
        return write_answers(run_id, _answers(site, ticket, asks))
    except FedmviError as error:
        _LOG.error("%s", error)
        return write_answers(run_id, [failure("", error)])
    except Exception:  # noqa: BLE001
        # The text of an unforeseen error may hold patients' data, so only its number leaves.
        _LOG.exception("unforeseen error")
        return write_answers(run_id, [failure("", FedmviError(901))])


def _answers(site: Site, ticket: Ticket, asks: Sequence[Ask]) -> list[Answer]:
    done: dict[str, Answer] = {}
    for ask in asks:
        if site.name not in ticket.roster(ask.cohort):
            raise FedmviError(412)
        if isinstance(ask.question, Open):
            receipt = open_run(site, ticket, ask.question)
            done[ask.digest] = Answer(ask.digest, receipt=receipt)
    rest = [ask for ask in asks if ask.digest not in done]
    if rest:
        done.update(_answer_in_run(site, ticket, rest))
    return [done[ask.digest] for ask in asks]


def _answer_in_run(site: Site, ticket: Ticket, asks: Sequence[Ask]) -> dict[str, Answer]:
    run = load_run(site, ticket)
    releases = _Releases(site, ticket, run)
    gate = Gate.of(site.policy, run.study)
    done: dict[str, Answer] = {}
    fresh: list[Ask] = []
    for ask in asks:
        if isinstance(ask.question, Freeze):
            done[ask.digest] = Answer(ask.digest, receipt=freeze_run(run, ask.question))
            continue
        earlier = releases.earlier(ask)
        if earlier is not None:
            done[ask.digest] = earlier
            continue
        try:
            gate.admit(ask, ticket.roster(ask.cohort))
            fresh.append(ask)
        except FedmviError as error:
            done[ask.digest] = _refused(ask, error)
    if fresh:
        view = GatedView(site, load_prepared(site, run.study), run, gate)
        results = respond_all(fresh, view)
        for ask in fresh:
            done[ask.digest] = releases.release(ask, results[ask.digest])
    return done


def _refused(ask: Ask, error: FedmviError) -> Answer:
    _LOG.warning("refused: %s: %s", ask.question.words(), error)
    return failure(ask.digest, error)


class _Releases:
    """Everything that leaves in answer to a query of one run goes through here."""

    def __init__(self, site: Site, ticket: Ticket, run: OpenRun) -> None:
        self._ticket, self._run = ticket, run
        self._ledger = Ledger(site.store / "ledger.jsonl")
        folder = run.folder / "replies"
        if not folder.exists() and any(e.get("run_id") == ticket.run_id for e in self._ledger.entries()):
            # Answers left, but the store that would repeat them is gone: they cannot be given a second time.
            raise FedmviError(413)
        self._replies = ReplyStore(folder)

    def _key(self, ask: Ask) -> str:
        roster = roster_digest(ask.cohort, self._ticket.roster(ask.cohort))
        return digest(canonical_json([ask.digest, self._ticket.run_id, roster, self._run.store]))

    def earlier(self, ask: Ask) -> Answer | None:
        """The answer that already left for this question, marked as a repeat."""
        stored = self._replies.get(self._key(ask))
        if stored is None:
            return None
        self._record(ask, stored, repeat=True)
        return Answer(ask.digest, blocks=unpack(stored, dict), repeat=True)

    def release(self, ask: Ask, result: Summary | FedmviError) -> Answer:
        """Check, encode, store and record an answer; on return it may leave."""
        if isinstance(result, FedmviError):
            return _refused(ask, result)
        if not isinstance(ask.question, Query):
            raise FedmviError(501)
        try:
            check_summary(ask.question, result)
            blocks = outgoing(ask, result, len(self._ticket.roster(ask.cohort)))
        except FedmviError as error:
            return _refused(ask, error)
        packed = pack(blocks)
        # The bytes before the line: whatever happens between, a repeat finds the same bytes and records itself.
        self._replies.put(self._key(ask), packed)
        self._record(ask, packed, repeat=False)
        return Answer(ask.digest, blocks=blocks)

    def _record(self, ask: Ask, packed: Packed, *, repeat: bool) -> None:
        query = ask.question
        self._ledger.append(
            {
                "run_id": self._ticket.run_id,
                "study": self._ticket.study,
                "query": query.name,
                "words": query.words(),
                "mode": ask.mode.value,
                "alone": ask.mode is Mode.EACH,
                "cohort": ask.cohort,
                "roster": list(self._ticket.roster(ask.cohort)),
                "bytes": packed.nbytes,
                "question": ask.digest,
                "answer": packed.digest,
                "repeat": repeat,
            }
        )
