"""common/statistics: one logistic model at several sets of coefficients in one message.

Refits of one model with some coefficients held (tests, profiles, eliminations) differ in their coefficients only, so
that one query over a stack of coefficients advances all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary
from common.statistics.logistic import logistic_weight
from common.study.recipe import Frame, logistic_function
from common.study.table import FloatArray

MAX_SETS = 1000
"""Most sets of coefficients in one question."""


def lower_products(design: FloatArray) -> FloatArray:
    """(n, p(p+1)/2) products of the columns of an (n, p) design, in the order of a lower triangle."""
    rows, columns = np.tril_indices(design.shape[1])
    return design[:, rows] * design[:, columns]


@dataclass(frozen=True)
class LogisticStack(Query):
    """Scores, informations and log-likelihoods of a logistic model at (sets, p) coefficients, intercept first."""

    name: ClassVar[str] = "query.logistic_stack"
    risk: ClassVar[Risk] = Risk.SUM

    endpoint: str
    columns: tuple[str, ...]
    coefficients: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`score` (sets, p), `information` (sets, p(p+1)/2), `log_likelihood` (sets,); `n`, `events` ()."""
        p, sets = self.parameters, self.coefficients.shape[0]
        return {
            "score": Block((sets, p), Kind.REAL),
            "information": Block((sets, p * (p + 1) // 2), Kind.REAL),
            "log_likelihood": Block((sets,), Kind.REAL),
            "n": Block((), Kind.COUNT),
            "events": Block((), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"one step of {self.coefficients.shape[0]} refits of a logistic regression of {self.endpoint} on "
            f"{len(self.columns)} columns, cohort {self.cohort}"
        )

    @property
    def parameters(self) -> int:
        """Coefficients of one set, with the intercept."""
        return len(self.columns) + 1

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors."""
        return self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def consistent(self) -> bool:
        """See `Query`."""
        shape = self.coefficients.shape
        return len(shape) == 2 and 0 < shape[0] <= MAX_SETS and shape[1] == self.parameters

    def influence(self, frame: Frame) -> FloatArray:
        """(sets, n) 4 mu (1 - mu)."""
        return logistic_weight(self.coefficients @ self.design(frame).T)

    def design(self, frame: Frame) -> FloatArray:
        """(n, p) columns after a column of ones."""
        return np.column_stack([np.ones(frame.n), frame.matrix(self.columns)])

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        design, y = self.design(frame), frame.endpoints[self.endpoint]
        linear = self.coefficients @ design.T
        mu = logistic_function(linear)
        return {
            "score": (y - mu) @ design,
            "information": (mu * (1.0 - mu)) @ lower_products(design),
            "log_likelihood": -np.logaddexp(0.0, np.where(y == 1.0, -linear, linear)).sum(axis=1),
            "n": np.array(frame.n, dtype=np.int64),
            "events": np.array(int(y.sum()), dtype=np.int64),
        }
