"""common/study: `[[subgroups]]`: parts of a cohort's patients in which a frozen model's discrimination is looked at."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from common.study.dictionary import ColumnName

MOST_VARIABLES = 12

BINS = 20
"""Bins of the score, of equal width. With finer ones the counts of several subgroups could be joined by the score:
a patient alone in his bin would be the same one in each, and all his levels would be known together."""

THRESHOLDS = tuple(i / BINS for i in range(1, BINS))
"""Where one bin ends and the next begins."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Division(_Table):
    """What divides the patients: the levels of a variable, or a cut-off of a measured one."""

    variable: ColumnName = Field(description="A variable of the dictionary or of [[variables]].")
    cutoff: float | None = Field(
        default=None,
        description="Of a measured variable: at most so much, and more; default: the dictionary's cut-off.",
    )


class Subgroups(_Table):
    """`[[subgroups]]`: the discrimination of a frozen model in subgroups of a cohort that it is evaluated in."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(description="Name of the subgroups.")
    label: str = Field(default="", description="How reports print it.")
    model: str = Field(description="One of [[models]].")
    cohort: str = Field(description="A cohort in which the model is evaluated, of enough sites for a sum.")
    by: tuple[Division, ...] = Field(
        min_length=1, max_length=MOST_VARIABLES, description="Tables {variable, cutoff}, or names of variables."
    )

    @field_validator("by", mode="before")
    @classmethod
    def _named(cls, by: Any) -> Any:
        """A bare name is a variable without a cut-off of its own."""
        named = by if isinstance(by, tuple) else ()
        return tuple({"variable": part} if isinstance(part, str) else part for part in named) or by

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name
