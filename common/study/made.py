"""common/study: the step of a recipe that reads what a network made at the site."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.codec import STRICT
from common.study.table import FloatArray, SiteTable

if TYPE_CHECKING:
    from common.study.recipe import Frame


@dataclass(frozen=True)
class Made:
    """Columns that a network made here, as `<network>.<column>`: read from the site's own work, never sent.

    Attributes
    ----------
    model
        Digest of what scored (`ScorePatients.model`), the same in every cohort.
    network
        Its name in the protocol.
    columns
        Which of `mean`, `first`, `mean.grade` and `first.grade`, or the projections of a sequence.
    by_fold
        Of training patients: digests of what scored, one an outer fold or a hospital that was left out, whose patients
        are each to have the scores of another model; `model` is the first of them. Empty: all have those of `model`.
    """

    __pydantic_config__ = STRICT
    model: str
    network: str
    columns: tuple[str, ...]
    by_fold: tuple[str, ...] = ()
    step: Literal["made"] = "made"

    @property
    def models(self) -> tuple[str, ...]:
        """Digests of all that scored."""
        return tuple(dict.fromkeys((self.model, *self.by_fold)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that it adds."""
        return tuple(f"{self.network}.{column}" for column in self.columns)

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Add the columns, NaN for patients who were not scored; error 511 where no task made them."""
        if not all(set(self.columns) <= set(table.made.get(model, ())) for model in self.models):
            raise FedmviError(511, f"no {', '.join(self.columns)} of {self.network}")
        own = {name: self._of(table, column)[rows] for name, column in zip(self.names, self.columns, strict=True)}
        return replace(frame, columns={**frame.columns, **own})

    def _of(self, table: SiteTable, column: str) -> FloatArray:
        """(all patients of the table,) one column."""
        if not self.by_fold:
            return table.made[self.model][column]
        values = np.full(table.n, np.nan)
        for fold, model in enumerate(self.by_fold):
            mine = table.made[model]["fold"] == fold
            values[mine] = table.made[model][column][mine]
        return values
