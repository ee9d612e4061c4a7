"""common/study: recipes: how a site turns its table into the frame that a query sees.

A recipe is an immutable list of steps with broadcast numbers only; everything fitted is in it. A site can
always rebuild a frame from its table and the recipe, so it need not remember anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from common.errors import FedmviError
from common.federation.codec import STRICT, pack
from common.study.centres import Only, Without
from common.study.chain import ChainedImpute, DrawnImpute
from common.study.coding import CodedColumn
from common.study.drafting import (
    SCORE_DECIMALS,
    Cut,
    DraftScore,
    Fold,
    ModelColumns,
    Outside,
    Resample,
    SecondReadings,
    logistic_function,
)
from common.study.expressed import EffectiveLibrary, Genes
from common.study.harmonisation import Combat, by_group
from common.study.made import Made
from common.study.readings import BothReadings
from common.study.scales import Scale, Scales
from common.study.subset import Subset
from common.study.table import FloatArray, SiteTable

__all__ = [
    "READING",
    "SCORE_DECIMALS",
    "Complete",
    "Cut",
    "DraftScore",
    "Fold",
    "Frame",
    "Group",
    "Impute",
    "Made",
    "ModelColumns",
    "Only",
    "Outside",
    "Recipe",
    "Resample",
    "Score",
    "SecondReadings",
    "Select",
    "Standardise",
    "Step",
    "Without",
    "logistic_function",
]


@dataclass(frozen=True)
class Frame:
    """What a query sees: the patients of one cohort at one site.

    Attributes
    ----------
    columns
        Predictors, scores and groups by name, each (n,) float64, NaN where missing.
    endpoints
        Those endpoint columns that the query may see, each (n,) float64: "mvi", or "os.time" and "os.event".
    n
        Number of patients.
    keys
        (n,) a number for each patient that nobody without the site's secret can tell, the same in every run:
        draws (folds, resamples) depend on it and so neither on the order of patients nor on the machine.
    cohort
        Its name; "" outside of studies, and of a hospital that the model was developed without.
    """

    columns: Mapping[str, FloatArray]
    endpoints: Mapping[str, FloatArray]
    n: int
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    cohort: str = ""

    def matrix(self, names: tuple[str, ...]) -> FloatArray:
        """(n, p) matrix of the named columns."""
        if not names:
            return np.empty((self.n, 0))
        return np.column_stack([self.columns[name] for name in names])

    def keep(self, rows: NDArray[np.bool_]) -> Frame:
        """The frame of a part of the patients."""
        return Frame(
            {k: v[rows] for k, v in self.columns.items()},
            {k: v[rows] for k, v in self.endpoints.items()},
            int(np.count_nonzero(rows)),
            self.keys[rows] if self.keys.size else self.keys,
            self.cohort,
        )


@dataclass(frozen=True)
class Select:
    """Codes variables into columns."""

    __pydantic_config__ = STRICT
    columns: tuple[CodedColumn, ...]
    step: Literal["select"] = "select"

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Add the coded columns."""
        coded = {c.name: c.code(table.columns[c.variable].of(rows)) for c in self.columns}
        return replace(frame, columns={**frame.columns, **coded})


