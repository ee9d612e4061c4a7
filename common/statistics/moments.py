"""common/statistics: means and standard deviations by two re-centred sums.

One round of sums of squares on raw units can lose every digit of a variance; sums about the pooled mean do not
(Chan, Golub & LeVeque, Am Stat 1983;37:242, give the pairwise form; this is its two-round form for sums).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.codec import FloatField
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.study.recipe import Frame, Recipe, Standardise
from common.study.table import FloatArray


@dataclass(frozen=True)
class Deviations(Query):
    """Sums of (x - centre) and of its square over the known values of each column."""

    name: ClassVar[str] = "query.deviations"
    risk: ClassVar[Risk] = Risk.SUM

    columns: tuple[str, ...]
    centre: FloatField

    def blocks(self) -> Mapping[str, Block]:
        """`n`, `sum`, `square`: (columns,) each."""
        shape = (len(self.columns),)
        return {"n": Block(shape, Kind.COUNT), "sum": Block(shape, Kind.REAL), "square": Block(shape, Kind.REAL)}

    def consistent(self) -> bool:
        """See `Query`."""
        return self.centre.shape == (len(self.columns),)

    def words(self) -> str:
        """See `Query`."""
        return f"sums of deviations of {len(self.columns)} columns in cohort {self.cohort}"

    @property
    def uses(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def answer(self, frame: Frame) -> Summary:
        """Missing values are left out, column by column."""
        values = frame.matrix(self.columns) - self.centre
        known = ~np.isnan(values)
        values = np.where(known, values, 0.0)
        return {
            "n": known.sum(axis=0).astype(np.int64),
            "sum": values.sum(axis=0),
            "square": np.square(values).sum(axis=0),
        }


@dataclass(frozen=True)
class Moments:
    """Fitted means and standard deviations.

    Attributes
    ----------
    n_, mean_, std_
        (columns,) each; `std_` has n - 1 in its denominator, NaN below two values.
    """

    columns: tuple[str, ...]
    n_: FloatArray
    mean_: FloatArray
    std_: FloatArray

    def require_spread(self, model: str) -> None:
        """Error 603 for a column that is constant, or has one value only: no regression has a coefficient for it."""
        constant = [name for name, std in zip(self.columns, self.std_, strict=True) if not std > 0]
        if constant:
            raise FedmviError(603, f"constant: {constant}", model=model)

    @property
    def standardising(self) -> Standardise:
        """The step that gives the columns mean 0 and standard deviation 1."""
        return Standardise(self.columns, tuple(self.mean_.tolist()), tuple(self.std_.tolist()))

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row a column."""
        rows = zip(self.columns, self.n_.tolist(), self.mean_.tolist(), self.std_.tolist(), strict=True)
        return [{"column": name, "n": int(n), "mean": mean, "std": std} for name, n, mean, std in rows]


def moments(cohort: str, recipe: Recipe, columns: tuple[str, ...]) -> Conclusion[Moments]:
    """Mean and standard deviation of each column over the cohort, missing values left out; two rounds.

    Raises
    ------
    FedmviError
        601 where a column has no value at all.
    """
    first = yield total(Deviations(cohort, recipe, columns, np.zeros(len(columns))))
    n = first["n"].astype(np.float64)
    if not bool(np.all(n > 0)):
        raise FedmviError(601, cohort=cohort)
    centre = first["sum"] / n
    second = yield total(Deviations(cohort, recipe, columns, centre))
    shift = second["sum"] / n
    variance = np.full(n.shape, np.nan)
    enough = n > 1
    # The second sum's own mean corrects what rounding left of the first.
    variance[enough] = (second["square"] - n * np.square(shift))[enough] / (n[enough] - 1)
    return Moments(columns, n, centre + shift, np.sqrt(np.maximum(variance, 0.0)))
