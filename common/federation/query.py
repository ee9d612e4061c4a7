"""common/federation: what a coordinator may ask: queries (a summary leaves) and tasks (a receipt leaves)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from common.errors import FedmviError
from common.federation.codec import STRICT, Packed, pack, unpack
from common.study.recipe import Frame, Recipe

Summary = dict[str, NDArray[Any]]
"""The blocks of an answer by name: int64 for counts, float64 for reals, float32 for updates (their sums float64)."""

Receipt = dict[str, str | int]
"""What a task tells about itself: declared facts, no data."""


HIDDEN = -1
"""Stands for a count that a site hides."""

MOST_PATIENTS = 1_000_000
"""Of one site: more than any hospital has operated on."""

MOST_COUNTED = 4 * MOST_PATIENTS**2
"""Of one site: pairs of patients, in halves."""


class Risk(StrEnum):
    """What kind of knowledge a query's answer carries; a site's policy allows or refuses each kind."""

    SUM = "SUM"
    CELLS = "CELLS"
    RANK = "RANK"
    PROFILE = "PROFILE"
    MODEL = "MODEL"


class Kind(StrEnum):
    """How a block is encoded (see `fixedpoint`)."""

    COUNT = "count"
    REAL = "real"
    UPDATE = "update"


class Mode(StrEnum):
    """How an answer is used: summed over the roster, kept one per site, or a task's receipt."""

    TOTAL = "total"
    EACH = "each"
    PERFORM = "perform"


@dataclass(frozen=True)
class Block:
    """The shape and kind of one array of an answer; `bits` behind the point for an update."""

    shape: tuple[int, ...]
    kind: Kind
    bits: int = 0


def _register(kind: type[Any], registry: dict[str, type[Any]]) -> None:
    """A name on the wire means one class: of two with one name the later would quietly take the earlier's questions."""
    known = registry.setdefault(kind.name, kind)
    if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise TypeError(f"{kind.__qualname__} and {known.__qualname__} are both called {kind.name}")
    registry[kind.name] = kind


class SiteView(Protocol):
    """What a query may use at a site: nothing but frames and counts."""

    def frame(self, query: Query) -> Frame:
        """The frame that the query's recipe makes of its cohort."""

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """How many patients left at which step on the way into the cohort."""

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        """What a task of this run made here and kept, by the task's digest; error 511 where there is none."""

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """Patients of the cohort without, with, and of unknown endpoint.

        Survival: censored, event, unknown; competing: without the event of interest, with it, unknown; ordinal: of
        the lowest level, of a higher one, unknown.
        """


