"""server/report: the nomogram of a logistic model: points for each predictor, their total, and the probability.

Points as of Iasonos et al., J Clin Oncol 2008;26:1364: each predictor's part of the linear predictor, counted from the
value at which it is smallest, in hundredths of the widest such part. Axes of measured predictors reach over the
training patients' mean and two standard deviations on either side, within what is plausible. Everything is read from
`results.json`; the interval is Wald's on the scale of the linear predictor, from the published covariance. A model
without one, such as a LASSO on features of images, has no nomogram: its score is entered where it is an input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from common.published import format as fmt
from common.published.results import LogisticModel, Predictor, Result, Results
from common.study.modelling import is_score
from common.study.ranges import NUMBERS
from server.report.contents import Labels, ModelParts, estimate, models, where

MOST_POINTS = 100.0
SPREAD = 2.0
"""Standard deviations of the training patients, on either side of their mean, that an axis reaches."""


@dataclass(frozen=True)
class Choice:
    """A level, or a side of a cut-off: its name, its place among the predictor's terms (-1: the reference), points."""

    label: str
    term: int
    points: float


@dataclass(frozen=True)
class Axis:
    """One predictor of a nomogram.

    Attributes
    ----------
    position
        Of its first term among the model's coefficients, the intercept being 0.
    coding
        `linear`, `log` or `asinh` of a measured predictor, else empty.
    coefficient
        Of a measured predictor, for one step on the model's scale.
    usual
        The values at the axis's ends, where most training patients lie, in the predictor's unit.
    plausible
        The lowest and highest value that may be entered; None where there is no limit.
    smallest
        What is subtracted from the predictor's part of the linear predictor before it is counted in points.
    choices
        Of a predictor with levels or a cut-off.
    slider
        From where to where it can be moved by hand: the axis's ends, of a score all that it can be.
    source
        Of a score: where it comes from, as a sentence; else empty.
    """

    variable: str
    label: str
    unit: str
    position: int
    coding: str
    coefficient: float
    usual: tuple[float, float]
    plausible: tuple[float | None, float | None]
    smallest: float
    per_point: float
    choices: tuple[Choice, ...]
    slider: tuple[float, float]
    source: str = ""

    def points(self, value: float) -> float:
        """Points of a measured value."""
        return (self.coefficient * on_scale(self.coding, value) - self.smallest) / self.per_point


