"""common/federation: the two messages: an envelope of questions to a site, and the site's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from string import Formatter
from typing import Any

from numpy.typing import NDArray

from common.errors import CATALOGUE, Fact, FedmviError
from common.federation.codec import STRICT, Packed, Plain, get_ready, pack, unpack
from common.federation.query import Ask, Mode, Query, SiteView, Summary, Task, read_ask
from common.federation.totals import encode_total, plain_total
from common.study.drafting import Cut, DraftScore
from common.study.fingerprint import canonical_json, digest
from common.study.recipe import Recipe, Score

WIRE_VERSION = 1
MAX_ASKS = 10_000
MAX_FACT = 200
KNOWN_FACTS = frozenset(
    name
    for text in CATALOGUE.values()
    for sentence in (text.what, text.do)
    for _, name, _, _ in Formatter().parse(sentence)
    if name
)
"""The names of facts that a sentence of the catalogue has a place for; a site's others are dropped."""


@dataclass(frozen=True)
class Ticket:
    """What every message of a run says about the run.

    Attributes
    ----------
    run_id
        Made when the study is submitted, kept by resume.
    study
        Fingerprint of the protocol.
    rosters
        The sites of each cohort, sorted; fixed when the run opens.
    """

    run_id: str
    study: str
    rosters: Mapping[str, tuple[str, ...]]

    def roster(self, cohort: str) -> tuple[str, ...]:
        """The sites of a cohort; of the whole run for ""."""
        if cohort:
            return self.rosters[cohort]
        return tuple(sorted({site for sites in self.rosters.values() for site in sites}))


def roster_digest(cohort: str, sites: Sequence[str]) -> str:
    """Names a cohort and the exact sites that are asked."""
    return digest(canonical_json([cohort, list(sites)]))


@dataclass(frozen=True)
class _Question:
    __pydantic_config__ = STRICT
    mode: str
    name: str
    digest: str
    body: Plain


@dataclass(frozen=True)
class _Envelope:
    __pydantic_config__ = STRICT
    version: int
    run_id: str
    study: str
    rosters: dict[str, tuple[str, ...]]
    asks: tuple[_Question, ...]


@dataclass(frozen=True)
class Answer:
    """One site's answer to one question: blocks, or a receipt, or the public face of an error."""

    __pydantic_config__ = STRICT
    digest: str
    blocks: dict[str, Plain] = field(default_factory=dict)
    receipt: dict[str, str | int] = field(default_factory=dict)
    error: int = 0
    facts: dict[str, str | int | float] = field(default_factory=dict)
    repeat: bool = False


@dataclass(frozen=True)
class _Answers:
    __pydantic_config__ = STRICT
    version: int
    run_id: str
    answers: tuple[Answer, ...]


def write_envelope(ticket: Ticket, asks: Sequence[Ask]) -> Packed:
    """The message to one site."""
    questions = []
    for ask in asks:
        body = unpack(ask.packed, dict)
        questions.append({"mode": ask.mode.value, "name": ask.question.name, "digest": ask.digest, "body": body})
    return pack(
        {
            "version": WIRE_VERSION,
            "run_id": ticket.run_id,
            "study": ticket.study,
            "rosters": dict(ticket.rosters),
            "asks": questions,
        }
    )


def read_envelope(packed: Packed) -> tuple[Ticket, list[Ask]]:
    """The run and the questions of a message; anything malformed is error 501."""
    raw = unpack(packed, _Envelope)
    if raw.version != WIRE_VERSION or len(raw.asks) > MAX_ASKS or not is_run_id(raw.run_id):
        raise FedmviError(501, "version, number of questions or run id")
    asks, room = [], sum(array.nbytes for array in packed.arrays)
    for question in raw.asks:
        ask, size = _read_question(question)
        # Each array of a message belongs to one question: work must not grow beyond what was sent.
        room -= size
        if room < 0:
            raise FedmviError(501, "an array is used more than once")
        if (ask.cohort or isinstance(ask.question, Query)) and ask.cohort not in raw.rosters:
            raise FedmviError(412)
        asks.append(ask)
    return Ticket(raw.run_id, raw.study, raw.rosters), asks


def _read_question(question: _Question) -> tuple[Ask, int]:
    """A question and the bytes of its arrays."""
    try:
        body = pack(question.body)
        ask = read_ask(question.mode, question.name, body)
        if ask.digest != question.digest:
            raise FedmviError(501, "a question does not have its digest")
    except (ValueError, TypeError, RecursionError) as error:  # such as NaN, which no canonical JSON has
        raise FedmviError(501, f"{type(error).__name__}: {error}") from error
    return ask, sum(array.nbytes for array in body.arrays)


