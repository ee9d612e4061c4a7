"""client: answers one message: decode, gate, answer, record, and only then let go.

The process that does so lives for one message and remembers nothing; all it needs is in the site's folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from client.cohort.site import Site, alone, load_site
from client.release.accounts import account, question_key
from client.release.centre_scope import centre_words, consenting, refuse_left_apart, zeros
from client.release.claims import as_signed
from client.release.differencing import Differencing
from client.release.expression_scope import is_expression
from client.release.gate import Gate
from client.release.keys import MaskKeys
from client.release.ledger import Ledger, ledger_file
from client.release.once import Once
from client.release.replies import ReplyStore
from client.release.sizes import Sizes
from client.run import OpenRun, freeze_run, load_run, open_run, refuse_unapproved, sign_run
from client.view import GatedView
from common.errors import FedmviError
from common.errors.unforeseen import unforeseen
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
from common.federation.learning import RoundLoss, RoundUpdate, TrainRound
from common.federation.query import Ask, Mode, Query, Receipt, Summary, Task
from common.federation.tasks import Freeze, FreezeCorrections, Open, Sign
from common.federation.totals import check_summary
from common.observing.context import bound
from common.statistics.site_profile import SiteProfile
from common.study.centres import left_out, silent
from common.study.fingerprint import canonical_json, digest

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
        with alone(site), bound(study=ticket.study, run=run_id):
            begun = time.monotonic()
            answers = _answers(site, ticket, asks)
            written, refused = write_answers(run_id, answers), sum(bool(answer.error) for answer in answers)
            _LOG.info(
                "%d question(s) answered, %d of them refused; %d bytes, %.1f s",
                len(answers), refused, written.nbytes, time.monotonic() - begun,
            )  # fmt: skip
            return written
    except FedmviError as error:
        _LOG.error("%s", error)
        return write_answers(run_id, [failure("", error)])
    except Exception as error:  # noqa: BLE001
        # The text of an unforeseen error may hold patients' data, so only its number leaves.
        _LOG.exception("unforeseen error")
        return write_answers(run_id, [failure("", unforeseen(error))])


def _answers(site: Site, ticket: Ticket, asks: Sequence[Ask]) -> list[Answer]:
    """The answers to a message, which may leave: on return everything about them is on disk."""
    book = _Book(site, ticket)
    done: dict[str, Answer] = {}
    for ask in asks:
        if site.name not in ticket.roster(ask.cohort):
            raise FedmviError(412)
        if isinstance(ask.question, Sign | Open):
            opening = ask.question
            receipt = sign_run(site, ticket, opening) if isinstance(opening, Sign) else open_run(site, ticket, opening)
            book.record(ask, Left.RECEIPT, pack(dict(receipt)), without=str(receipt.get("without", "")))
            done[ask.digest] = Answer(ask.digest, receipt=receipt)
    rest = [ask for ask in asks if ask.digest not in done]
    if rest:
        done.update(_answer_in_run(site, ticket, rest, book))
    book.write()
    return [done[ask.digest] for ask in asks]


def _answer_in_run(site: Site, ticket: Ticket, asks: Sequence[Ask], book: _Book) -> dict[str, Answer]:
    """Do the tasks of a message, in order, and then answer its queries, which may be about what the tasks made.

    On return all is on disk but the lines of the ledger.
    """
    run = load_run(site, ticket)
    gate = Gate.of(site.policy, run.study)
    releases = _Releases(site, ticket, run, gate, book)
    view = GatedView(site, run, gate)
    distinct = list({ask.digest: ask for ask in asks}.values())
    done = {ask.digest: _perform(ask, run, gate, releases, view) for ask in distinct if _is_task(ask)}
    queries = [ask for ask in distinct if not _is_task(ask)]
    done |= _answer_queries(queries, run, gate, releases, view)
    releases.write()
    return done


def _is_task(ask: Ask) -> bool:
    return isinstance(ask.question, Task)


def _perform(ask: Ask, run: OpenRun, gate: Gate, releases: _Releases, view: GatedView) -> Answer:
    """Do a task unless it is done; either way the same receipt leaves."""
    if not isinstance(ask.question, Task):
        raise FedmviError(501)
    if isinstance(ask.question, Freeze | FreezeCorrections):
        return releases.receive(ask, freeze_run(run, ask.question))
    try:
        if isinstance(ask.question, TrainRound):
            gate.admit_training(ask.question.job.network)
        repeat = view.works.done(ask.digest)
        if not repeat:
            view.admission.task(ask, releases.roster(ask))
        receipt = view.perform(ask.question)
        releases.refuse_withdrawn()
        return releases.receive(ask, receipt, repeat=repeat)
    except FedmviError as error:
        return releases.refuse(ask, error)


def _answer_queries(
    asks: Sequence[Ask], run: OpenRun, gate: Gate, releases: _Releases, view: GatedView
) -> dict[str, Answer]:
    sizes = Sizes(gate, run.masks, releases.update_bytes, releases.answers)
    done: dict[str, Answer] = {}
    fresh: list[Ask] = []
    for ask in asks:
        try:
            earlier = releases.earlier(ask)
            if earlier is not None:
                done[ask.digest] = earlier
                continue
            if isinstance(ask.question, RoundUpdate | RoundLoss):
                gate.admit_kind(ask.question)
                gate.admit_training(ask.question.job.network)
                view.admission.query(ask, releases.roster(ask))
            else:
                gate.admit(ask, releases.roster(ask))
            releases.admit_centre(ask, gate, view)
            if isinstance(ask.question, Query):
                releases.once.admit(ask.question)
                sizes.admit(ask.question)
            fresh.append(ask)
        except FedmviError as error:
            done[ask.digest] = releases.refuse(ask, error)
    strict = {ask.digest: gate.tighten(ask) for ask in fresh}
    results = respond_all([strict[ask.digest] for ask in fresh if not releases.silent(ask)], view)
    results |= {strict[ask.digest].digest: zeros(ask.question) for ask in fresh if releases.silent(ask)}
    releases.refuse_withdrawn()
    for ask in fresh:
        asked = strict[ask.digest]
        result = results[asked.digest]
        if isinstance(ask.question, Query) and not isinstance(result, FedmviError):
            try:
                releases.once.keep(ask.question)
            except FedmviError as error:  # two values in one message
                result = error
        done[ask.digest] = releases.release(ask, asked, result, view)
    return done


class Left(StrEnum):
    """What left: an answer with data, a task's receipt, or a refusal, which may tell something too."""

    ANSWER = "answer"
    RECEIPT = "receipt"
    REFUSAL = "refusal"


