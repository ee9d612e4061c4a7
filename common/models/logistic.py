"""common/models: a frozen logistic model with all that a hospital needs to use it on patients of its own.

It holds published numbers and words of the protocol only. The probability is that of the run: the same coded columns,
the same filling of missing values, the same order of adding. The interval is Wald's on the scale of the linear
predictor, as in the nomogram, and is of the model's estimate, not of the single patient. An input may be the score of
another model or of a network, which is then part of this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from common.models.network import Digest, FrozenNetwork
from common.statistics.distributions import Z975
from common.study.chain import ChainedImpute
from common.study.coding import CodedColumn, columns_of
from common.study.declarations import as_tuples
from common.study.dictionary import Variable
from common.study.features import FEATURE
from common.study.modelling import is_score
from common.study.preparation import Preparation
from common.study.protocol import Role
from common.study.recipe import SCORE_DECIMALS, Cut, Frame, Impute, Recipe, Score, Select, logistic_function
from common.study.table import Column, FloatArray, SiteTable
from common.study.terms import Term

MAX_INPUTS = 300
MAX_TERMS = 1000
MAX_RESULTS = 1000
MAX_SCORES = 8

ScoreName = Annotated[str, Field(pattern=r"^score\.[a-z0-9][a-z0-9_-]{0,63}$")]

Filling = Annotated[Impute | ChainedImpute, Field(discriminator="step")]
"""How missing values are filled, with the numbers that the run froze."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Input(_Part):
    """One input: a variable as the protocol defines it, and how the model codes it."""

    variable: Variable = Field(description="With unit, accepted units, levels, plausible range and accepted headers.")
    coding: Literal["linear", "log", "asinh", "above", "levels"] = Field(description="As in the protocol.")
    cutoff: float | None = Field(default=None, description="Of the coding `above`, in the variable's unit.")
    usual: tuple[float, float] | None = Field(
        default=None,
        description="Of a measured input: mean and two standard deviations on either side of the training patients, "
        "within what is plausible, in the variable's unit. Nobody's smallest or largest value is told.",
    )

    @property
    def columns(self) -> tuple[CodedColumn, ...]:
        """The columns that it becomes."""
        return columns_of(self.variable, Term(variable=self.variable.name, coding=self.coding, cutoff=self.cutoff))


class Origin(_Part):
    """The study and the patients that the model comes from."""

    study: str = Field(description="Short name of the study.")
    title: str = Field(description="Title of the study.")
    sources: tuple[str, ...] = Field(description="Publications and data sources that the study names.")
    simulated: bool = Field(description="Whether the patients are invented.")
    study_fingerprint: Digest = Field(description="SHA-256 of the protocol.")
    code_fingerprint: Digest = Field(description="SHA-256 of the code that sites and coordinator ran.")
    preparation_fingerprint: Digest = Field(description="SHA-256 of what sites prepared.")
    cohort: str = Field(description="The cohort that it was trained in.")
    sites: tuple[str, ...] = Field(description="The hospitals of that cohort.")
    left_out: tuple[str, ...] = Field(description="Hospitals of the protocol without which the study went on.")
    n: int | None = Field(description="Patients that it was trained on; null where hidden.")
    events: int | None = Field(description="Those with the endpoint; null where hidden.")
    how: str = Field(description="As in results.json, such as exact-masked.")


class Measure(_Part):
    """One measure of performance, as published."""

    name: str = Field(description="Such as `auc`, `slope` or `sensitivity`.")
    value: float | None = Field(description="null: not estimable, or hidden because a count is small.")
    low: float | None = Field(default=None, description="Lower 95 % limit.")
    high: float | None = Field(default=None, description="Upper 95 % limit.")


class Performance(_Part):
    """How well the model did in one cohort by one statistic, as published."""

    statistic: str = Field(description="`auc`, or the kind of an analysis, such as `calibration` or `cut-off`.")
    cohort: str
    role: Role
    sites: tuple[str, ...]
    how: str = Field(description="As in results.json; `site-alone` is of one hospital.")
    status: Literal["estimated", "not-estimable", "refused"]
    n: int | None = Field(default=None, description="Patients; null where hidden.")
    events: int | None = Field(default=None, description="Those with the endpoint; null where hidden.")
    measures: tuple[Measure, ...] = Field(max_length=MAX_RESULTS)
    note: str = ""