def is_run_id(text: str) -> bool:
    """Run ids become folder names at the site, so nothing else may pass."""
    return 0 < len(text) <= 64 and text.isascii() and text.replace("-", "").isalnum()


def write_answers(run_id: str, answers: Sequence[Answer]) -> Packed:
    """The site's message back."""
    return pack(_Answers(WIRE_VERSION, run_id, tuple(answers)), _Answers)


def read_answers(packed: Packed, ticket: Ticket, asks: Sequence[Ask], site: str) -> list[Answer]:
    """A site's answers in the order of the questions.

    Raises
    ------
    FedmviError
        501 for anything malformed, 505 for answers to other questions, or the error that the site met as a whole.
    """
    raw = unpack(packed, _Answers)
    if len(raw.answers) == 1 and raw.answers[0].error and not raw.answers[0].digest:
        raise error_of(raw.answers[0], site)
    if raw.version != WIRE_VERSION or raw.run_id != ticket.run_id:
        raise FedmviError(501, "version or run id")
    if [answer.digest for answer in raw.answers] != [ask.digest for ask in asks]:
        raise FedmviError(505)
    return list(raw.answers)


def failure_of(packed: Packed) -> int:
    """The number of the error that a site met as a whole; 0 where it answered, or nobody can read what it sent."""
    try:
        answers = () if packed.arrays else unpack(packed, _Answers).answers
    except FedmviError:
        return 0
    return answers[0].error if len(answers) == 1 and not answers[0].digest else 0


def failure(digest: str, error: FedmviError) -> Answer:
    """The answer that says why there is none: number and public facts only."""
    return Answer(digest, error=error.number, facts=dict(error.facts))


def error_of(answer: Answer, site: str) -> FedmviError:
    """The error that a site reported in an answer."""
    return reported_error(answer.error, answer.facts, site)


def reported_error(number: int, told: Mapping[str, Fact], site: str) -> FedmviError:
    """The error that a site reported; its facts are made fit to print, unknown numbers become 506."""
    if number not in CATALOGUE:
        return FedmviError.reported(506, f"site {site}, an unknown number", {}, site)
    facts = {key: _fit_to_print(value) for key, value in told.items() if key in KNOWN_FACTS}
    return FedmviError.reported(number, f"site {site}", facts, site)


def _fit_to_print(fact: Fact) -> Fact:
    """A site may be hostile: no control characters (terminals obey them), nothing long, no NaN or infinity."""
    if isinstance(fact, str):
        return "".join(c if c.isprintable() else "?" for c in fact[:MAX_FACT])
    return fact if abs(fact) < 2**63 else "?"  # NaN is not below anything


def outgoing(ask: Ask, summary: Summary, sites: int, *, masked: bool) -> dict[str, NDArray[Any]]:
    """The blocks of an answer: integers for a total that will be masked, else as they leave."""
    if not isinstance(ask.question, Query):
        raise FedmviError(901)
    if ask.mode is not Mode.TOTAL:
        return dict(summary)
    return dict((encode_total if masked else plain_total)(ask.question, summary, sites))


def respond_all(asks: Sequence[Ask], site: SiteView) -> dict[str, Summary | FedmviError]:
    """Answer all queries of a message, those of one class in one batch; an error stays with its question.

    Returns summaries or errors by the question's digest.
    """
    results: dict[str, Summary | FedmviError] = {}
    by_class: dict[type[Query], list[Ask]] = {}
    for ask in asks:
        if isinstance(ask.question, Query):
            by_class.setdefault(type(ask.question), []).append(ask)
    for kind, group in by_class.items():
        queries = [ask.question for ask in group if isinstance(ask.question, Query)]
        try:
            answers: Sequence[Summary | FedmviError] = kind.answer_many(queries, site)
        except FedmviError:
            # One question of the batch failed: answer one by one, so that the others are not lost with it.
            answers = [_one(query, site) for query in queries]
        results.update(zip((ask.digest for ask in group), answers, strict=True))
    return results


def _one(query: Query, site: SiteView) -> Summary | FedmviError:
    try:
        return query.respond(site)
    except FedmviError as error:
        return error


def get_all_ready() -> Iterator[Callable[[], None]]:
    """What makes ready all that messages can hold, piece by piece; what every message holds comes first."""
    for kind in (
        _Envelope,
        _Answers,
        Recipe,
        Score,
        Cut,
        DraftScore,
        *Query.registry.values(),
        *Task.registry.values(),
    ):
        yield partial(get_ready, kind)
