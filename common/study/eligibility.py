"""common/study: `[eligibility]`: which patients of a hospital take part, as typed rules."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.study.dictionary import Name


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rule(_Table):
    """One rule of `[eligibility]`: what a column must say for a patient to stay."""

    column: Name | None = Field(default=None, description="Column of the site's table; default: the rule's name.")
    accept: tuple[str, ...] = Field(default=(), description="Cells that pass; empty: every cell not refused.")
    refuse: tuple[str, ...] = Field(default=(), description="Cells that fail.")
    at_most: float | None = Field(default=None, description="Largest number that passes.")
    at_least: float | None = Field(default=None, description="Smallest number that passes.")
    missing: Literal["exclude", "keep"] = Field(default="exclude", description="What an empty cell means.")

    @model_validator(mode="after")
    def _coherent(self) -> Rule:
        words, numbers = bool(self.accept or self.refuse), self.at_most is not None or self.at_least is not None
        if words == numbers:
            raise ValueError("a rule has accept/refuse, or at_most/at_least")
        return self


class Eligibility(_Table):
    """`[eligibility]`: typed rules, applied at the site in this order and counted one by one."""

    resection: Rule | None = Field(default=None, description="Treated by resection.")
    histology_available: Rule | None = Field(default=None, description="MVI was assessed by histology.")
    no_macrovascular_invasion: Rule | None = Field(default=None, description="Macrovascular invasion is not MVI.")
    no_prior_treatment: Rule | None = Field(default=None, description="No treatment before surgery.")
    imaging_to_surgery_days: Rule | None = Field(default=None, description="Imaging at most so many days before.")
    image_quality: Rule | None = Field(default=None, description="Image quality sufficient.")

    def rules(self) -> tuple[tuple[str, Rule], ...]:
        """The rules in force, in order, each with its name."""
        pairs = ((name, getattr(self, name)) for name in type(self).model_fields)
        return tuple((name, rule) for name, rule in pairs if rule is not None)
