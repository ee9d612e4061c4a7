"""common/study: the step of a recipe that keeps the patients of one level: a subgroup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.federation.codec import STRICT

if TYPE_CHECKING:
    from common.study.recipe import Frame


@dataclass(frozen=True)
class Subset:
    """Keeps the patients whose column is one level; those of whom it is not known are in no subgroup.

    Attributes
    ----------
    column
        The index of a level, or 0 up to a cut-off and 1 above it.
    level
        Which of them.
    """

    __pydantic_config__ = STRICT
    column: str
    level: int
    step: Literal["subset"] = "subset"

    def apply(self, frame: Frame) -> Frame:
        """Drop the others."""
        return frame.keep(frame.columns[self.column] == float(self.level))
