"""common/statistics: resampling: what sites answer about bootstrap sets of their own patients.

Draws come from the keys of the patients, within each class of the endpoint, so they are the same in every run and for
every statistic. What leaves are weighted counts and sums of every set, to be summed over sites.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField, KeyField
from common.federation.query import Block, Kind, Query, Risk, Summary
from common.statistics.calibration import logit
from common.statistics.digits import WORD_BITS
from common.statistics.logistic import logistic_weight
from common.statistics.refinement import Counts, order_keys, public_thresholds
from common.study.drafting import drawn_times
from common.study.recipe import Frame, logistic_function
from common.study.table import FloatArray

MAX_REPLICATES = 10_000
MAX_CELLS = 1 << 22
"""Most counts of one answer, before they are packed."""


@dataclass(frozen=True)
class Resampled(Query, ABC):
    """A question about several bootstrap sets of the same patients; the recipe leaves those with every score.

    Attributes
    ----------
    first, sets
        Sets `first` to `first + sets - 1`, see `resample`.
    weights
        Columns with the weights of sets 1, 2, ..., instead of draws; () to draw.
    """

    columns: tuple[str, ...]
    endpoint: str
    first: int
    sets: int
    weights: tuple[str, ...]

    @property
    def draws(self) -> bool:
        """Unless weights are given."""
        return not self.weights

    @property
    def uses(self) -> tuple[str, ...]:
        """The weights."""
        return self.weights

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def consistent(self) -> bool:
        """See `Query`."""
        last = self.first + self.sets - 1
        return self.first >= 0 and self.sets >= 1 and last <= (len(self.weights) or MAX_REPLICATES)

    def drawn(self, frame: Frame) -> Counts:
        """(sets, n) how often each patient counts; error 501 for a frame without keys."""
        if self.weights:
            chosen = range(self.first, self.first + self.sets)
            columns = [frame.columns[self.weights[s - 1]] if s else np.ones(frame.n) for s in chosen]
            return np.array(columns).astype(np.int64)
        if frame.keys.size != frame.n:
            raise FedmviError(501, "resamples are drawn from keys, and the frame has none")
        return drawn_times(frame.keys, frame.endpoints[self.endpoint], self.first, self.sets)


@dataclass(frozen=True)
class ResampledRuns(Resampled):
    """Patients of each bootstrap set in runs of neighbouring scores of one class, or in a tied score of both.

    Attributes
    ----------
    runs
        (columns,) runs of each score.
    low, mixed
        (runs,) first key of each run by column, and 1 where it is a tied score, whose classes are told apart.
    largest
        Largest count that a run can have in a set.
    """

    name: ClassVar[str] = "query.resampled_runs"
    risk: ClassVar[Risk] = Risk.RANK

    runs: KeyField
    low: KeyField
    mixed: KeyField
    largest: int

    @property
    def slots(self) -> int:
        """Counts of one set: one for each run, two for a tied score."""
        return self.low.size + int(np.count_nonzero(self.mixed))

    @property
    def digit(self) -> int:
        """Bits of one count."""
        return self.largest.bit_length()

    @property
    def per_word(self) -> int:
        """Counts in one number."""
        return WORD_BITS // self.digit

    def blocks(self) -> Mapping[str, Block]:
        """`counts` (sets, words), several counts to a number; error 501 for runs that do not fit together."""
        if not self.consistent():
            raise FedmviError(501, "runs")
        return {"counts": Block((self.sets, -(-self.slots // self.per_word)), Kind.COUNT)}

    def consistent(self) -> bool:
        """See `Query`."""
        if self.runs.size != len(self.columns) or bool(np.any(self.runs > self.low.size)):
            return False
        fits = int(self.runs.sum()) == self.low.size == self.mixed.size and 0 < self.largest < 1 << 26
        return super().consistent() and fits and bool(np.all(self.runs > 0)) and self.sets * self.slots <= MAX_CELLS

    def plausible(self, summary: Summary, sites: int) -> bool:  # noqa: ARG002 - the bounds are those of the sum
        """See `Query`: no run is larger than the largest."""
        words = summary["counts"]
        held = (words >= 0) & (words >> self.digit * self.per_word == 0)
        return bool(np.all(held)) and bool(np.all(self.unpack(words) <= self.largest))

    def words(self) -> str:
        """See `Query`."""
        return f"{self.sets} bootstrap sets of the order of {len(self.columns)} scores by class of {self.endpoint}"

    def answer(self, frame: Frame) -> Summary:
        """Weighted counts; patients without score or class count nowhere."""
        drawn, y = self.drawn(frame), frame.endpoints[self.endpoint]
        slot_of_run = np.cumsum(1 + (self.mixed > 0)) - (1 + (self.mixed > 0))
        counts = np.zeros((self.sets, self.blocks()["counts"].shape[1] * self.per_word), dtype=np.int64)
        ends = np.cumsum(self.runs.astype(np.int64))
        for name, begin, end in zip(self.columns, ends - self.runs.astype(np.int64), ends, strict=True):
            known = np.flatnonzero(~np.isnan(frame.columns[name]) & ~np.isnan(y))
            keys = order_keys(frame.columns[name][known])
            run = begin + np.maximum(np.searchsorted(self.low[begin:end], keys, side="right") - 1, 0)
            slot = slot_of_run[run] + np.where(self.mixed[run] > 0, y[known], 0.0).astype(np.int64)
            order = np.argsort(slot, kind="stable")
            used, starts = np.unique(slot[order], return_index=True)
            if used.size:
                counts[:, used] = np.add.reduceat(drawn[:, known[order]], starts, axis=1)
        # A count above its bound loses what is above: to refuse would tell this site's own count.
        digits = (counts & ((1 << self.digit) - 1)).reshape(self.sets, -1, self.per_word)
        return {"counts": np.left_shift(digits, self.digit * np.arange(self.per_word)).sum(axis=2)}

    def unpack(self, words: Counts) -> Counts:
        """(sets, slots) of the sums over sites."""
        digits = np.right_shift(words[:, :, np.newaxis], self.digit * np.arange(self.per_word)) & (
            (1 << self.digit) - 1
        )
        return digits.reshape(len(words), -1)[:, : self.slots]


@dataclass(frozen=True)
class ResampledThresholds(Resampled):
    """Patients of each class and bootstrap set whose scores reach thresholds, and the squared error of the scores."""

    name: ClassVar[str] = "query.resampled_thresholds"
    risk: ClassVar[Risk] = Risk.CELLS

    thresholds: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`positive` (sets, columns, thresholds, 2), `n` (sets, columns, 2); `square` (sets, columns)."""
        shape = (self.sets, len(self.columns))
        m = self.thresholds.shape[-1] if self.thresholds.ndim else 0
        return {
            "positive": Block((*shape, m, 2), Kind.COUNT),
            "n": Block((*shape, 2), Kind.COUNT),
            "square": Block(shape, Kind.REAL),
        }

    @property
    def coarse(self) -> bool:
        """See `Query`."""
        return public_thresholds(self.thresholds)

    def consistent(self) -> bool:
        """See `Query`."""
        fits = self.thresholds.ndim == 2 and len(self.thresholds) == len(self.columns)
        return super().consistent() and fits

    def words(self) -> str:
        """See `Query`."""
        return f"{self.sets} bootstrap sets of {len(self.columns)} scores at thresholds, by class of {self.endpoint}"

    def answer(self, frame: Frame) -> Summary:
        """Weighted counts and squares; patients without score or class count nowhere."""
        drawn, y = self.drawn(frame).astype(np.float64), frame.endpoints[self.endpoint]
        summary: Summary = {}
        for name, block in self.blocks().items():
            summary[name] = np.zeros(block.shape, dtype=np.int64 if block.kind is Kind.COUNT else np.float64)
        for i, name in enumerate(self.columns):
            score = frame.columns[name]
            known = ~np.isnan(score) & ~np.isnan(y)
            for label in (0, 1):
                own = known & (y == label)
                reached = (score[own, np.newaxis] >= self.thresholds[i]).astype(np.float64)
                # Whole numbers, so the product of floats is exact.
                summary["positive"][:, i, :, label] = (drawn[:, own] @ reached).astype(np.int64)
                summary["n"][:, i, label] = drawn[:, own].sum(axis=1).astype(np.int64)
            summary["square"][:, i] = drawn[:, known] @ np.square(score[known] - y[known])
        return summary


