"""common/study: steps of a recipe that develop a model inside its training cohort, before it is frozen.

Everything that is fitted to select and weigh predictors is fitted anew without each fold, and on each bootstrap set: a
step takes the patients, and the same questions are asked of them as of everybody. What a fold's patients are told by
the model that never saw them is a draft score: it is a predictor of further models, and chooses among models.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.features import second_reading
from common.study.modelling import SCORE
from common.study.table import FloatArray, SiteTable

if TYPE_CHECKING:
    from common.study.recipe import Frame

SCORE_DECIMALS = 4
"""Decimals of a predicted probability; nobody decides on the fifth."""

MIN_READ_TWICE = 30
"""Fewest patients of a site whose images two readers have read."""

WHOLE_SET = 0
"""The number of no bootstrap set: the patients as they are."""


def logistic_function(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), to full relative precision at both ends and without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


@dataclass(frozen=True)
class ModelColumns:
    """All columns of a model of the protocol, which need not be named one by one, and `complete.<model>`.

    That is 1 for patients of whom all are known, and missing for others.
    """

    __pydantic_config__ = STRICT
    model: str
    step: Literal["model_columns"] = "model_columns"

    @property
    def complete(self) -> str:
        """The column that tells whose columns are all known."""
        return f"complete.{self.model}"

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Add the columns."""
        coded = {c.name: c.code(table.columns[c.variable].of(rows)) for c in table.declared[self.model]}
        known = np.ones(frame.n, dtype=bool)
        for values in coded.values():
            known &= ~np.isnan(values)
        whole = {self.complete: np.where(known, 1.0, np.nan)}
        return replace(frame, columns={**frame.columns, **coded, **whole})


@dataclass(frozen=True)
class SecondReadings:
    """The second reader's values of a model's features, which a patient need not have.

    A site in which fewer than `MIN_READ_TWICE` patients of the cohort have any has none: neither of everybody nor of a
    part of them, such as a bootstrap set, in which some are twice.
    """

    __pydantic_config__ = STRICT
    model: str
    step: Literal["second_readings"] = "second_readings"

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Add the columns."""
        again = {
            second_reading(c.name): c.code(table.second[c.variable].of(rows))
            for c in table.declared[self.model]
            if c.variable in table.second
        }
        read = np.any([~np.isnan(values) for values in again.values()], axis=0)
        if int(np.count_nonzero(read)) < MIN_READ_TWICE:
            again = {name: np.full(frame.n, np.nan) for name in again}
        return replace(frame, columns={**frame.columns, **again})


@dataclass(frozen=True)
class Fold:
    """A column `fold`: each patient's fold, 0 to `folds` - 1, drawn inside the site and stratified by an endpoint."""

    __pydantic_config__ = STRICT
    folds: int
    endpoint: str
    step: Literal["fold"] = "fold"

    def apply(self, frame: Frame) -> Frame:
        """Deal the patients, ordered by class and then at random, into the folds in turn, from a fold that is drawn.

        The order is drawn anew for every number of folds, endpoint and set of patients: several dealings of one order
        would be as many linear equations for its patients. A patient who is there twice is in one fold.
        """
        if frame.keys.size != frame.n:
            raise FedmviError(501, "a fold is drawn from keys, and the frame has none")
        keys, place, patient = np.unique(frame.keys, return_index=True, return_inverse=True)
        named = f"{self.folds}|{self.endpoint}|".encode() + keys.astype("<u8").tobytes()
        seed = hashlib.sha256(named).digest()
        drawn = [hashlib.sha256(seed + key.tobytes()).digest()[:8] for key in keys.astype("<u8")]
        order = np.lexsort((np.frombuffer(b"".join(drawn), dtype="<u8"), frame.endpoints[self.endpoint][place]))
        first = int.from_bytes(seed[:8], "little") % self.folds
        fold = np.empty(keys.size)
        fold[order] = (first + np.arange(keys.size)) % self.folds
        return replace(frame, columns={**frame.columns, "fold": fold[patient]})


@dataclass(frozen=True)
class Outside:
    """Leaves the patients outside one fold of the column `fold`, which ends with it."""

    __pydantic_config__ = STRICT
    fold: int
    step: Literal["outside"] = "outside"

    def apply(self, frame: Frame) -> Frame:
        """Drop the fold's patients."""
        left = frame.keep(frame.columns["fold"] != self.fold)
        return replace(left, columns={name: v for name, v in left.columns.items() if name != "fold"})