@dataclass(frozen=True)
class Group:
    """A column `group` with the index of each patient's group: an endpoint's class or a variable's level."""

    __pydantic_config__ = STRICT
    by: str
    labels: tuple[str, ...]
    step: Literal["group"] = "group"

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Add the column `group`."""
        values = table.endpoints[self.by] if self.by in table.endpoints else table.columns[self.by].values
        return replace(frame, columns={**frame.columns, "group": values[rows]})


@dataclass(frozen=True)
class Impute:
    """Replaces missing values by broadcast ones."""

    __pydantic_config__ = STRICT
    names: tuple[str, ...]
    values: tuple[float, ...]
    step: Literal["impute"] = "impute"

    def apply(self, frame: Frame) -> Frame:
        """Fill the named columns."""
        filled = {
            name: np.where(np.isnan(frame.columns[name]), value, frame.columns[name])
            for name, value in zip(self.names, self.values, strict=True)
        }
        return replace(frame, columns={**frame.columns, **filled})


@dataclass(frozen=True)
class Complete:
    """Keeps the patients for whom all named columns and endpoint columns are known."""

    __pydantic_config__ = STRICT
    columns: tuple[str, ...]
    endpoints: tuple[str, ...]
    step: Literal["complete"] = "complete"

    def apply(self, frame: Frame) -> Frame:
        """Drop the others."""
        known = np.ones(frame.n, dtype=bool)
        for name in self.columns:
            known &= ~np.isnan(frame.columns[name])
        for name in self.endpoints:
            if name in frame.endpoints:
                known &= ~np.isnan(frame.endpoints[name])
        return frame.keep(known)


@dataclass(frozen=True)
class Standardise:
    """Centres and scales columns with broadcast means and standard deviations."""

    __pydantic_config__ = STRICT
    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    step: Literal["standardise"] = "standardise"

    def apply(self, frame: Frame) -> Frame:
        """Replace the named columns."""
        scaled = {
            name: (frame.columns[name] - mean) / scale
            for name, mean, scale in zip(self.names, self.mean, self.scale, strict=True)
        }
        return replace(frame, columns={**frame.columns, **scaled})


@dataclass(frozen=True)
class Score:
    """A frozen logistic model: adds its predicted probability as the column `score.<model>`."""

    __pydantic_config__ = STRICT
    model: str
    endpoint: str
    names: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float
    step: Literal["score"] = "score"

    @property
    def column(self) -> str:
        """The name of the column that it makes."""
        return f"score.{self.model}"

    def linear_predictor(self, frame: Frame) -> FloatArray:
        """(n,) its log odds, columns taken in declared order so that every site adds in the same order."""
        linear = np.full(frame.n, self.intercept)
        for name, coefficient in zip(self.names, self.coefficients, strict=True):
            linear = linear + coefficient * frame.columns[name]
        return linear

    def apply(self, frame: Frame) -> Frame:
        """Add the score.

        The probability is rounded to `SCORE_DECIMALS`, which belongs to the model's definition: a server that chose the
        coefficients could else write a patient's whole row into the digits, and read it off the ranks.
        """
        score = np.round(logistic_function(self.linear_predictor(frame)), SCORE_DECIMALS)
        return replace(frame, columns={**frame.columns, self.column: score})


Step = Annotated[
    Without
    | Only
    | Select
    | Group
    | Made
    | ModelColumns
    | SecondReadings
    | BothReadings
    | Genes
    | Impute
    | ChainedImpute
    | DrawnImpute
    | Complete
    | Combat
    | Standardise
    | Subset
    | Score
    | Fold
    | Outside
    | Resample
    | DraftScore
    | Cut
    | EffectiveLibrary,
    Field(discriminator="step"),
]


_CHANGES_NO_SCORE = Score | DraftScore | Cut | Complete | Subset | Fold | Outside | Resample

LEAST_DISTINCT = 0.55


READING = Without | Only | Select | Group | Made | ModelColumns | SecondReadings | BothReadings | Genes
"""Steps that read the table, and come before all others."""

_MEASURED = Select | ModelColumns
"""Those that read what may be harmonised."""


@dataclass(frozen=True)
class Recipe:
    """The steps from a site's table to a frame, in order."""

    __pydantic_config__ = STRICT
    steps: tuple[Step, ...] = field(default=())

    @property
    def before_drafts(self) -> Recipe:
        """The steps up to the first that takes a part of the patients, or a bootstrap set of them."""
        drafting = (i for i, step in enumerate(self.steps) if isinstance(step, Outside | Resample | DraftScore))
        return Recipe(self.steps[: next(drafting, len(self.steps))])

    @property
    def distinct(self) -> float:
        """Share of its patients that are different ones, at least: a bootstrap set has 63 % of them on average."""
        return LEAST_DISTINCT if any(isinstance(step, Resample) for step in self.steps) else 1.0

    def is_rounded(self, column: str) -> bool:
        """Whether a column's values are whole multiples of 10**-SCORE_DECIMALS, because no step comes after its score
        but those that choose rows or add other columns."""
        for step in reversed(self.steps):
            if isinstance(step, Score | DraftScore) and step.column == column:
                return True
            if not isinstance(step, _CHANGES_NO_SCORE) or (isinstance(step, Cut) and step.name == column):
                return False
        return False

    def then(self, *steps: Step) -> Recipe:
        """This recipe with more steps at its end."""
        return Recipe((*self.steps, *steps))

    def apply(
        self,
        table: SiteTable,
        rows: NDArray[np.bool_],
        endpoints: tuple[str, ...],
        keys: NDArray[np.uint64] | None = None,
        scales: Scales | None = None,
        cohort: str = "",
    ) -> Frame:
        """The frame of the patients in `rows`, with only those endpoint columns that may be seen.

        `keys` are those of all the table's patients, see `Frame`, as is `cohort`; `scales` tells by whom patients are
        harmonised, who are it by each other without.

        Steps that read the table come before those that work on the frame (error 501).
        """
        own = np.empty(0, dtype=np.uint64) if keys is None else keys[rows]
        seen = {name: table.endpoints[name][rows] for name in endpoints}
        frame = Frame({}, seen, int(np.count_nonzero(rows)), own, cohort)
        reading = [step for step in self.steps if isinstance(step, READING)]
        if list(self.steps[: len(reading)]) != reading:
            raise FedmviError(501, "a step that reads the table comes after others")
        for step in reading:
            frame = step.read(frame, table, rows)
        for i, working in enumerate(self.steps[len(reading) :], len(reading)):
            if isinstance(working, Combat) and working.training and scales is not None:
                frame = self._harmonised(i, frame, table, rows, scales)
            else:
                frame = Recipe((working,)).apply_to(frame)
        return frame

    def _harmonised(self, place: int, frame: Frame, table: SiteTable, rows: NDArray[np.bool_], scales: Scales) -> Frame:
        """The frame after the harmonising step at a place; no outcome is there when location and scale are estimated.

        What else is read, as what a network made of this cohort's patients, may not be there of others.
        """
        step = self.steps[place]
        if not isinstance(step, Combat):
            raise ValueError("only what harmonises has location and scale")
        before = Recipe(tuple(s for s in self.steps[:place] if not isinstance(s, READING) or isinstance(s, _MEASURED)))

        def measured(scale: Scale) -> Frame:
            # A hospital that a model was developed without is harmonised as one that took no part.
            return before.apply(table, scale.by, (), None, scales, scale.cohort if frame.cohort else "")

        return by_group(step, frame, rows, scales(step.training), measured)

    def apply_to(self, frame: Frame) -> Frame:
        """The frame after the steps that need no table."""
        for step in self.steps:
            if isinstance(step, READING):
                raise FedmviError(501, "a step that reads the table has none")
            frame = step.apply(frame)
        return frame

    @property
    def digest(self) -> str:
        """Names the recipe."""
        return pack(self, Recipe).digest
