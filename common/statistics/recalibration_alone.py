"""common/statistics: a recalibration that one site makes over its own patients, and of which it tells the result.

For a calibration cohort of too few sites to be summed: what leaves are the finished correction and how the candidates
compare, not the sums that they were fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.alone import Alone
from common.federation.query import HIDDEN, Block, Kind, Risk, SiteView, Summary
from common.federation.runner import attempt
from common.statistics.alone_errors import alone_error, counted_alone
from common.statistics.newton import symmetric
from common.statistics.recalibration import (
    PARAMETERS,
    LikelihoodRatio,
    Method,
    RecalibrationResult,
    Refit,
    Rule,
    closed_tests,
    recalibrate,
)
from common.study.ranges import LARGEST

METHODS = tuple(Method)


@dataclass(frozen=True)
class RecalibrationAlone(Alone):
    """One site's own recalibration of a frozen risk.

    Attributes
    ----------
    refitted
        The model's own columns, if a refit may be a candidate; else empty.
    """

    name: ClassVar[str] = "query.recalibration_alone"
    risk: ClassVar[Risk] = Risk.CELLS

    endpoint: str
    column: str
    refitted: tuple[str, ...]
    rule: Rule
    min_class: int

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (3,) as `Classes`; `error` () the number of what was met, or 0; `method` (); `candidates` (4,) 0 or
        1 in the order of `Method`; `gains` (4,); `line` (4,) intercept, slope, unshrunk slope, shrinkage; `covariance`
        (3,) lower triangle; `refit` (p + 1,), intercept first, and `refit_std_err`."""
        p = len(self.refitted) + 1
        return {
            "classes": Block((3,), Kind.COUNT),
            "error": Block((), Kind.COUNT),
            "method": Block((), Kind.COUNT),
            "candidates": Block((len(METHODS),), Kind.COUNT),
            "gains": Block((len(METHODS),), Kind.REAL),
            "line": Block((4,), Kind.REAL),
            "covariance": Block((3,), Kind.REAL),
            "refit": Block((p,), Kind.REAL),
            "refit_std_err": Block((p,), Kind.REAL),
        }

    def words(self) -> str:
        """See `Query`."""
        return f"this site's own recalibration ({self.rule.value}) of {self.column} for {self.endpoint}"

    @property
    def parameters(self) -> int:
        """Of the line; whether a refit is allowed is decided when it is made."""
        return 2

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`: a correction that sites would freeze (see `correcting.admissible`)."""
        place, error = int(summary["method"]), int(summary["error"])
        if not super().plausible(summary, sites) or not 0 <= place < len(METHODS) or min(place, error) < 0:
            return False
        names = ("gains", "line", "covariance", "refit", "refit_std_err")
        numbers = np.concatenate([summary[name] for name in names])
        intercept, slope = summary["line"].tolist()[:2]
        method = METHODS[place]
        line = {
            Method.NONE: (intercept, slope) == (0.0, 1.0), Method.INTERCEPT: slope == 1.0, Method.SLOPE: slope > 0.0,
            Method.REFIT: bool(self.refitted),
        }  # fmt: skip
        return bool(np.all(np.abs(numbers) <= LARGEST)) and (error > 0 or line[method])

    def respond(self, site: SiteView) -> Summary:
        """With fewer than `min_class` patients in a class, or where nothing could be fitted, only counts are told."""
        summary = counted_alone(self, site.frame(self), self.endpoint, self.min_class)
        if int(summary["error"]):
            return summary
        asked = recalibrate(self.cohort, self.recipe, self.endpoint, self.column, self.refitted, self.rule)
        found = self.conclude(site, attempt(asked))
        if isinstance(found, FedmviError):
            return {**summary, "error": np.array(found.number, dtype=np.int64)}
        return {**summary, **_told(found)}


def _told(found: RecalibrationResult) -> Summary:
    """What a correction travels as; numbers that there are none of are 0."""
    k = found.covariance_.shape[0]
    covariance = np.zeros((2, 2))
    covariance[:k, :k] = found.covariance_
    line = [found.intercept_, found.slope_, found.unshrunk_slope_, found.shrinkage_]
    told: Summary = {
        "method": np.array(METHODS.index(found.method_), dtype=np.int64),
        "candidates": np.array([method in found.gains_ for method in METHODS], dtype=np.int64),
        "gains": np.array([found.gains_.get(method, 0.0) for method in METHODS]),
        "line": np.nan_to_num(np.array(line)),
        "covariance": covariance[np.tril_indices(2)],
    }
    if found.refit_ is not None:
        told |= {"refit": found.refit_.coef_, "refit_std_err": found.refit_.std_err_}
    return told


def read_recalibration(query: RecalibrationAlone, summary: Summary) -> RecalibrationResult | FedmviError:
    """The correction that a site told, or the error that it met; error 505 for what cannot be one."""
    number = int(summary["error"])
    if number:
        names = {"column": query.column, "cohort": query.cohort, "endpoint": query.endpoint}
        return alone_error(number, **names, min_class=query.min_class)
    place, candidates = int(summary["method"]), summary["candidates"]
    gains = {m: float(g) for m, g, known in zip(METHODS, summary["gains"], candidates, strict=True) if known == 1}
    if not 0 <= place < len(METHODS) or METHODS[place] not in gains or Method.NONE not in gains:
        raise FedmviError(505, "a correction that is none")
    method = METHODS[place]
    tests: tuple[LikelihoodRatio, ...] = ()
    if query.rule is Rule.CLOSED_TESTING:
        _, tests = closed_tests(gains, {**PARAMETERS, Method.REFIT: len(query.refitted) + 1})
    intercept, slope, unshrunk, kept = (float(value) for value in summary["line"])
    sloped, refitted = method is Method.SLOPE, method is Method.REFIT
    counts = [int(count) for count in summary["classes"][:2]]
    size = 0 if refitted else PARAMETERS[method]
    return RecalibrationResult(
        column=query.column,
        method_=method,
        intercept_=math.nan if refitted else intercept,
        slope_=math.nan if refitted else slope,
        covariance_=symmetric(summary["covariance"], 2)[:size, :size],
        unshrunk_slope_=unshrunk if sloped else math.nan,
        shrinkage_=kept if sloped else math.nan,
        refit_=Refit(summary["refit"], summary["refit_std_err"]) if refitted else None,
        tests_=tests,
        gains_=gains,
        unfit_={},
        n_=HIDDEN if HIDDEN in counts else sum(counts),
        events_=counts[1],
    )
