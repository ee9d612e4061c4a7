"""common/study: traits that two readers have read: where the second reading is found, and both beside each other.

Of features of images the second reader's values are made from a second outline, see `drafting`; of what a radiologist
sees (a smooth margin, a capsule) they are a column of the hospital's table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from common.federation.codec import STRICT
from common.study.features import second_reading
from common.study.table import SiteTable

if TYPE_CHECKING:
    from common.study.recipe import Frame


def second_column(trait: str) -> str:
    """The column of a hospital's table that has the second reader's reading of a trait."""
    return f"{trait}_reader2"


@dataclass(frozen=True)
class BothReadings:
    """A trait as each of two readers has read it: the index of its level, NaN where a reader did not read it."""

    __pydantic_config__ = STRICT
    trait: str
    step: Literal["both_readings"] = "both_readings"

    @property
    def columns(self) -> tuple[str, str]:
        """The columns that it adds: the first reader's, and the second's."""
        return self.trait, second_reading(self.trait)

    def read(self, frame: Frame, table: SiteTable, rows: NDArray[np.bool_]) -> Frame:
        """Add the columns."""
        readings = table.columns[self.trait].of(rows).values, table.second[self.trait].of(rows).values
        return replace(frame, columns={**frame.columns, **dict(zip(self.columns, readings, strict=True))})
