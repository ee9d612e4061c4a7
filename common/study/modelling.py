"""common/study: what a protocol says of models that are developed: reduced features, choices, formulas, scores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.study.dictionary import Variable

SCORE = "score."
"""Begins the name of a predictor or a group that is a score: of a model, of a choice among models, or of a network."""

LARGEST_COEFFICIENT = 1e6


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FeatureSet(_Table):
    """`features`: radiomics features of [preparation] as predictors; whatever is left out stands for all there are."""

    images: tuple[str, ...] = Field(default=(), description="Phases and subtractions.")
    regions: tuple[str, ...] = Field(default=(), description="Regions.")
    filters: tuple[str, ...] = Field(default=(), description="Filters, as in the names of features.")
    classes: tuple[str, ...] = Field(default=(), description="Classes of features.")


class Reduction(_Table):
    """`reduction`: how many predictors become few, step after step, before a LASSO; anew inside every fold."""

    icc: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Least agreement between both readers, ICC(2,1) within hospitals, of features of images; needs "
        "`second_reader` under [preparation.radiomics], and a hospital with 30 patients whom both have read. Without "
        "it nothing is asked of the second reader.",
    )
    fdr: float = Field(
        default=0.05, gt=0, le=1, description="False discovery rate of the regressions on each predictor alone."
    )
    correlation: float = Field(
        default=0.9, gt=0, le=1, description="Largest |r| of two predictors that both stay; that of smaller p stays."
    )
    count: int = Field(default=30, ge=1, le=200, description="Most predictors that mRMR leaves to the LASSO.")
    penalty: Literal["min", "1se"] = Field(
        default="min",
        description="The LASSO's penalty: that of least cross-validated deviance, or the largest within one standard "
        "error of it.",
    )


class Fixed(_Table):
    """`fixed`: a formula from elsewhere, which is evaluated and not fitted."""

    intercept: float = Field(ge=-LARGEST_COEFFICIENT, le=LARGEST_COEFFICIENT, description="Of the log odds.")
    coefficients: tuple[Annotated[float, Field(ge=-LARGEST_COEFFICIENT, le=LARGEST_COEFFICIENT)], ...] = Field(
        min_length=1, description="One a column, in the order of the predictors."
    )


class Choice(_Table):
    """`[[choices]]`: the best of several models, by their cross-validated areas in the training cohort; or of several
    networks, by their mean area over training hospitals that were left out. All of them are reported.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(
        description="Name of the choice; `score.<name>` is the score of the model that is chosen. A choice of networks "
        "names the best in the freeze, and is no score."
    )
    label: str = Field(default="", description="How reports print it.")
    models: tuple[str, ...] = Field(
        min_length=2,
        description="Models with a `reduction`, of one cohort and endpoint; or networks of one cohort, endpoint and "
        'sequences, each with `development = "leave-one-centre-out"`. Of equal ones the first.',
    )

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name


def is_score(name: str) -> bool:
    """Whether a predictor or a group is a score, not a variable of the hospitals' tables."""
    return name.startswith(SCORE)


def score_variable(name: str, label: str = "") -> Variable:
    """A score as a predictor: a probability, known before surgery as everything is that it was made from."""
    return Variable(name=name, label=label, kind="continuous", known="preoperative", low=0.0, high=1.0)
