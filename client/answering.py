"""client: answers one message: decode, gate, answer, record, and only then let go.

The process that does so lives for one message and remembers nothing; all it needs is in the site's folder.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from client.cohort.site import Site, load_site
from client.cohort.store import load_prepared
from client.release.differencing import Differencing
from client.release.gate import Gate
from client.release.keys import MaskKeys
from client.release.ledger import Ledger
from client.release.once import Once
from client.release.replies import ReplyStore
from client.release.scope import elements
from client.run import OpenRun, freeze_run, load_run, open_run, sign_run
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
from common.federation.query import Ask, Mode, Query, Receipt, Summary, check_summary
from common.federation.tasks import Freeze, Open, Sign
from common.study.fingerprint import canonical_json, digest

MAX_MESSAGE_ELEMENTS = 1 << 25
"""Most numbers in all answers to one message."""

MAX_WORDS = 300
"""What is recorded of a question's words, parts of which the server chose."""

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
        with _alone(site):
            return write_answers(run_id, _answers(site, ticket, asks))
    except FedmviError as error:
        _LOG.error("%s", error)
        return write_answers(run_id, [failure("", error)])
    except Exception:  # noqa: BLE001
        # The text of an unforeseen error may hold patients' data, so only its number leaves.
        _LOG.exception("unforeseen error")
        return write_answers(run_id, [failure("", FedmviError(901))])


