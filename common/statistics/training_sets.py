"""common/statistics: training sets: all patients but one fold, everybody, or half of each class, and their moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.query import Block, Kind, Query, Risk, Summary, total
from common.federation.runner import Conclusion
from common.statistics.moments import moments
from common.study.recipe import Fold, Frame, Recipe
from common.study.table import FloatArray

Sampling = Literal["folds", "halves"]
"""Training sets: all but each fold of the column `fold` and then everybody; or stratified half-samples."""

MAX_SETS = 1000
PRODUCTS = 1 << 19
"""Most products that are held at once."""
MIN_CLASS = 5
PARAMETERS_PER_PATIENT = 0.33
"""DataSHIELD's nfilter.glm."""
PARAMETERS_OF_FOLDS = 0.09
"""With ten folds: steps with and without a fold differ by those of the fold's patients, who must be more than the
parameters. Sites allow a tenth of the patients that the others have signed for, which are rounded down."""
ANSWER_SIZE = 1 << 21
"""Most numbers asked in one answer; a site refuses more than 2^22."""
DENSE = 200
"""Most predictors whose cross-products are asked for all at once."""


def training_sets(frame: Frame, endpoint: str, sampling: Sampling, sets: int) -> NDArray[np.bool_]:
    """(sets, n) who trains in which set.

    Half-samples take, of each class at a site, the half (rounded down) whose keys come first in a shuffle of their own
    (SplitMix64: Steele, Lea & Flood, OOPSLA 2014), so that they depend neither on the order of patients nor on other
    sites. Error 501 for a fold outside the sets, or without keys.
    """
    if sampling == "folds":
        members = np.ones((sets, frame.n), dtype=bool)
        if sets > 1:
            fold = frame.columns["fold"]
            if not bool(np.all((fold >= 0) & (fold < sets - 1) & (fold == np.floor(fold)))):
                raise FedmviError(501, "a fold that is not one of the folds")
            members[:-1] = fold != np.arange(sets - 1)[:, np.newaxis]
        return members
    if frame.keys.size != frame.n:
        raise FedmviError(501, "a half-sample is drawn from keys, and the frame has none")
    members = np.zeros((sets, frame.n), dtype=bool)
    shuffled = _shuffle(frame.keys ^ _shuffle(np.arange(1, sets + 1, dtype=np.uint64))[:, np.newaxis])
    for value in (0.0, 1.0):
        rows = np.flatnonzero(frame.endpoints[endpoint] == value)
        first = np.argsort(shuffled[:, rows], axis=1, kind="stable")[:, : rows.size // 2]
        np.put_along_axis(members, rows[first], True, axis=1)
    return members


def weighted_products(
    X: FloatArray, weight: FloatArray, first: NDArray[np.intp], second: NDArray[np.intp]
) -> FloatArray:
    """(sets, pairs) sums over patients of weight (sets, n) times the product of two columns of X (n, p).

    All sets share the products: a few large multiplications are much faster than one of each set.
    """
    result = np.empty((len(weight), first.size))
    block = max(1, PRODUCTS // max(len(X), 1))
    columns = np.ascontiguousarray(X.T)
    for start in range(0, first.size, block):
        part = slice(start, start + block)
        result[:, part] = weight @ (columns[first[part]] * columns[second[part]]).T
    return result


def _shuffle(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        keys = keys + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return keys ^ (keys >> np.uint64(31))


@dataclass(frozen=True)
class OnSets(Query):
    """What the queries about training sets share."""

    endpoint: str
    columns: tuple[str, ...]
    sampling: Sampling
    sets: int

    @property
    def uses(self) -> tuple[str, ...]:
        """The predictors, and the folds."""
        return (*self.columns, "fold") if self.folds else self.columns

    @property
    def classes_of(self) -> str:
        """The endpoint."""
        return self.endpoint

    @property
    def folds(self) -> int:
        """See `Query`."""
        return self.sets - 1 if self.sampling == "folds" else 0

    @property
    def draws(self) -> bool:
        """Half-samples are drawn."""
        return self.sampling == "halves"

    def consistent(self) -> bool:
        """The number of sets is that of the folds that the recipe dealt last, if it dealt any."""
        drawn = [step.folds for step in self.recipe.steps if isinstance(step, Fold)][-1:]
        return 1 <= self.sets <= MAX_SETS and (self.folds == 0 or drawn in ([], [self.folds]))


@dataclass(frozen=True)
class SetMoments(OnSets):
    """Counts, sums and squares of predictors in each training set, and with `gram` their cross-products."""

    name: ClassVar[str] = "query.set_moments"
    risk: ClassVar[Risk] = Risk.SUM

    gram: bool

    def blocks(self) -> Mapping[str, Block]:
        """`classes` (sets, 2); `sum`, `square`, `outcome` (sets, p): of x, x^2, xy; `gram` (sets, p(p-1)/2)."""
        p = len(self.columns)
        sums = {name: Block((self.sets, p), Kind.REAL) for name in ("sum", "square", "outcome")}
        gram = {"gram": Block((self.sets, p * (p - 1) // 2), Kind.REAL)} if self.gram else {}
        return {"classes": Block((self.sets, 2), Kind.COUNT), **sums, **gram}

    def words(self) -> str:
        """See `Query`."""
        products = " and cross-products" if self.gram else ""
        return f"sums{products} of {len(self.columns)} columns in {self.sets} training sets, cohort {self.cohort}"

    @property
    def parameters(self) -> int:
        """The columns whose cross-products are asked."""
        return len(self.columns) + 1 if self.gram else 0

    def answer(self, frame: Frame) -> Summary:
        """The site's sums; the frame has complete cases only."""
        X, y = frame.matrix(self.columns), frame.endpoints[self.endpoint]
        members = training_sets(frame, self.endpoint, self.sampling, self.sets).astype(np.float64)
        classes = np.column_stack([members @ (y == 0.0), members @ (y == 1.0)])
        answer = {
            "classes": np.rint(classes).astype(np.int64),
            "sum": members @ X,
            "square": members @ np.square(X),
            "outcome": members @ (X * y[:, np.newaxis]),
        }
        if self.gram:
            answer["gram"] = weighted_products(X, members, *np.tril_indices(len(self.columns), -1))
        return answer


@dataclass(frozen=True)
class Design:
    """What is fitted, on which training sets, and what is known of these.

    Attributes
    ----------
    recipe
        Ends with the standardisation by `mean` and `std`, (p,) each.
    n, events
        (sets,) patients, and patients with the endpoint.
    scale
        (sets, p) standard deviation of the standardised predictors, with n in its denominator; 0 if constant.
    slope
        (sets, p + 1) gradient of the loss per patient at the intercept alone.
    curvature
        (sets, p + 1, p + 1) its Hessian there, or None where predictors are too many.
    rounds
        Rounds until here.
    """

    cohort: str
    recipe: Recipe
    endpoint: str
    columns: tuple[str, ...]
    sampling: Sampling
    model: str
    mean: FloatArray
    std: FloatArray
    n: FloatArray
    events: FloatArray
    scale: FloatArray
    slope: FloatArray
    curvature: FloatArray | None
    rounds: int

    @property
    def sets(self) -> int:
        """Number of training sets."""
        return self.n.size

    @property
    def room(self) -> int:
        """Most coefficients that may be fitted together; with folds fewer than a fold has patients."""
        most = PARAMETERS_PER_PATIENT * float(self.n.min())
        if self.sampling == "folds" and self.sets > 1:
            most = min(most, PARAMETERS_OF_FOLDS * float(self.n[-1]))
        return int(most * self.recipe.distinct)

    def own_scale(self, coefficients: FloatArray) -> FloatArray:
        """(..., p + 1) coefficients for the predictors as they are."""
        slopes = coefficients[..., 1:] / self.std
        # Adding 0 makes a zero of a negative zero.
        return np.concatenate([coefficients[..., :1] - slopes @ self.mean[:, np.newaxis], slopes], axis=-1) + 0.0

    def largest(self, alpha: float, which: int) -> float:
        """The smallest penalty at which a training set has no predictor in its model."""
        usable = self.scale[which] > 0
        return float(np.max(np.abs(self.slope[which, 1:][usable]) / self.scale[which][usable])) / alpha


def prepare(
    cohort: str, recipe: Recipe, endpoint: str, columns: tuple[str, ...], sampling: Sampling, sets: int, model: str
) -> Conclusion[Design]:
    """Moments of the predictors and of each training set: three rounds.

    Raises
    ------
    FedmviError
        601 no patients, 602 one class only, 603 a constant predictor, 630 fewer than five patients of a
        class in a fold or half-sample.
    """
    known = yield from moments(cohort, recipe, columns)
    known.require_spread(model)
    standard = recipe.then(known.standardising)
    p = len(columns)
    left = 0.5 if sampling == "halves" else 1.0 - 1.0 / (sets - 1) if sets > 1 else 1.0
    share = PARAMETERS_PER_PATIENT * left
    if sampling == "folds" and sets > 1:
        share = min(share, PARAMETERS_OF_FOLDS)
    few = p <= DENSE and p + 1 <= share * recipe.distinct * float(known.n_.min())
    gram = few and sets * p * p < ANSWER_SIZE
    sums = yield total(SetMoments(cohort, standard, endpoint, columns, sampling, sets, gram))
    classes = sums["classes"].astype(np.float64)
    if not bool(np.all(classes.sum(axis=0) > 0)):
        raise FedmviError(602, endpoint=endpoint, cohort=cohort)
    parts = classes if sampling == "halves" or sets == 1 else classes[-1] - classes[:-1]
    if float(parts.min()) < MIN_CLASS:
        raise FedmviError(630, endpoint=endpoint, cohort=cohort, limit=MIN_CLASS)
    n = classes.sum(axis=1)
    mean = sums["sum"] / n[:, np.newaxis]
    variance = sums["square"] / n[:, np.newaxis] - np.square(mean)
    prevalence = (classes[:, 1] / n)[:, np.newaxis]
    slope = prevalence * mean - sums["outcome"] / n[:, np.newaxis]
    return Design(
        cohort, standard, endpoint, columns, sampling, model, known.mean_, known.std_, n, classes[:, 1],
        scale=np.sqrt(np.where(variance > 1e-12, variance, 0.0)),
        slope=np.column_stack([np.zeros(sets), slope]),
        curvature=_null_curvature(sums, n, prevalence[:, 0]) if gram else None,
        rounds=3,
    )  # fmt: skip


def _null_curvature(sums: Summary, n: FloatArray, prevalence: FloatArray) -> FloatArray:
    """(sets, p + 1, p + 1) cross-products per patient, with intercept, times prevalence (1 - prevalence)."""
    sets, p = sums["sum"].shape
    full = np.zeros((sets, p + 1, p + 1))
    rows, columns = np.tril_indices(p, -1)
    full[:, rows + 1, columns + 1] = sums["gram"]
    full[:, 1:, 0] = sums["sum"]
    full += full.transpose(0, 2, 1)
    diagonal = np.arange(p + 1)
    full[:, diagonal, diagonal] = np.column_stack([n, sums["square"]])
    curvature: FloatArray = full * (prevalence * (1.0 - prevalence) / n)[:, np.newaxis, np.newaxis]
    return curvature
