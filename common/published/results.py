"""common/published: what `results.json` holds: every published number with its statistic, cohort, sites, n and how.

The file is a function of study, data and code only: no times, no run ids. `docs/reference/results.schema.json` is
the JSON schema of `Results`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from common.errors import FedmviError
from common.models.logistic import Filling
from common.study.declarations import as_tuples
from common.study.preparation import Preparation
from common.study.protocol import Role
from common.study.reporting import Reporting

Statistic = Literal[
    "patient-flow",
    "endpoint-counts",
    "sample-size",
    "evaluation-size",
    "missing-values",
    "moments",
    "univariable-logistic",
    "multivariable-logistic",
    "feature-reduction",
    "cross-validated-auc",
    "optimism",
    "choice",
    "auc",
    "pooled-and-alone",
    "survival",
    "cox-regression",
    "analysis",
    "network-training",
    "network-combinations",
    "network-performance",
    "network-selection",
    "network-projection",
    "network-adaptation",
    "network-centres",
    "network-pictures",
    "characteristics",
    "subgroups",
    "shift",
    "centres",
    "leave-one-centre-out",
    "performance-drop",
    "recalibration",
    "harmonisation",
    "acquisition",
    "differential-expression",
    "expression-by-site",
    "gene-sets",
]
Status = Literal["estimated", "not-estimable", "refused"]


ALL_SITES = "all sites"
"""Stands for the pooled count among names of sites."""

AFTER_SELECTION = "after selection"
"""The note of a p value that takes no account of how what it is about was chosen."""

EVERYONE = "everyone"
"""Stands for treating all patients among the models of a decision curve."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Part):
    """One number. `null` stands for what was not estimable, or is hidden because it is small."""

    name: str = Field(description="What is estimated, such as `odds_ratio` or `auc`.")
    term: str = Field(default="", description="Of what: a predictor, a group, a time.")
    value: float | None = Field(description="The estimate.")
    low: float | None = Field(default=None, description="Lower 95 % limit.")
    high: float | None = Field(default=None, description="Upper 95 % limit.")
    std_err: float | None = Field(default=None, description="Standard error.")
    p: float | None = Field(default=None, description="Two-sided p value.")
    unit: str = Field(default="", description="Unit of value and limits.")
    note: str = Field(default="", description="What a reader must know, such as a reached or hidden limit.")


class Count(_Part):
    """One count by site. `null` stands for a small count, or one hidden with it."""

    name: str = Field(description="What is counted.")
    by_site: dict[str, int | None] = Field(default_factory=dict, description="Each site's count.")
    pooled: int | None = Field(description="Over all sites.")
    large: list[str] = Field(
        default_factory=list,
        description="Sites (`all sites` for the pooled one) whose hidden count is not small, as the shown ones tell.",
    )


class Curve(_Part):
    """A curve, coarse enough to be published."""

    name: str = Field(description="Which group or model.")
    x: list[float] = Field(
        description="False positive rate, time, predicted risk, threshold, round of training, or genes of a ranking."
    )
    y: list[float] = Field(
        description="True positive rate, survival, observed share, net benefit, loss, or running enrichment."
    )
    low: list[float] = Field(default_factory=list, description="Lower 95 % band.")
    high: list[float] = Field(default_factory=list, description="Upper 95 % band.")
    at_risk: list[int | None] = Field(
        default_factory=list, description="Patients at risk, told once a year; null between."
    )
    unit: str = Field(default="", description="Unit of x.")


class CrossTable(_Part):
    """Patients by what is true and by what is predicted. `null` stands for a hidden count."""

    name: str = Field(description="What predicts, such as `mean` at its cut-off.")
    rows: list[str] = Field(description="True levels.")
    columns: list[str] = Field(description="Predicted levels.")
    cells: list[list[int | None]] = Field(description="Patients, row by row.")


class Predictor(_Part):
    """One input of a model: what a person enters, and the terms that it becomes."""

    variable: str = Field(description="Name of the variable; its title and unit are under `variables`.")
    coding: Literal["linear", "log", "asinh", "above", "levels"] = Field(
        description="The value itself, the natural logarithm of 1 + value, the inverse hyperbolic sine, whether it is "
        "above the cut-off (of a score: at or above it), its level."
    )
    terms: list[str] = Field(description="The terms of the coefficients: one, or one for each level but the first.")
    levels: list[str] = Field(default_factory=list, description="Levels, the reference first.")
    cutoff: float | None = Field(default=None, description="Of the coding `above`, in the variable's unit.")
    low: float | None = Field(default=None, description="Lowest plausible value, in the variable's unit.")
    high: float | None = Field(default=None, description="Highest plausible value, in the variable's unit.")


class LogisticModel(_Part):
    """What is needed to use a fitted logistic regression on a patient."""

    endpoint: str = Field(description="Whose probability it gives, for readers.")
    predictors: list[Predictor] = Field(description="Its inputs, in the order of the protocol.")
    covariance: list[list[float]] = Field(
        description="Of the coefficients in the order of `coef`, intercept first; empty of a LASSO, whose coefficients "
        "are shrunk, and of a formula from elsewhere."
    )
    scores: dict[str, str] = Field(
        default_factory=dict,
        description="Of predictors that are scores: the model, or the network and its sequences, whose score it is.",
    )
    filling: Filling | None = Field(
        default=None, description="Numbers that fill missing values of the terms; null: complete cases only."
    )


