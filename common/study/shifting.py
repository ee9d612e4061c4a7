"""common/study: what a protocol says of distribution shift: what is looked at, and what is done about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.study.dictionary import Name
from common.study.modelling import FeatureSet
from common.study.terms import Term


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Shift(_Table):
    """`[shift]`: which hospitals differ from those of training, in what, and which remedy helps.

    Hospitals are compared before anything is frozen and without any outcome but that of the training cohort; with
    outcomes only in cohorts that are open, or when everything is frozen. A hospital is named only by what it tells of
    itself alone, which its policy must allow (`release_alone`). A study has either `models`, or `predictors` with a
    `cohort` and an `endpoint`: that one is a look before anything is trained, and has no [[models]].
    """

    models: tuple[str, ...] = Field(
        default=(),
        description="Names of [[models]] of one training cohort and endpoint, the first without a remedy, the others "
        "each with one. Hospitals are compared by the predictors and the score of the first; all are looked at by "
        "hospital.",
    )
    predictors: tuple[Term, ...] = Field(
        default=(),
        description="Without `models`: by what hospitals are compared, as in [[models]]. Patients in whom one is "
        "missing are left out.",
    )
    features: FeatureSet | None = Field(default=None, description="Features of images, added to the predictors.")
    cohort: str | None = Field(
        default=None, description="Without `models`: the cohort with the role train that others are compared with."
    )
    endpoint: Name | None = Field(
        default=None,
        description="Without `models`: the binary endpoint to be predicted. In the training cohort it tells what "
        "another frequency of it would change; no other cohort's is used.",
    )
    cohorts: tuple[str, ...] = Field(
        default=(),
        description="Cohorts with the role internal-test or external-test whose hospitals are compared with training; "
        "default: those in which the first model is evaluated, without `models` all. The training hospitals are "
        "compared with each other.",
    )
    permutations: int = Field(
        default=199,
        ge=99,
        le=999,
        description="How often patients are dealt out to hospitals at random, to know what chance does.",
    )
    leave_one_centre_out: bool = Field(
        default=False,
        description="Develop every model without each training hospital, and look at it there. That tells the "
        "coordinator the part of each hospital in the sums, so that each needs `may_be_left_out`; and the training "
        "cohort one site more than sums need. The model with the best mean area over centres is named in the freeze.",
    )


class Harmonisation(_Table):
    """`harmonise`: features are brought to one scale at every hospital, from its own patients and without outcomes."""

    method: Literal["combat"] = Field(
        default="combat", description="combat: location and scale of each hospital, by empirical Bayes."
    )
    covariates: tuple[Name, ...] = Field(
        default=(),
        description="Preoperative variables of the dictionary or of [[variables]] whose effects are kept: hospitals "
        "may differ in them. Numbers or binary; never an endpoint.",
    )


class Recalibration(_Table):
    """`[[recalibrations]]`: a model, with its risks corrected in patients who are neither trained nor tested on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(
        description="Name of the corrected model; `score.<name>` is its score."
    )
    label: str = Field(default="", description="How reports print it.")
    model: str = Field(description="Name of one of [[models]]; it is evaluated as it was, too.")
    cohort: str = Field(description="A cohort with the role calibration; it is opened when the models are frozen.")
    method: Literal["closed-testing", "intercept", "slope", "prior"] = Field(
        default="closed-testing",
        description="closed-testing: the least correction that likelihood-ratio tests allow (none, intercept, "
        "intercept and slope, refit); intercept; slope: intercept and slope; prior: the intercept, by a prevalence "
        "that is estimated without outcomes.",
    )
    sensitivity: float | None = Field(
        default=None,
        ge=0.5,
        le=0.99,
        description="A cut-off whose sensitivity is at least this with 95 % confidence is frozen too; refused where "
        "the cohort has too few patients with the endpoint to guarantee it.",
    )

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name