@dataclass(frozen=True)
class Resample:
    """A bootstrap set: the patients of each class of an endpoint drawn with replacement, inside the site.

    Set by set the draws are those of `common.statistics.resampling`. A patient who was drawn twice is there twice,
    with one key, so that folds keep him together.
    """

    __pydantic_config__ = STRICT
    replicate: int
    endpoint: str
    step: Literal["resample"] = "resample"

    def apply(self, frame: Frame) -> Frame:
        """Draw the patients."""
        if frame.keys.size != frame.n:
            raise FedmviError(501, "a bootstrap set is drawn from keys, and the frame has none")
        times = drawn_times(frame.keys, frame.endpoints[self.endpoint], self.replicate, 1)[0]
        rows = np.repeat(np.arange(frame.n), times)
        return replace(
            frame,
            columns={name: values[rows] for name, values in frame.columns.items()},
            endpoints={name: values[rows] for name, values in frame.endpoints.items()},
            n=rows.size,
            keys=frame.keys[rows],
        )


def drawn_times(keys: NDArray[np.uint64], labels: FloatArray, first: int, sets: int) -> NDArray[np.int64]:
    """(sets, n) how often each patient is in each set of a stratified bootstrap, from set `first` on.

    Set 0 is the patients as they are. In the others each class (label 0 or 1) is drawn with replacement to its own
    size, by the raw numbers of PCG64 seeded with the keys of the class: independent of the order of patients, and of
    the version of NumPy. Patients without a label are in no set.
    """
    weights = np.zeros((sets, keys.size), dtype=np.int64)
    for label in (0, 1):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(keys[own])]
        if own.size == 0:
            continue
        seed = hashlib.sha256(bytes([label]) + keys[own].astype("<u8").tobytes()).digest()
        stream = np.random.PCG64(int.from_bytes(seed, "little"))
        drawn = np.arange(max(first, 1), first + sets)
        stream.advance(own.size * (max(first, 1) - 1))
        raw = np.asarray(stream.random_raw(drawn.size * own.size), dtype=np.uint64) >> np.uint64(32)
        picked = ((raw * np.uint64(own.size)) >> np.uint64(32)).astype(np.int64).reshape(drawn.size, own.size)
        flat = picked + own.size * np.arange(drawn.size)[:, np.newaxis]
        counted = np.bincount(flat.reshape(-1), minlength=flat.size).reshape(flat.shape)
        weights[sets - drawn.size :, own] = counted
        if first == 0:
            weights[0, own] = 1
    return weights


@dataclass(frozen=True)
class DraftScore:
    """The score of a model that is not frozen yet, in its training cohort: adds the column `score.<model>`.

    Attributes
    ----------
    names
        Columns that any of its formulas uses.
    coefficients, intercepts
        (formulas, names) and (formulas,): one for each fold of the column `fold`, of the model that was fitted without
        it; or one for everybody.
    replicate
        The bootstrap set that it was fitted on.
    """

    __pydantic_config__ = STRICT
    model: str
    endpoint: str
    names: tuple[str, ...]
    coefficients: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]
    replicate: int = WHOLE_SET
    step: Literal["draft_score"] = "draft_score"

    @property
    def column(self) -> str:
        """The name of the column that it makes."""
        return f"{SCORE}{self.model}"

    @property
    def by_fold(self) -> bool:
        """Whether each fold has a formula of its own."""
        return len(self.intercepts) > 1

    def apply(self, frame: Frame) -> Frame:
        """Add the score, rounded as that of a frozen model is (see `Score`); the column `fold` ends with it."""
        linear = np.empty(frame.n)
        fold = frame.columns["fold"] if self.by_fold else np.zeros(frame.n)
        for k, (intercept, formula) in enumerate(zip(self.intercepts, self.coefficients, strict=True)):
            rows = fold == k
            total = np.full(int(np.count_nonzero(rows)), intercept)
            for name, coefficient in zip(self.names, formula, strict=True):
                if coefficient != 0.0:
                    total = total + coefficient * frame.columns[name][rows]
            linear[rows] = total
        score = np.round(logistic_function(linear), SCORE_DECIMALS)
        columns = {name: values for name, values in frame.columns.items() if name != "fold"}
        return replace(frame, columns={**columns, self.column: score})


@dataclass(frozen=True)
class Cut:
    """A score as a predictor or a group: under a name of its own, as it is or as 1 where it reaches a cut-off.

    Attributes
    ----------
    source
        The column of the score.
    name
        The column that is added.
    cutoff
        1 at or above it and 0 below; None for the score itself.
    """

    __pydantic_config__ = STRICT
    source: str
    name: str
    cutoff: float | None = None
    step: Literal["cut"] = "cut"

    def apply(self, frame: Frame) -> Frame:
        """Add the column; missing where the score is."""
        score = frame.columns[self.source]
        value = score if self.cutoff is None else np.where(np.isnan(score), np.nan, score >= self.cutoff)
        return replace(frame, columns={**frame.columns, self.name: value.astype(np.float64)})
