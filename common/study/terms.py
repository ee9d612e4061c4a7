"""common/study: a predictor, and how it is coded into columns."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from common.study.dictionary import ColumnName


class Term(BaseModel):
    """One predictor of a model: a variable and how it is coded into columns."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    variable: ColumnName = Field(
        description="A variable of the dictionary or of [[variables]], a feature of [preparation], or a score: "
        "`score.` and the name of a choice, of a model with a `reduction`, or of a network."
    )
    coding: Literal["linear", "log", "asinh", "above", "levels"] = Field(
        description="linear (as it is), log (natural, of 1 + value), asinh (inverse hyperbolic sine: a logarithm of "
        "values of either sign), above (1 where greater than the cut-off; of a score: at or above it), levels."
    )
    cutoff: float | None = Field(
        default=None,
        description="Cut-off for `above`; default: the dictionary's, of a score the one that training chose.",
    )