@dataclass(frozen=True)
class Query(ABC):
    """A question to every site of a cohort; subclasses are frozen dataclasses with the broadcast state.

    What gate, encoder, masks, validation, ledger and preview know of a query is `name`, `risk`, `cohort`,
    `recipe`, `blocks`, `parameters`, `uses` and `words`: all of them computed from the query alone.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: ClassVar[str]
    risk: ClassVar[Risk]
    journaled: ClassVar[bool] = True
    """Whether a server keeps the reply for a resumed run; else it asks again, and the sites repeat their bytes."""
    registry: ClassVar[dict[str, type[Query]]] = {}

    cohort: str
    recipe: Recipe

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            _register(cls, Query.registry)

    @abstractmethod
    def blocks(self) -> Mapping[str, Block]:
        """Name, shape and kind of every array of the answer, from the query alone."""

    @abstractmethod
    def words(self) -> str:
        """What the answer is, in words, for the ledger and the preview."""

    @property
    def parameters(self) -> int:
        """Number of parameters that the answer helps to fit; 0 for a description."""
        return 0

    @property
    def uses(self) -> tuple[str, ...]:
        """Columns of the frame that enter the answer; their levels are checked against the limits."""
        return ()

    @property
    def classes_of(self) -> str:
        """The binary endpoint whose classes the answer tells apart, or ""."""
        return ""

    @property
    def levels_of(self) -> str:
        """The ordinal endpoint whose levels, as many as the field `levels` says, the answer tells apart, or ""."""
        return ""

    def consistent(self) -> bool:
        """Whether the fields fit together (the sizes of arrays, indices in range); a site refuses others."""
        return True

    @property
    def widest(self) -> float:
        """Largest absolute value that its columns may plausibly have: sums must stay in range whatever a site holds,
        because whether they do would tell that site's own sum."""
        return float("inf")

    @property
    def once(self) -> tuple[str, ...]:
        """Fields that an honest server sets once a run for these columns of this cohort; a second value is refused,
        because the difference of two answers would be the few patients whom the two values tell apart."""
        return ()

    @property
    def once_by_row(self) -> tuple[str, ...]:
        """As `once`, of arrays: each row is set once, so that the first rows may be asked for without the rest."""
        return ()

    @property
    def coarse(self) -> bool:
        """Whether the answer tells of ranks no more than public bins would: counts at thresholds that the server
        chose freely tell everybody's rank in the end."""
        return self.risk is not Risk.RANK

    @property
    def folds(self) -> int:
        """Folds that the answer tells apart; 0 for none."""
        return 0

    @property
    def draws(self) -> bool:
        """Whether the answer draws at random, from the keys of the patients."""
        return False

    def influence(self, frame: Frame) -> NDArray[np.float64] | None:  # noqa: ARG002 - the signature that subclasses fill
        """(n,) how much each patient counts in the answer, at most 1; None where all count alike.

        A site refuses an answer whose broadcast numbers leave weight to a few patients only. Where an answer has
        several sets of weights the shape is (sets, n), and each must pass.
        """
        return None

    def plausible(self, summary: Summary, sites: int) -> bool:
        """Whether a sum over so many sites, or a site's own answer, can be true: a hospital may send anything."""
        counts = [summary[name] for name, block in self.blocks().items() if block.kind is Kind.COUNT]
        least = HIDDEN if self.hides_below else 0
        return all(bool(np.all((c >= least) & (c <= sites * MOST_COUNTED))) for c in counts)

    @property
    def pooled(self) -> bool:
        """Whether the sum over a roster is meant; False for what a site publishes on its own."""
        return True

    @property
    def adds_up(self) -> bool:
        """Whether sums or means follow from what a site tells of itself: taken from a total they leave the others'."""
        return not self.pooled and self.risk is Risk.PROFILE

    @property
    def series(self) -> tuple[str, int] | None:
        """Of what is asked round after round: the name of the series, and the round.

        A site keeps the answers of the last two rounds of a series only.
        """
        return None

    @property
    def hides_below(self) -> int:
        """The count below which the answer hides its cells; 0 if it hides none. Only such go out by site."""
        return 0

    def answer(self, frame: Frame) -> Summary:  # noqa: ARG002 - the signature that subclasses fill
        """The site's half of the statistic, a pure function of the frame; overridden by almost every query."""
        raise FedmviError(901, f"{type(self).__name__} answers from more than a frame")

    def respond(self, site: SiteView) -> Summary:
        """Answer with what the site offers; queries that need no more than a frame leave this as it is."""
        return self.answer(site.frame(self))

    @classmethod
    def answer_many(cls, queries: Sequence[Query], site: SiteView) -> list[Summary]:
        """Answer queries of this class that came in one message; override where a batch is faster than a loop."""
        return [query.respond(site) for query in queries]


@dataclass(frozen=True)
class Task(ABC):
    """Work that a site does and keeps; only a receipt comes back."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: ClassVar[str]
    journaled: ClassVar[bool] = True
    """See `Query`."""
    registry: ClassVar[dict[str, type[Task]]] = {}

    @property
    def roster(self) -> str:
        """The cohort whose sites are asked; "" for every site of the run."""
        return str(getattr(self, "cohort", ""))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            _register(cls, Task.registry)

    def plausible(self, receipt: Receipt) -> bool:  # noqa: ARG002 - the signature that subclasses fill
        """Whether this can be the receipt of the work: a hospital may send anything."""
        return True

    @abstractmethod
    def words(self) -> str:
        """What the site will do, in words."""


@dataclass(frozen=True)
class Ask:
    """A question and how its answer is used. `cohort` says whom it is put to ("" = every site of the run)."""

    mode: Mode
    question: Query | Task

    @property
    def cohort(self) -> str:
        """The cohort whose roster is asked."""
        return self.question.cohort if isinstance(self.question, Query) else self.question.roster

    @cached_property
    def packed(self) -> Packed:
        """The question ready to travel, in the form that it has after validation at the other end."""
        kind = type(self.question)
        return pack(unpack(pack(self.question, kind), kind), kind)

    @cached_property
    def digest(self) -> str:
        """Names question and mode; equal questions are asked once."""
        body = self.packed
        return Packed(f"{self.mode.value}|{self.question.name}|{body.text}", body.arrays).digest


def total(query: Query) -> Ask:
    """Ask for the sum of the summaries over the roster; the server sees nothing else."""
    return Ask(Mode.TOTAL, query)


def each(query: Query) -> Ask:
    """Ask for one summary per site, for what a site may show on its own."""
    return Ask(Mode.EACH, query)


def perform(task: Task) -> Ask:
    """Ask every site of the run to do the work and keep its result."""
    return Ask(Mode.PERFORM, task)


def read_ask(mode: str, name: str, packed: Packed) -> Ask:
    """Rebuild a question off the wire; an unknown name or an invalid body is error 501."""
    kinds: Mapping[str, type[Query] | type[Task]] = Task.registry if mode == Mode.PERFORM else Query.registry
    if name not in kinds or mode not in set(Mode):
        raise FedmviError(501, f"no question {mode}/{name}")
    question: Any = unpack(packed, kinds[name])
    return Ask(Mode(mode), question)