class GeneRows(_Part):
    """Numbers of genes, column by column."""

    genes: list[str] = Field(description="Symbols, as the protocol has them.")
    columns: dict[str, list[float | None]] = Field(description="By name, one number a gene.")


class GeneSetRow(_Part):
    """What was found of one set of genes."""

    name: str = Field(description="As the file of sets has it.")
    size: int = Field(description="Its genes among those that were compared.")
    score: float | None = Field(default=None, description="Enrichment score, or odds ratio of over-representation.")
    normalised: float | None = Field(default=None, description="Enrichment score over that of permuted sets.")
    p: float | None = Field(description="Of the set.")
    adjusted_p: float | None = Field(description="False discovery rate over the sets.")
    leading: list[str] = Field(default_factory=list, description="Its leading edge, or its genes that differ.")


class Result(_Part):
    """One statistic."""

    id: str = Field(description="Unique, stable name, such as `model.clinical.auc.external-test`.")
    statistic: Statistic = Field(description="What it is.")
    kind: str = Field(
        default="",
        description="Of an analysis: its statistic as the protocol names it; of a Cox regression: univariable or "
        "multivariable; of gene expression: by group or score, or how sets were looked for.",
    )
    title: str = Field(description="For readers.")
    cohort: str = Field(description="The cohort whose patients it is of.")
    sites: list[str] = Field(description="The hospitals whose patients it is of.")
    n: int | None = Field(default=None, description="Patients that entered; null where hidden.")
    events: int | None = Field(default=None, description="Those with the endpoint or event; null where hidden.")
    how: str = Field(
        description="exact or federated (either may end in -masked), binned(B), guarded(K), site-alone, private(eps) "
        "or simulated."
    )
    status: Status = Field(default="estimated", description="refused: by a hospital, whose error `note` has.")
    verdict: str = Field(default="", description="Of a shift: what kind it is.")
    note: str = Field(default="", description="What a reader must know of it, or why there is none.")
    estimates: list[Estimate] = Field(default_factory=list, description="Its numbers.")
    counts: list[Count] = Field(default_factory=list, description="Its counts by hospital.")
    curves: list[Curve] = Field(default_factory=list, description="What is drawn of it.")
    tables: list[CrossTable] = Field(default_factory=list, description="True by predicted levels.")
    model: LogisticModel | None = Field(default=None, description="Of a fitted model: how to use it.")
    genes: GeneRows | None = Field(default=None, description="Of gene expression: numbers of every gene.")
    sets: list[GeneSetRow] = Field(default_factory=list, description="Of gene sets: every set, the strongest first.")


class CohortFacts(_Part):
    """A cohort of the study."""

    name: str = Field(description="As the protocol has it.")
    role: Role = Field(description="What it is for, as the protocol has it.")
    sites: list[str] = Field(description="Its hospitals.")


class VariableFacts(_Part):
    """A variable of the study, for readers."""

    title: str = Field(description="For readers.")
    unit: str = Field(description="Unit of its values and cut-offs; empty for words.")
    reference: str = Field(description="The level that others are compared with; empty for numbers.")


class Results(_Part):
    """The whole of `results.json`."""

    schema_version: Literal[1] = Field(default=1, description="Of this form of the file.")
    study: str = Field(description="The study's name.")
    title: str = Field(description="Its title.")
    description: str = Field(description="What its protocol says of it.")
    simulated: bool = Field(description="Whether its patients are made up.")
    sources: list[str] = Field(description="Where its patients are from, and what was assumed of them.")
    study_fingerprint: str = Field(description="SHA-256 of all that the protocol says.")
    code_fingerprint: str = Field(description="SHA-256 of the code that answered, which all hospitals share.")
    preparation_fingerprint: str = Field(description="SHA-256 of what the protocol says of preparing.")
    min_cell: int = Field(description="Smaller counts are not shown.")
    cohorts: list[CohortFacts] = Field(description="All of the protocol.")
    left_out: list[str] = Field(
        default_factory=list, description="Sites of the protocol that stayed away, and without which the study went on."
    )
    under_limits: list[str] = Field(description="What sites will refuse for want of patients, as they say themselves.")
    variables: dict[str, VariableFacts] = Field(description="Every variable that a model uses, by its name in terms.")
    reporting: Reporting = Field(default=Reporting(), description="What the authors say of the study in its protocol.")
    preparation: Annotated[Preparation | None, BeforeValidator(as_tuples)] = Field(
        default=None, description="How hospitals turned images into features and stacks; null: the study has no images."
    )
    results: list[Result] = Field(description="Every statistic of the study.")

    @property
    def refused(self) -> bool:
        """Whether a site refused to answer for some result."""
        return any(result.status == "refused" for result in self.results)

    def get(self, identifier: str) -> Result:
        """The result of that id."""
        return next(result for result in self.results if result.id == identifier)


def read_results(path: Path) -> Results:
    """Read `results.json`; error 702 if there is none, 704 if it does not follow the schema."""
    try:
        return Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FedmviError(702, str(path)) from error
    except ValidationError as error:
        raise FedmviError(704, f"{path}: {error}") from error
