"""common/statistics: refinement: the order of values across sites, from counts in ever smaller ranges.

The 64 bits of a float, made order-preserving, are searched from the top for all columns in lock-step. A range that
holds patients whom the statistic must still tell apart is split into as many children as it has patients; one that
does not is a leaf. No value is sent. Every child's count is at most the count of its range, which is known from the
round before, so many counts travel as the digits of one number; sums of such numbers over sites carry nothing.

A score is rounded by its definition, so that a range may hold one possible score only. Its patients are tied, and that
range is not searched down to its last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import KeyField
from common.federation.query import Ask, Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.digits import Digits
from common.study.recipe import SCORE_DECIMALS, Frame, Recipe
from common.study.table import FloatArray

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]

KEY_BITS = 64
MAX_ROUNDS = 8
MAX_BITS = 16
"""Most bits by which a range is split at once."""

MAX_PATIENTS = (1 << 26) - 1
"""Bound of the counts before any is known."""

MAX_CELLS = 1 << 24
MOST_CELLS = 1 << 21
"""Cells of one question, above which the columns are asked for in several."""


def order_keys(scores: FloatArray) -> Keys:
    """Unsigned integers in the order of the scores, one for each distinct float; NaN has no place in the order."""
    bits = (scores + 0.0).view(np.uint64)  # adding zero turns -0.0 into 0.0
    negative = (bits >> np.uint64(63)).astype(bool)
    return np.where(negative, ~bits, bits | np.uint64(1 << 63))


def key_values(keys: Keys) -> FloatArray:
    """The inverse of `order_keys`."""
    negative = (keys >> np.uint64(63)) == 0
    return np.where(negative, ~keys, keys ^ np.uint64(1 << 63)).view(np.float64)


SCORES = order_keys(np.arange(10**SCORE_DECIMALS + 1) / 10.0**SCORE_DECIMALS)
"""(10,001,) the keys of all values that a score can have, ascending."""


def public_thresholds(values: FloatArray) -> bool:
    """Whether all are whole hundredths: counts there are those of public bins, however often they are asked."""
    return bool(np.all(values == np.rint(values * 100.0) / 100.0))


def _above(keys: Keys, bits: NDArray[np.uint64]) -> Keys:
    """The keys without their lowest `bits` bits (0 to 64), moved down."""
    return np.where(bits < KEY_BITS, keys >> np.minimum(bits, np.uint64(KEY_BITS - 1)), np.uint64(0))


def _last_keys(low: Keys, depth: NDArray[np.uint64]) -> Keys:
    """The last key of ranges whose keys share `depth` leading bits."""
    return low + _above(np.full(low.size, ~np.uint64(0)), depth)


@dataclass(frozen=True)
class ValueCounts(Query):
    """How many patients fall into each part of some ranges of some columns, whatever their class.

    Attributes
    ----------
    columns
        Columns of the frame.
    ranges
        (columns,) number of ranges of each.
    low, depth, bits
        (ranges,) first key of each range, by column and ascending; how many leading bits of the key are the
        range's; by how many more it is split.
    most
        (ranges * classes,) upper bounds of the pooled counts, known from the round before.
    """

    name: ClassVar[str] = "query.value_counts"
    risk: ClassVar[Risk] = Risk.RANK

    columns: tuple[str, ...]
    ranges: KeyField
    low: KeyField
    depth: KeyField
    bits: KeyField
    most: KeyField

    @property
    def classes(self) -> int:
        """Classes told apart."""
        return 1

    def blocks(self) -> Mapping[str, Block]:
        """`counts`: (words,), see `Digits`; error 501 for ranges that do not fit together."""
        if not self.consistent():
            raise FedmviError(501, "ranges")
        return {"counts": Block((self.digits.words,), Kind.COUNT)}

    def consistent(self) -> bool:
        """See `Query`."""
        n = self.low.size
        if self.ranges.size != len(self.columns) or n == 0 or n > MAX_CELLS or bool(np.any(self.ranges > n)):
            return False
        if not (int(self.ranges.sum()) == n == self.depth.size == self.bits.size):
            return False
        if self.most.size != n * self.classes or bool(np.any(self.most > MAX_PATIENTS)):
            return False
        split = bool(np.all((self.bits >= 1) & (self.bits <= MAX_BITS) & (self.depth <= KEY_BITS - self.bits)))
        return split and int(np.left_shift(np.uint64(1), self.bits).sum()) <= MAX_CELLS

    def words(self) -> str:
        """See `Query`."""
        named = ", ".join(self.columns[:3]) + (", ..." if len(self.columns) > 3 else "")
        return f"patients in parts of {self.low.size} ranges of {len(self.columns)} columns ({named})"

    @cached_property
    def digits(self) -> Digits:
        """How the counts are written as numbers."""
        return Digits.of(self.bits, self.most.reshape(-1, self.classes))

    def plausible(self, summary: Summary, sites: int) -> bool:  # noqa: ARG002 - the bounds are those of the sum
        """See `Query`: nobody is where nobody was, and no part has more patients than its range."""
        return self.digits.sound(summary["counts"], self.most.reshape(-1, self.classes))

    def label(self, frame: Frame) -> FloatArray:
        """(n,) each patient's class, NaN where unknown."""
        return np.zeros(frame.n)

    def answer(self, frame: Frame) -> Summary:
        """The site's counts; who has no value, or no class, is left out, column by column."""
        label = self.label(frame)
        ends = np.cumsum(self.ranges.astype(np.int64))
        found = []
        for name, begin, end in zip(self.columns, ends - self.ranges.astype(np.int64), ends, strict=True):
            if begin == end:
                continue
            known = ~np.isnan(frame.columns[name] + label)
            keys = order_keys(frame.columns[name][known])
            owner = np.maximum(np.searchsorted(self.low[begin:end], keys, side="right") - 1, 0) + begin
            low, width = self.low[owner], KEY_BITS - self.depth[owner]
            inside = _above(keys, width) == _above(low, width)
            child = _above(keys, width - self.bits[owner]) - _above(low, width - self.bits[owner])
            found.append(np.stack([owner, child.astype(np.int64), label[known].astype(np.int64)])[:, inside])
        return {"counts": self.digits.pack(*np.concatenate(found, axis=1))}

    def children(self, words: Counts) -> tuple[Counts, Counts, Counts]:
        """The range (m,), the place in it (m,) and the (m, classes) counts of every part with patients, ascending."""
        owner, child, label, counts = self.digits.unpack(words)
        cells, place = np.unique((owner << MAX_BITS) + child, return_inverse=True)
        table = np.zeros((cells.size, self.classes), dtype=np.int64)
        table[place, label] = counts
        return cells >> MAX_BITS, cells & ((1 << MAX_BITS) - 1), table