@dataclass(frozen=True)
class Nomogram:
    """A fitted model as a person uses it.

    Attributes
    ----------
    coefficients, covariance
        Intercept first.
    base
        The linear predictor at no points.
    per_point
        Of the linear predictor.
    """

    name: str
    title: str
    endpoint: str
    axes: tuple[Axis, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    base: float
    per_point: float
    trained: str
    tested: tuple[str, ...]

    @property
    def most_points(self) -> float:
        """The points of a patient at the far end of every axis."""
        return sum(max(_ends(axis)) for axis in self.axes)

    def probability(self, total: float) -> float:
        """The probability at a total of points."""
        return 1.0 / (1.0 + math.exp(-(self.base + total * self.per_point)))


def on_scale(coding: str, value: float) -> float:
    """A measured value as it enters the model."""
    if coding == "asinh":
        return math.asinh(value)
    return math.log1p(value) if coding == "log" else value


def nomograms(results: Results) -> Iterator[Nomogram]:
    """Of every model that was fitted and whose predictors tell anything apart."""
    for parts in models(results):
        fit = parts.coefficients
        if fit is not None and fit.status == "estimated" and fit.model is not None:
            drawn = _nomogram(results, parts, fit, fit.model)
            if drawn is not None:
                yield drawn


def _ends(axis: Axis) -> tuple[float, ...]:
    """Points at the ends of a measured axis, or of every level."""
    return tuple(c.points for c in axis.choices) or tuple(axis.points(value) for value in axis.usual)


def _nomogram(results: Results, parts: ModelParts, fit: Result, model: LogisticModel) -> Nomogram | None:
    coefficients = [e.value for e in fit.estimates if e.name == "coef" and e.value is not None]
    if len(coefficients) != len(model.covariance):
        return None
    spans: list[tuple[Predictor, int, tuple[float, float], list[float]]] = []
    position = 1
    for predictor in model.predictors:
        own = coefficients[position : position + len(predictor.terms)]
        usual = usual_values(parts, predictor)
        effects = [own[0] * on_scale(predictor.coding, v) for v in usual] if _measured(predictor) else [0.0, *own]
        spans.append((predictor, position, usual, effects))
        position += len(predictor.terms)
    per_point = max(max(effects) - min(effects) for *_, effects in spans) / MOST_POINTS
    if not (math.isfinite(per_point) and per_point > 0):
        return None
    labels = Labels(results)
    axes = tuple(_axis(results, labels, model, coefficients, per_point, span) for span in spans)
    tested = tuple(
        f"{where(r)}: {fmt.area_interval(e.value, e.low, e.high)}" for r in parts.aucs if (e := estimate(r, "auc"))
    )
    return Nomogram(
        parts.name, parts.title, fmt.plain(model.endpoint), axes, tuple(coefficients),
        tuple(tuple(row) for row in model.covariance), coefficients[0] + sum(axis.smallest for axis in axes), per_point,
        f"{fmt.optional_count(fit.n)} patients, {fmt.optional_count(fit.events)} with the endpoint", tested,
    )  # fmt: skip


def _axis(
    results: Results,
    labels: Labels,
    model: LogisticModel,
    coefficients: list[float],
    per_point: float,
    span: tuple[Predictor, int, tuple[float, float], list[float]],
) -> Axis:
    predictor, position, usual, effects = span
    facts, smallest = results.variables.get(predictor.variable), min(effects)
    names = [] if _measured(predictor) else _choices(predictor, fmt.unit(facts.unit) if facts else "")
    choices = tuple(
        Choice(name, term - 1, (effect - smallest) / per_point)
        for term, (name, effect) in enumerate(zip(names, effects, strict=False))
    )
    score = is_score(predictor.variable)
    return Axis(
        predictor.variable, labels.variable(predictor.variable), fmt.unit(facts.unit) if facts else "", position,
        predictor.coding if _measured(predictor) else "", coefficients[position], usual,
        (predictor.low, predictor.high), smallest, per_point, choices, (0.0, 1.0) if score else usual,
        _source(results, model.scores.get(predictor.variable, "")) if score else "",
    )  # fmt: skip


def _source(results: Results, scored_by: str) -> str:
    """Where a score comes from."""
    titles = {parts.name: parts.title for parts in models(results)}
    of = titles.get(scored_by, fmt.plain(scored_by)) or "another model"
    return f"A score from 0 to 1, of {of}: fedmvi-site predict gives it from the patient's images."


def _measured(predictor: Predictor) -> bool:
    return predictor.coding in NUMBERS


def _choices(predictor: Predictor, unit: str) -> list[str]:
    if predictor.coding == "above" and is_score(predictor.variable):
        return [f"below {predictor.cutoff:g}", f"{predictor.cutoff:g} or more"]
    if predictor.coding == "above":
        cutoff = f"{predictor.cutoff:g} {unit}".strip()
        return [f"{cutoff} or less", f"above {cutoff}"]
    return [fmt.plain(level) for level in predictor.levels]


def usual_values(parts: ModelParts, predictor: Predictor) -> tuple[float, float]:
    """Where most training patients lie: mean and two standard deviations on either side, on the model's scale."""
    if not _measured(predictor):
        return (0.0, 1.0)
    mean, std = (estimate(parts.moments, name, predictor.terms[0]) for name in ("mean", "std"))
    centre = mean.value if mean is not None and mean.value is not None else 0.0
    reach = SPREAD * (std.value if std is not None and std.value is not None else 0.0)
    low, high = centre - reach, centre + reach
    if predictor.coding == "log":
        low, high = math.expm1(low), math.expm1(high)
    if predictor.coding == "asinh":
        low, high = math.sinh(low), math.sinh(high)
    if predictor.low is not None:
        low = max(low, predictor.low)
    if predictor.high is not None:
        high = min(high, predictor.high)
    return low, high