@contextmanager
def _alone(site: Site) -> Iterator[None]:
    """One message at a time: two at once could each give an answer before the other's is recorded."""
    site.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (site.store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _answers(site: Site, ticket: Ticket, asks: Sequence[Ask]) -> list[Answer]:
    done: dict[str, Answer] = {}
    for ask in asks:
        if site.name not in ticket.roster(ask.cohort):
            raise FedmviError(412)
        if isinstance(ask.question, Sign | Open):
            opening = ask.question
            receipt = sign_run(site, ticket, opening) if isinstance(opening, Sign) else open_run(site, ticket, opening)
            _Book(site, ticket).record(ask, Left.RECEIPT, pack(dict(receipt)))
            done[ask.digest] = Answer(ask.digest, receipt=receipt)
    rest = [ask for ask in asks if ask.digest not in done]
    if rest:
        done.update(_answer_in_run(site, ticket, rest))
    return [done[ask.digest] for ask in asks]


def _answer_in_run(site: Site, ticket: Ticket, asks: Sequence[Ask]) -> dict[str, Answer]:
    run = load_run(site, ticket)
    gate = Gate.of(site.policy, run.study)
    releases, once = _Releases(site, ticket, run, gate), Once(run.folder, run.study)
    done: dict[str, Answer] = {}
    fresh: list[Ask] = []
    numbers = 0
    for ask in {ask.digest: ask for ask in asks}.values():
        if isinstance(ask.question, Freeze):
            done[ask.digest] = releases.receive(ask, freeze_run(run, ask.question))
            continue
        earlier = releases.earlier(ask)
        if earlier is not None:
            done[ask.digest] = earlier
            continue
        try:
            gate.admit(ask, ticket.roster(ask.cohort))
            if isinstance(ask.question, Query):
                once.admit(ask.question)
            numbers += elements(ask.question) if isinstance(ask.question, Query) else 0
            if numbers > MAX_MESSAGE_ELEMENTS:
                raise FedmviError(415, limit=MAX_MESSAGE_ELEMENTS)
            fresh.append(ask)
        except FedmviError as error:
            done[ask.digest] = releases.refuse(ask, error)
    if fresh:
        view = GatedView(site, load_prepared(site, run.study), run, gate)
        strict = {ask.digest: gate.tighten(ask) for ask in fresh}
        results = respond_all(list(strict.values()), view)
        for ask in fresh:
            result = results[strict[ask.digest].digest]
            if isinstance(ask.question, Query) and not isinstance(result, FedmviError):
                try:
                    once.keep(ask.question)
                except FedmviError as error:  # two values in one message
                    result = error
            done[ask.digest] = releases.release(ask, result, view)
    return done


class Left(StrEnum):
    """What left: an answer with data, a task's receipt, or a refusal, which may tell something too."""

    ANSWER = "answer"
    RECEIPT = "receipt"
    REFUSAL = "refusal"


def _words(ask: Ask) -> str:
    """The question's words; of one whose fields do not fit together, so that it has none, its name."""
    try:
        return ask.question.words()
    except Exception as error:  # noqa: BLE001 - whatever a malformed question raises, its refusal must be recorded
        _LOG.warning("a question without words: %s", type(error).__name__)
        return ask.question.name


class _Book:
    """Writes into the ledger what leaves in one run."""

    def __init__(self, site: Site, ticket: Ticket) -> None:
        self._ticket = ticket
        self._ledger = Ledger(site.store / "ledger.jsonl")

    def answered(self) -> frozenset[tuple[str, tuple[str, ...]]]:
        """The questions of this run whose answers left, each with its roster."""
        entries = self._ledger.of_run(self._ticket.run_id)
        return frozenset((e["question"], tuple(e["roster"])) for e in entries if e.get("left") == Left.ANSWER)

    def record(self, ask: Ask, left: Left, packed: Packed, *, repeat: bool = False, refused: int = 0) -> None:
        """One line; on return it is on disk."""
        words = _words(ask)[:MAX_WORDS]
        printable = "".join(c if c.isprintable() else "?" for c in words)
        self._ledger.append(
            {
                "run_id": self._ticket.run_id,
                "study": self._ticket.study,
                "query": ask.question.name,
                "words": (f"refused ({refused}): " if refused else "") + printable,
                "left": left.value,
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


class _Releases:
    """Everything that leaves in answer to a question of one run goes through here."""

    def __init__(self, site: Site, ticket: Ticket, run: OpenRun, gate: Gate) -> None:
        self._ticket, self._run = ticket, run
        self._differencing = Differencing(site, ticket, gate.limits)
        self._keys = MaskKeys(site, ticket.study, run.store, run.keys)
        self._book = _Book(site, ticket)
        self._answered = self._book.answered()
        folder = run.folder / "replies"
        if not folder.exists() and self._answered:
            # Answers left, but the store that would repeat them is gone: they cannot be given a second time.
            raise FedmviError(413)
        self._replies = ReplyStore(folder)

    def _key(self, ask: Ask) -> str:
        roster = roster_digest(ask.cohort, self._ticket.roster(ask.cohort))
        return digest(canonical_json([ask.digest, self._ticket.run_id, roster, self._run.store]))

    def earlier(self, ask: Ask) -> Answer | None:
        """The answer that already left for this question, marked as a repeat; error 413 if it is lost."""
        stored = self._replies.get(self._key(ask))
        if stored is None:
            if (ask.digest, self._ticket.roster(ask.cohort)) in self._answered:
                raise FedmviError(413)
            return None
        self._book.record(ask, Left.ANSWER, stored, repeat=True)
        return Answer(ask.digest, blocks=unpack(stored, dict), repeat=True)

    def receive(self, ask: Ask, receipt: Receipt) -> Answer:
        """Record a task's receipt; on return it may leave."""
        self._book.record(ask, Left.RECEIPT, pack(dict(receipt)))
        return Answer(ask.digest, receipt=receipt)

    def refuse(self, ask: Ask, error: FedmviError) -> Answer:
        """Record a refusal: that a site refuses, and why, may tell something about its data."""
        _LOG.warning("refused: %r: %s", _words(ask)[:MAX_WORDS], error)
        answer = failure(ask.digest, error)
        packed = pack({"error": answer.error, "facts": answer.facts})
        self._book.record(ask, Left.REFUSAL, packed, refused=error.number)
        return answer

    def release(self, ask: Ask, result: Summary | FedmviError, view: GatedView) -> Answer:
        """Check, encode, store and record an answer; on return it may leave."""
        if isinstance(result, FedmviError):
            return self.refuse(ask, result)
        if not isinstance(ask.question, Query):
            raise FedmviError(501)
        try:
            check_summary(ask.question, result)
            blocks = outgoing(ask, result, len(self._ticket.roster(ask.cohort)))
            if ask.mode is Mode.TOTAL and self._run.masks:
                blocks = dict(self._keys.masked(self._ticket, ask, blocks))
            if ask.mode is Mode.TOTAL:
                # Before the answer is kept: a crash between may refuse too much later, never too little.
                self._differencing.admit(ask.question, view.counted(ask.question), view.patients(ask.cohort))
        except FedmviError as error:
            return self.refuse(ask, error)
        packed = pack(blocks)
        # The bytes before the line: whatever happens between, a repeat finds the same bytes and records itself.
        self._replies.put(self._key(ask), packed)
        self._book.record(ask, Left.ANSWER, packed)
        return Answer(ask.digest, blocks=blocks)
