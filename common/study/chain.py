"""common/study: chained regressions that fill missing values: steps of a recipe that replay broadcast regressions.

Every missing value starts at its column's mean. Then column after column, sweep after sweep, the missing values of
one are replaced by what a linear regression on the others says (van Buuren, Stat Methods Med Res 2007;16:219). The
regressions are broadcast numbers, so a site fills its own rows, and one that took no part in the fit does the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.table import FloatArray

if TYPE_CHECKING:
    from common.study.recipe import Frame

MAX_DRAWS = 1000
MAX_REGRESSIONS = 5000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def missing_column(name: str) -> str:
    """The column of a filled frame that is 1 where `name` was missing, and 0 elsewhere."""
    return f"missing.{name}"


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64 bits that spreads every bit (SplitMix64: Steele, Lea & Flood, OOPSLA 2014:453)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def standard_normals(keys: NDArray[np.uint64], *numbers: int) -> FloatArray:
    """(n,) standard normal numbers, each a function of a patient's key and of `numbers` (each 0 or more) alone.

    (Box & Muller, Ann Math Stat 1958;29:610.)
    """
    with np.errstate(over="ignore"):  # wrapping around is the arithmetic that is meant
        state = _mix(keys + _GOLDEN)
        for number in numbers:
            state = _mix(state + _GOLDEN * np.uint64(number + 1))
        first, second = (_mix(state + _GOLDEN * np.uint64(i)) >> np.uint64(11) for i in (1, 2))
    radius = np.sqrt(-2.0 * np.log((first.astype(np.float64) + 1.0) * 2.0**-53))
    return radius * np.cos(2.0 * np.pi * (second.astype(np.float64) * 2.0**-53))


@dataclass(frozen=True)
class ChainedImpute:
    """Replaces missing values by chained linear regressions on the other columns, without any outcome.

    Adds the columns `missing_column(name)` of all names.

    Attributes
    ----------
    names
        Columns that predict one another, in order.
    mean, scale
        (names,) means, with which missing values start, and standard deviations; regressions are on columns
        standardised by them.
    low, high
        (names,) limits of filled values, in the columns' units.
    targets
        (regressions,) index of the column that each fills, in the order of the replay.
    coefficients
        (regressions, 1 + names) intercept, then slopes in the order of the names; 0 at the target itself.
    """

    __pydantic_config__ = STRICT
    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    targets: tuple[int, ...]
    coefficients: tuple[tuple[float, ...], ...]
    step: Literal["chained_impute"] = "chained_impute"

    def apply(self, frame: Frame) -> Frame:
        """Fill the named columns."""
        return _fill(self, frame, np.empty((frame.n, 0)))

    def consistent(self) -> bool:
        """Whether the fields fit together; a site refuses others."""
        return _consistent(self, 0)


@dataclass(frozen=True)
class DrawnImpute:
    """One of several imputations for inference: as `ChainedImpute`, with the outcome among the predictors and noise.

    The noise of a missing value is drawn at the site, from the patient's key. A patient without the outcome keeps
    the missing values.

    Attributes
    ----------
    names, mean, scale, low, high, targets
        See `ChainedImpute`.
    endpoint
        The binary endpoint, the last predictor, 0 or 1.
    coefficients
        (regressions, 2 + names) intercept, slopes of the names, slope of the endpoint.
    residual
        (regressions,) standard deviation of the noise, in standard deviations of the column.
    draw
        Which of the imputations this is.
    """

    __pydantic_config__ = STRICT
    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    targets: tuple[int, ...]
    endpoint: str
    coefficients: tuple[tuple[float, ...], ...]
    residual: tuple[float, ...]
    draw: int
    step: Literal["drawn_impute"] = "drawn_impute"

    def apply(self, frame: Frame) -> Frame:
        """Fill the named columns."""
        if frame.keys.size != frame.n:
            raise FedmviError(501, "noise is drawn from keys, and the frame has none")
        return _fill(self, frame, frame.endpoints[self.endpoint][:, np.newaxis])

    def consistent(self) -> bool:
        """Whether the fields fit together; a site refuses others."""
        noisy = len(self.residual) == len(self.targets) and all(noise >= 0.0 for noise in self.residual)
        return noisy and 0 <= self.draw < MAX_DRAWS and _consistent(self, 1)


def _consistent(step: ChainedImpute | DrawnImpute, others: int) -> bool:
    p = len(step.names)
    per_name = all(len(part) == p for part in (step.mean, step.scale, step.low, step.high))
    regressions = len(step.coefficients) == len(step.targets) <= MAX_REGRESSIONS
    return (
        per_name
        and regressions
        and len(set(step.names)) == p
        and all(low <= mean <= high for low, mean, high in zip(step.low, step.mean, step.high, strict=True))
        and all(scale > 0.0 for scale in step.scale)
        and all(0 <= target < p for target in step.targets)
        and all(len(row) == 1 + p + others for row in step.coefficients)
        and all(row[1 + target] == 0.0 for target, row in zip(step.targets, step.coefficients, strict=True))
    )


def _fill(step: ChainedImpute | DrawnImpute, frame: Frame, others: FloatArray) -> Frame:
    """The frame with the named columns filled; `others` (n, k) predict and are not filled."""
    values = frame.matrix(step.names)
    mean, scale = np.array(step.mean), np.array(step.scale)
    low, high = np.array(step.low), np.array(step.high)
    missing = np.isnan(values)
    design = np.column_stack([np.where(missing, 0.0, (values - mean) / scale), others])
    least, most = (low - mean) / scale, (high - mean) / scale
    for i, (target, coefficients) in enumerate(zip(step.targets, step.coefficients, strict=True)):
        rows = missing[:, target]
        filled = coefficients[0] + design[rows] @ np.array(coefficients[1:])
        if isinstance(step, DrawnImpute):
            filled = filled + step.residual[i] * standard_normals(frame.keys[rows], step.draw, i, target)
        design[rows, target] = np.clip(filled, least[target], most[target])
    back = np.clip(mean + scale * design[:, : len(step.names)], low, high)
    # A value that is known is never touched; what stays unknown without an outcome is not the mean either.
    back = np.where(missing, np.where(np.isnan(others).any(axis=1, keepdims=True), np.nan, back), values)
    columns = dict(zip(step.names, back.T, strict=True))
    flags = {missing_column(name): missing[:, j].astype(np.float64) for j, name in enumerate(step.names)}
    return replace(frame, columns={**frame.columns, **columns, **flags})