@dataclass(frozen=True)
class ScoreCounts(ValueCounts):
    """How many patients of each class fall into each part of some ranges of some columns."""

    name: ClassVar[str] = "query.score_counts"

    endpoint: str

    @property
    def classes(self) -> int:
        """Without and with the endpoint."""
        return 2

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def words(self) -> str:
        """See `Query`."""
        return f"{super().words()} by class of {self.endpoint}"

    def label(self, frame: Frame) -> FloatArray:
        """See `ValueCounts`."""
        return frame.endpoints[self.endpoint]


@dataclass(frozen=True)
class Leaves:
    """The patients of a cohort by ascending value of one column.

    Attributes
    ----------
    low
        (leaves,) ascending first key of the range of keys that a leaf is.
    depth
        (leaves,) leading bits that its keys share; 64 for a single value.
    counts
        (leaves, classes) patients, at least one in each leaf.
    rounds
        Rounds that it took to find them.
    """

    low: Keys
    depth: NDArray[np.uint64]
    counts: Counts
    rounds: int

    @property
    def high(self) -> Keys:
        """(leaves,) last key of the range."""
        return _last_keys(self.low, self.depth)

    def of(self, values: FloatArray) -> NDArray[np.int64]:
        """(n,) the leaf of each of the values that were counted; for others the one below, -1 below all."""
        return np.searchsorted(self.low, order_keys(values), side="right").astype(np.int64) - 1


@dataclass(frozen=True)
class _Ranges:
    """Ranges of all columns, sorted by column and key, with the pooled counts in them."""

    column: NDArray[np.int64]
    low: Keys
    depth: NDArray[np.uint64]
    counts: Counts

    def keep(self, rows: NDArray[np.bool_]) -> _Ranges:
        return _Ranges(self.column[rows], self.low[rows], self.depth[rows], self.counts[rows])

    def without_other_scores(self, scores: NDArray[np.bool_]) -> _Ranges:
        """Those of the ranges `scores` in which one score is possible are that single value."""
        first = np.searchsorted(SCORES, self.low)
        one = scores & (np.searchsorted(SCORES, _last_keys(self.low, self.depth), side="right") - first == 1)
        low, depth = self.low.copy(), self.depth.copy()
        low[one], depth[one] = SCORES[first[one]], KEY_BITS
        return _Ranges(self.column, low, depth, self.counts)