def _words(ask: Ask) -> str:
    """The question's words; of one whose fields do not fit together, so that it has none, its name."""
    try:
        return ask.question.words() + centre_words(ask.question)
    except Exception as error:  # noqa: BLE001 - whatever a malformed question raises, its refusal must be recorded
        _LOG.warning("a question without words: %s", type(error).__name__)
        return ask.question.name


def _shapes(packed: Packed) -> dict[str, list[int]]:
    """The shapes of an answer's blocks; of a number that is no array none."""
    blocks = unpack(packed, dict)
    return {name: list(block.shape) for name, block in sorted(blocks.items()) if isinstance(block, np.ndarray)}


class _Book:
    """Writes into the ledger what leaves in answer to one message, in one go."""

    def __init__(self, site: Site, ticket: Ticket) -> None:
        self._ticket = ticket
        self._ledger = Ledger(ledger_file(site))
        self._entries: list[dict[str, Any]] = []

    def write(self) -> None:
        """Write the lines; on return they are on disk, and what they are about may leave."""
        self._ledger.append(*self._entries)
        self._entries = []

    def record(
        self,
        ask: Ask,
        left: Left,
        packed: Packed,
        *,
        repeat: bool = False,
        refused: int = 0,
        guard: Mapping[str, Any] | None = None,
        without: str = "",
    ) -> None:
        """Take one line for `write`. `guard`: how many patients were asked about, and what limits were held to.
        `without`: who is left out of the run that is opened.

        Lines of earlier versions have fewer fields; each line's hash covers the fields that it has.
        """
        words = (_words(ask) + (f", without {without}" if without else ""))[:MAX_WORDS]
        printable = "".join(c if c.isprintable() else "?" for c in words)
        self._entries.append(
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
                "shapes": _shapes(packed) if left is Left.ANSWER else {},
                **(guard or {}),
                "question": ask.digest,
                "answer": packed.digest,
                "repeat": repeat,
            }
        )


