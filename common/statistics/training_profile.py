"""common/statistics: the profile of a training cohort: what single sites are compared with.

Sums over all its sites: of the standardised columns by half and by class of the endpoint, of their products, and of
patients by bin (see `site_profile`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary
from common.statistics.site_profile import BINS, HALVES, Standard, binned, half_of, in_halves, standardised
from common.study.recipe import Frame
from common.study.table import FloatArray

CLASSES = 2


@dataclass(frozen=True)
class TrainingProfile(Query):
    """Sums of standardised columns, of their products, and counts by bin; attributes as of `Standard`."""

    name: ClassVar[str] = "query.training_profile"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    endpoint: str
    numbers: tuple[str, ...]
    centre: FloatField
    scale: FloatField
    direction: FloatField

    @property
    def standard(self) -> Standard:
        """How columns are brought to one scale."""
        return Standard(self.columns, self.numbers, self.centre, self.scale, self.direction)

    def blocks(self) -> Mapping[str, Block]:
        """`n` (2,) and `sum` (2, p) by half, `cross` (p(p+1)/2,) lower triangle, `counts` (numbers, 10); by class of
        the endpoint `class_n` (2,), `class_sum` (2, p), and `above` (2,), patients with a score above 0.
        """
        p = len(self.columns)
        return {
            "n": Block((HALVES,), Kind.COUNT),
            "sum": Block((HALVES, p), Kind.REAL),
            "cross": Block((p * (p + 1) // 2,), Kind.REAL),
            "counts": Block((len(self.numbers), BINS), Kind.COUNT),
            "class_n": Block((CLASSES,), Kind.COUNT),
            "class_sum": Block((CLASSES, p), Kind.REAL),
            "above": Block((CLASSES,), Kind.COUNT),
        }

    def words(self) -> str:
        """See `Query`."""
        return (
            f"sums of products and histograms of {len(self.columns)} columns, means and high scores by class of "
            f"{self.endpoint}, cohort {self.cohort}"
        )

    def consistent(self) -> bool:
        """See `Query`."""
        return self.standard.sound

    @property
    def parameters(self) -> int:
        """The columns; a matrix of more of them than a third of the patients comes close to the patients' rows."""
        return len(self.columns)

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def influence(self, frame: Frame) -> FloatArray:
        """(2, n) who is in either half: each must be enough patients."""
        return in_halves(frame)

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases, with their endpoint."""
        values, half = standardised(frame, self.columns, self.centre, self.scale), half_of(frame.keys)
        level = frame.endpoints[self.endpoint].astype(np.int64)
        high = self.direction[0] + np.sum(values * self.direction[1:], axis=1) > 0
        numbers = values[:, self.standard.number_places]
        return {
            "n": np.bincount(half, minlength=HALVES).astype(np.int64),
            "sum": np.array([values[half == one].sum(axis=0) for one in range(HALVES)]),
            "cross": (values.T @ values)[np.tril_indices(len(self.columns))],
            "counts": binned(numbers).sum(axis=0, dtype=np.int64),
            "class_n": np.bincount(level, minlength=CLASSES).astype(np.int64),
            "class_sum": np.array([values[level == one].sum(axis=0) for one in range(CLASSES)]),
            "above": np.bincount(level[high], minlength=CLASSES).astype(np.int64),
        }