def root_question(cohort: str, recipe: Recipe, columns: tuple[str, ...], endpoint: str = "") -> ValueCounts:
    """The first question: the whole line of floats, for each column."""
    one = np.ones(len(columns), dtype=np.uint64)
    bits = one * np.uint64(-(-KEY_BITS // MAX_ROUNDS))
    most = np.full(len(columns) * (2 if endpoint else 1), MAX_PATIENTS, dtype=np.uint64)
    return _question(cohort, recipe, endpoint, columns, one, 0 * one, 0 * one, bits, most)


def _question(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], *arrays: NDArray[np.uint64]
) -> ValueCounts:
    if endpoint:
        ranges, low, depth, bits, most = arrays
        return ScoreCounts(cohort, recipe, columns, ranges, low, depth, bits, most, endpoint)
    return ValueCounts(cohort, recipe, columns, *arrays)


def refine(
    cohort: str, recipe: Recipe, columns: tuple[str, ...], endpoint: str = "", *, pure: bool = True
) -> Conclusion[tuple[Leaves, ...]]:
    """The order of the patients by each column, as far as it is needed; at most eight rounds for any data, four for
    scores of the recipe.

    Parameters
    ----------
    endpoint
        A binary endpoint whose classes are told apart; "" for none.
    pure
        A range is a leaf where it holds one class only, or is a single value: enough for areas and U. Otherwise
        only where it holds one patient, or is a single value: needed for ranks.

    Returns
    -------
    tuple[Leaves, ...]
        One for each column. Missing values (NaN) are left out, column by column; a column without any value has
        no leaves.
    """
    if not columns:
        return ()
    questions = [root_question(cohort, recipe, columns, endpoint)]
    rounded = np.array([recipe.is_rounded(name) for name in columns])
    done: list[_Ranges] = []
    for left in range(MAX_ROUNDS - 1, -1, -1):
        replies = yield tuple[Ask, ...](total(question) for question in questions)
        found = [_children(q, reply["counts"], columns) for q, reply in zip(questions, replies, strict=True)]
        ranges = _joined(found)
        patients = ranges.counts.sum(axis=1)
        apart = np.all(ranges.counts > 0, axis=1) if pure and endpoint else patients > 1
        ranges = ranges.without_other_scores(apart & rounded[ranges.column])
        going = apart & (ranges.depth < KEY_BITS)
        done.append(ranges.keep(~going & (patients > 0)))
        if not bool(np.any(going)):
            break
        questions = _questions(cohort, recipe, endpoint, columns, ranges.keep(going), left)
    return _leaves(_joined(done), len(columns), MAX_ROUNDS - left)


def _children(query: ValueCounts, words: Counts, columns: Sequence[str]) -> _Ranges:
    """The occupied children of a question's ranges."""
    owner, child, counts = query.children(words)
    place = {name: i for i, name in enumerate(columns)}
    column = np.repeat([place[name] for name in query.columns], query.ranges.astype(np.int64))
    depth = query.depth[owner] + query.bits[owner]
    low = query.low[owner] + np.left_shift(child.astype(np.uint64), KEY_BITS - depth)
    return _Ranges(column[owner], low, depth, counts)


def _questions(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], ranges: _Ranges, left: int
) -> list[ValueCounts]:
    """Questions for the ranges, `left` rounds before the last bit must be reached."""
    patients = np.ceil(np.log2(ranges.counts.sum(axis=1))).astype(np.uint64)
    remaining = KEY_BITS - ranges.depth
    fair = -(-remaining.astype(np.int64) // left)
    bits = np.minimum(np.maximum(fair.astype(np.uint64), np.minimum(patients, np.uint64(MAX_BITS))), remaining)
    # What each column adds to an answer: all columns go in one question unless it grew too large.
    cost = np.bincount(ranges.column, weights=np.left_shift(1, bits.astype(np.int64)), minlength=len(columns))
    part = (np.cumsum(cost) // MOST_CELLS).astype(np.int64)
    questions = []
    for chunk in np.unique(part[np.unique(ranges.column)]).tolist():
        mine = part[ranges.column] == chunk
        sizes = np.bincount(ranges.column[mine], minlength=len(columns))
        used = np.flatnonzero(sizes)
        most = ranges.counts[mine].astype(np.uint64).reshape(-1)
        names = tuple(columns[i] for i in used)
        arrays = (sizes[used].astype(np.uint64), ranges.low[mine], ranges.depth[mine], bits[mine], most)
        questions.append(_question(cohort, recipe, endpoint, names, *arrays))
    return questions


def _joined(parts: Sequence[_Ranges]) -> _Ranges:
    column = np.concatenate([part.column for part in parts])
    low = np.concatenate([part.low for part in parts])
    order = np.lexsort((low, column))
    depth = np.concatenate([part.depth for part in parts])
    return _Ranges(column[order], low[order], depth[order], np.concatenate([part.counts for part in parts])[order])


def _leaves(ranges: _Ranges, columns: int, rounds: int) -> tuple[Leaves, ...]:
    mine = [ranges.keep(ranges.column == i) for i in range(columns)]
    return tuple(Leaves(part.low, part.depth, part.counts, rounds) for part in mine)