class _Releases:
    """Everything that leaves in answer to the questions of one message goes through here.

    Nothing of it must leave before `write` and then the book's `write`.
    """

    def __init__(self, site: Site, ticket: Ticket, run: OpenRun, gate: Gate, book: _Book) -> None:
        self._site, self._ticket, self._run, self._limits = site, ticket, run, gate.limits
        self._differencing = Differencing(site, ticket, gate.limits, run.alone if run.masks else None)
        self._consents = run.consents(site.name)
        self._keys = MaskKeys(site, ticket.study, run.store, run.keys, self._consents)
        self._book = book
        self.once = Once(run.folder, run.study)
        self._account = account(site, ticket, run.folder)
        self.answers, self.update_bytes = self._account.answers, self._account.update_bytes
        folder = run.folder / "replies"
        if not folder.exists() and self._account.given:
            # Answers left, but the store that would repeat them is gone: they cannot be given a second time.
            raise FedmviError(413)
        self._replies = ReplyStore(folder)

    def _key(self, ask: Ask) -> str:
        roster = roster_digest(ask.cohort, self._ticket.roster(ask.cohort))
        return digest(canonical_json([ask.digest, self._ticket.run_id, roster, self._run.store]))

    def earlier(self, ask: Ask) -> Answer | None:
        """The answer that already left for this question, marked as a repeat; error 413 if it is lost."""
        stored = self._replies.get(self._key(ask), ask.question)
        if stored is None:
            if question_key(ask.digest, self._ticket.roster(ask.cohort)) in self._account.given:
                raise FedmviError(413)
            return None
        self._book.record(ask, Left.ANSWER, stored, repeat=True)
        return Answer(ask.digest, blocks=unpack(stored, dict), repeat=True)

    def refuse_withdrawn(self) -> None:
        """Error 401 if the hospital took the study off its list while the answers were made: they do not leave."""
        refuse_unapproved(load_site(self._site.folder), self._ticket.study)

    def roster(self, ask: Ask) -> tuple[str, ...]:
        """The sites that a question is put to."""
        return self._ticket.roster(ask.cohort)

    def admit_centre(self, ask: Ask, gate: Gate, view: GatedView) -> None:
        """Refuse what would tell a hospital apart that must not be; errors of `Gate.admit_centre`, 408 and 438."""
        if isinstance(ask.question, Query) and self._run.masks:
            refuse_left_apart(ask.question, self._site.name, self._consents, self.roster(ask), gate.limits.min_sites)
        if isinstance(ask.question, Query) and left_out(ask.question.recipe):
            signed = self._run.alone if self._run.masks else None
            consent = consenting(self._site.name, self._site.policy, signed, self.roster(ask))
            # Of a round of training, `Admission` holds this site's part to the limits that its patients are held to.
            trained = isinstance(ask.question, RoundUpdate | RoundLoss)
            own = view.left(ask.question) if self._site.name in consent and not trained else None
            gate.admit_centre(ask.question, self.roster(ask), consent, own)

    def silent(self, ask: Ask) -> bool:
        """Whether this site has nothing to say to a question: it is left out of the sum, or another one is asked."""
        return isinstance(ask.question, Query) and silent(ask.question.recipe, self._site.name)

    def receive(self, ask: Ask, receipt: Receipt, *, repeat: bool = False) -> Answer:
        """Record a task's receipt."""
        self._book.record(ask, Left.RECEIPT, pack(dict(receipt)), repeat=repeat)
        return Answer(ask.digest, receipt=receipt, repeat=repeat)

    def refuse(self, ask: Ask, error: FedmviError) -> Answer:
        """Record a refusal: that a site refuses, and why, may tell something about its data."""
        _LOG.warning("refused: %r: %s", _words(ask)[:MAX_WORDS], error)
        answer = failure(ask.digest, error)
        packed = pack({"error": answer.error, "facts": answer.facts})
        self._book.record(ask, Left.REFUSAL, packed, refused=error.number)
        return answer

    def release(self, ask: Ask, asked: Ask, result: Summary | FedmviError, view: GatedView) -> Answer:
        """Check, encode, store and record an answer. `asked` is the question as it was put."""
        if isinstance(result, FedmviError):
            return self.refuse(ask, result)
        if not isinstance(ask.question, Query):
            raise FedmviError(501)
        try:
            result = as_signed(ask.question, result, self._consents, self.roster(ask), self._limits.min_sites)
            check_summary(ask.question, result)
            blocks = outgoing(ask, result, len(self._ticket.roster(ask.cohort)), masked=self._run.masks)
            if ask.mode is Mode.TOTAL and self._run.masks:
                blocks = dict(self._keys.masked(self._ticket, ask, blocks))
            counted = 0 if self.silent(ask) else None
            if is_expression(ask.question):
                self._differencing.admit_expressed(ask.cohort, view.framed(ask.question))
            if ask.mode is Mode.TOTAL and counted is None:
                sets = view.counted(ask.question)
                self._differencing.admit(ask.question, sets, view.patients(ask.cohort))
                counted = sets[0].n
            elif not ask.question.pooled and counted is None:
                framed = view.framed(ask.question) if isinstance(ask.question, SiteProfile) else None
                self._differencing.admit_alone(ask.question, (view.patients(ask.cohort),), framed)
        except FedmviError as error:
            return self.refuse(ask, error)
        packed = pack(blocks)
        self._replies.put(self._key(ask), ask.question, packed)
        self._book.record(ask, Left.ANSWER, packed, guard=self._guard(asked, view, counted))
        return Answer(ask.digest, blocks=blocks)

    def write(self) -> None:
        """Put on disk what the answers need before their lines of the ledger.

        What must not be told a second time comes before the bytes: a crash between may refuse too much later, never
        too little. The bytes come before the line: whatever happens between, a repeat finds the same bytes and records
        itself.
        """
        self.once.write()
        self._differencing.write()
        self._replies.write()

    def _guard(self, asked: Ask, view: GatedView, counted: int | None) -> dict[str, Any]:
        """The patients of the cohort here, those whom the answer counts, and the limits with what was held to them."""
        held = view.held(asked.question) if isinstance(asked.question, Query) else {}
        size = view.size(asked.cohort)
        return {
            "patients": size,
            "counted": int(held.get("frame", size)) if counted is None else counted,
            "limits": self._limits.model_dump(),
            "held": held,
        }