@dataclass(frozen=True)
class Predictions:
    """What a model says of patients.

    Attributes
    ----------
    probability, low, high
        (n,) probability and its 95 % interval; NaN where an input is missing and is not filled, and the interval also
        where the model has no covariance.
    above
        (n,) whether the score, which is the probability to four decimals, reaches the cut-off; None without one.
    scores
        (n,) each score that is an input, by the input's name; NaN where it could not be had.
    """

    probability: FloatArray
    low: FloatArray
    high: FloatArray
    above: NDArray[np.bool_] | None
    scores: Mapping[str, FloatArray] = field(default_factory=lambda: MappingProxyType({}))


class FrozenModel(_Part):
    """A logistic regression that was frozen in a study."""

    format: Literal["fedmvi logistic model 1"] = "fedmvi logistic model 1"
    intended_use: str = Field(description="What it may be used for.")
    name: str = Field(description="Its name in the protocol.")
    title: str = Field(description="What reports call it.")
    endpoint: str = Field(description="Whose probability it gives, for readers.")
    timing: Literal["preoperative", "postoperative"] = Field(description="When all inputs are known.")
    inputs: tuple[Input, ...] = Field(min_length=1, max_length=MAX_INPUTS)
    terms: tuple[str, ...] = Field(description="What the coefficients are of, after the intercept.")
    coefficients: tuple[float, ...] = Field(description="Intercept first, then one a term.")
    covariance: tuple[tuple[float, ...], ...] | None = Field(
        description="Of the coefficients, in the same order; null where they were shrunk, or are from elsewhere: then "
        "there is no interval."
    )
    missing: Literal["complete-case", "mean", "median", "chained"] = Field(
        description="complete-case: without all inputs there is no probability; else how `filling` was made."
    )
    filling: Filling | None = Field(default=None, description="Numbers that fill missing values; null: none are.")
    cutoff: float | None = Field(default=None, description="From this score on a patient is called high.")
    cutoff_rule: str = Field(default="", description="How the cut-off was chosen.")
    origin: Origin
    performance: tuple[Performance, ...] = Field(max_length=MAX_RESULTS)
    preparation: Annotated[Preparation | None, BeforeValidator(as_tuples)] = Field(
        default=None, description="How features and ROI stacks are made of images, where an input comes from one."
    )
    scores: dict[ScoreName, Annotated[FrozenModel | FrozenNetwork, Field(discriminator="format")]] = Field(
        default_factory=dict,
        max_length=MAX_SCORES,
        description="What computes the inputs that are scores, by their names.",
    )

    @model_validator(mode="after")
    def _coherent(self) -> FrozenModel:
        if sum(max(len(i.variable.level_names), 1) for i in self.inputs) > MAX_TERMS:
            raise ValueError(f"more than {MAX_TERMS} levels")
        names = tuple(column.name for column in self.columns)
        if names != self.terms or len(set(names)) != len(names):
            raise ValueError("the terms are not those of the inputs")
        size = len(names) + 1
        square = self.covariance is None or [len(row) for row in self.covariance] == [size] * size
        if len(self.coefficients) != size or not square:
            raise ValueError("there is not one coefficient, and one row of the covariance, for each term")
        if (self.filling is None) != (self.missing == "complete-case"):
            raise ValueError("`missing` and `filling` contradict each other")
        if self.filling is not None and not _fills(self.filling, self._measured_terms):
            raise ValueError("`filling` is not of the terms")
        self._check_scores()
        return self

    def _check_scores(self) -> None:
        named = {i.variable.name for i in self.inputs if is_score(i.variable.name)}
        if named != set(self.scores):
            raise ValueError("the scores are not those of the inputs")
        if any(isinstance(part, FrozenModel) and part.scores for part in self.scores.values()):
            raise ValueError("a score has scores as inputs")
        if len({network.name for network in self.networks.values()}) != len(self.networks):
            raise ValueError("two networks have one name")
        if self.networks and (self.preparation is None or self.preparation.stacks is None):
            raise ValueError("there is a network, and `preparation` makes no stacks")

    @property
    def networks(self) -> Mapping[str, FrozenNetwork]:
        """The networks among its scores, by the name of the input."""
        return {name: part for name, part in self.scores.items() if isinstance(part, FrozenNetwork)}

    @property
    def all_inputs(self) -> tuple[Input, ...]:
        """Its inputs, and those of the models whose scores are among them."""
        parts = (part for part in self.scores.values() if isinstance(part, FrozenModel))
        return (*self.inputs, *(one for part in parts for one in part.inputs))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables of all inputs that are no scores, each once: what is known of a patient."""
        known = (i.variable for i in self.all_inputs if not is_score(i.variable.name))
        return tuple({variable.name: variable for variable in known}.values())

    @property
    def features(self) -> tuple[str, ...]:
        """Those that are features of images."""
        return tuple(v.name for v in self.variables if FEATURE.fullmatch(v.name))

    @property
    def clinical(self) -> tuple[Variable, ...]:
        """Those that are not."""
        return tuple(v for v in self.variables if not FEATURE.fullmatch(v.name))

    @property
    def filled(self) -> frozenset[str]:
        """The variables whose missing values are filled: its own, unless a score needs them too. Scores never are."""
        if self.filling is None:
            return frozenset()
        own = {i.variable.name for i in self.inputs if not is_score(i.variable.name)}
        return frozenset(own - {i.variable.name for i in self.all_inputs[len(self.inputs) :]})

    @property
    def _measured_terms(self) -> tuple[str, ...]:
        """The terms that are no scores."""
        return tuple(column.name for column in self.columns if not is_score(column.variable))

    @property
    def columns(self) -> tuple[CodedColumn, ...]:
        """The coded columns, one a term."""
        return tuple(column for i in self.inputs for column in i.columns)

    @property
    def score(self) -> Score:
        """The step that the run scored its patients with."""
        return Score(self.name, self.endpoint, self.terms, self.coefficients[1:], self.coefficients[0])

    def predict(self, table: SiteTable) -> Predictions:
        """Apply the model to the patients of a table that has its variables, and the scores of its networks.

        Raises
        ------
        FedmviError
            305 a value is given only as a bound, and the bound does not decide the coded column.
        """
        scores = {name: self._score_of(name, table) for name in self.scores}
        none = np.zeros(table.n, dtype=np.int8)
        known = replace(table, columns={**table.columns, **{k: Column(v, (), none) for k, v in scores.items()}})
        frame = self._coding.apply(known, np.ones(table.n, dtype=bool), ())
        linear = self.score.linear_predictor(frame)
        reach = Z975 * self._std_err(frame)
        probability, low, high = (logistic_function(x) for x in (linear, linear - reach, linear + reach))
        above = None if self.cutoff is None else np.round(probability, SCORE_DECIMALS) >= self.cutoff
        return Predictions(probability, low, high, above, scores)

    @property
    def _coding(self) -> Recipe:
        """From the variables and scores to the columns of the model, filled if it fills."""
        cuts = tuple(Cut(c.variable, c.name, c.cutoff) for c in self.columns if _is_cut(c))
        direct = {c.name: c for c in self.columns if not _is_cut(c)}
        direct |= {cut.source: CodedColumn(cut.source, cut.source, "linear") for cut in cuts}
        return Recipe((Select(tuple(direct.values())), *cuts, *(() if self.filling is None else (self.filling,))))

    def _score_of(self, name: str, table: SiteTable) -> FloatArray:
        """(n,) the score of a part: as a run has it, to four decimals."""
        part = self.scores[name]
        if isinstance(part, FrozenNetwork):
            return table.columns[name].values
        return np.round(part.predict(table).probability, SCORE_DECIMALS)

    def _std_err(self, frame: Frame) -> FloatArray:
        """(n,) standard error of the linear predictor; NaN where it is not known."""
        if self.covariance is None:
            return np.full(frame.n, np.nan)
        design = np.column_stack([np.ones(frame.n), frame.matrix(self.terms)])
        variance = np.einsum("ni,ij,nj->n", design, np.array(self.covariance), design)
        std_err: FloatArray = np.sqrt(np.maximum(variance, 0.0))
        return std_err


def _is_cut(column: CodedColumn) -> bool:
    """Whether a column says if a score reaches its cut-off."""
    return column.coding == "above" and is_score(column.variable)


def _fills(filling: Impute | ChainedImpute, names: tuple[str, ...]) -> bool:
    if isinstance(filling, Impute):
        return filling.names == names and len(filling.values) == len(names)
    return filling.names == names and filling.consistent()