@dataclass(frozen=True)
class ResampledLines(Resampled):
    """One Newton step of the calibration line of one predicted risk in every bootstrap set."""

    name: ClassVar[str] = "query.resampled_lines"
    risk: ClassVar[Risk] = Risk.SUM

    coefficients: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`score` (sets, 2) and `information` (sets, 3), its lower triangle."""
        return {"score": Block((self.sets, 2), Kind.REAL), "information": Block((self.sets, 3), Kind.REAL)}

    def consistent(self) -> bool:
        """See `Query`."""
        return super().consistent() and len(self.columns) == 1 and self.coefficients.shape == (self.sets, 2)

    def words(self) -> str:
        """See `Query`."""
        return f"one Newton step of the calibration of {self.columns[0]} in {self.sets} bootstrap sets"

    @property
    def parameters(self) -> int:
        """Intercept and slope."""
        return 2

    def influence(self, frame: Frame) -> FloatArray:
        """(sets, n) 4 mu (1 - mu)."""
        linear = logit(frame.columns[self.columns[0]][~np.isnan(frame.columns[self.columns[0]])])
        return logistic_weight(self.coefficients[:, :1] + self.coefficients[:, 1:] * linear)

    def answer(self, frame: Frame) -> Summary:
        """Patients without risk or class count nowhere."""
        y, risk = frame.endpoints[self.endpoint], frame.columns[self.columns[0]]
        known = ~np.isnan(risk) & ~np.isnan(y)
        drawn, linear = self.drawn(frame)[:, known].astype(np.float64), logit(risk[known])
        mu = logistic_function(self.coefficients[:, :1] + self.coefficients[:, 1:] * linear)
        design = np.column_stack([np.ones(linear.size), linear, np.square(linear)])
        return {
            "score": (drawn * (y[known] - mu)) @ design[:, :2],
            "information": (drawn * mu * (1.0 - mu)) @ design,
        }
