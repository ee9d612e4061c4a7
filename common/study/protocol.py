"""common/study: the study protocol: what `study.toml` may say, as typed and validated objects.

Every field is described in its `Field(description=...)`; `docs/reference/study.md` is made from those. Unknown
fields are refused. Checks of one table against another (a model that names an unknown endpoint) are in
`contradictions`, which reports all of them at once.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.study.acquisition import acquisition_facts
from common.study.analyses import StatisticName
from common.study.characteristics import Characteristics
from common.study.declarations import SiteName
from common.study.dictionary import DICTIONARY, ColumnName, Name, Variable
from common.study.eligibility import Eligibility
from common.study.features import FEATURE, feature_variable
from common.study.genomics import Genomics
from common.study.modelling import SCORE, Choice, FeatureSet, Fixed, Reduction, is_score, score_variable
from common.study.networks import Network
from common.study.plain_words import strange_text
from common.study.preparation import Preparation
from common.study.reporting import Reporting
from common.study.shifting import Harmonisation, Recalibration, Shift
from common.study.shorthand import expand_predictors
from common.study.subgroups import Subgroups
from common.study.terms import Term
from common.study.waiting import Federation

Role = Literal["train", "internal-test", "calibration", "external-test", "outcome", "genomics"]
CLOSED_ROLES: frozenset[Role] = frozenset({"external-test", "outcome", "genomics"})
"""Roles whose endpoints stay closed until the models are frozen, and their corrections where there are any."""

MONTH_DAYS = 365.25 / 12
"""The mean length of a month."""

MAX_LEVELS = 20
"""Most levels of an ordinal endpoint."""

IMAGES = "images"
"""Why a patient is excluded whose images could not be prepared."""

_PRESENT, _ABSENT = ("1", "yes"), ("0", "no")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class StudyHead(_Table):
    """`[study]`: what the study is."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")] = Field(description="Short name, used in paths.")
    title: str = Field(description="Title, printed on the report.")
    description: str = Field(default="", description="One paragraph for readers of the report.")
    simulated: bool = Field(default=False, description="True where the data are simulated; every output says so.")
    sources: tuple[str, ...] = Field(default=(), description="Publications and data sources.")


class Endpoint(_Table):
    """`[[endpoints]]`: what is predicted or compared."""

    name: Name = Field(description="Name of the endpoint.")
    kind: Literal["binary", "ordinal", "survival", "competing"] = Field(
        description="binary; ordinal (levels in order); survival (time from surgery and event); competing (the same "
        "with an event that prevents the one of interest)."
    )
    label: str = Field(default="", description="How reports print it.")
    columns: tuple[str, ...] = Field(
        description="binary and ordinal: one column; survival and competing: the time column and the event column."
    )
    positive: tuple[str, ...] = Field(
        default=_PRESENT, description="Cells that mean present, or the event (of interest); not of ordinal ones."
    )
    negative: tuple[str, ...] = Field(
        default=_ABSENT, description="Cells that mean absent, or censored; not of ordinal ones."
    )
    competing: tuple[str, ...] = Field(default=(), description="competing: cells that mean the competing event.")
    levels: tuple[tuple[str, ...], ...] = Field(
        default=(),
        description='ordinal: the cells of each level, lowest level first, as [["M0"], ["M1"], ["M2"]]; a level is '
        "called by its first cell.",
    )
    unit: Literal["days", "months"] | None = Field(default=None, description="Unit of a time, counted from surgery.")
    precision: float = Field(default=1.0, gt=0, description="The grid on which times are recorded, in `unit`.")
    maximum: float | None = Field(
        default=None, gt=0, description="Largest time accepted, in `unit` (default 30 years)."
    )

    @model_validator(mode="after")
    def _coherent(self) -> Endpoint:
        wanted = 2 if self.timed else 1
        if len(self.columns) != wanted:
            raise ValueError(f"an endpoint of the kind {self.kind} has {wanted} column(s)")
        if self.timed and self.unit is None:
            raise ValueError(f"a {self.kind} endpoint needs `unit`, days or months")
        if not self.timed and (self.unit is not None or self.maximum is not None):
            raise ValueError("`unit` and `maximum` belong to survival and competing endpoints")
        if self.kind == "ordinal" and not (3 <= len(self.levels) <= MAX_LEVELS and all(self.levels)):
            raise ValueError(f"an ordinal endpoint needs `levels`: 3 to {MAX_LEVELS} lists of cells")
        if self.kind != "ordinal" and self.levels:
            raise ValueError("`levels` belong to ordinal endpoints")
        if (self.kind == "competing") != bool(self.competing):
            raise ValueError("competing endpoints, and only they, have cells of the event in `competing`")
        if self.kind == "ordinal" and (self.positive, self.negative) != (_PRESENT, _ABSENT):
            raise ValueError("`positive` and `negative` do not belong to ordinal endpoints, which have `levels`")
        cells = [cell for _, group in self.codes for cell in dict.fromkeys(group)]
        if set(self.positive) & set(self.negative):
            raise ValueError("a cell cannot be both positive and negative")
        if len(set(cells)) != len(cells):
            raise ValueError(f"a cell has two meanings: {next(c for c in cells if cells.count(c) > 1)!r}")
        return self

    @property
    def timed(self) -> bool:
        """Whether it is a time and an event, not one class a patient."""
        return self.kind in ("survival", "competing")

    @property
    def codes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What each code of its last array means, and the cells that stand for it; the code is the position."""
        if self.kind == "ordinal":
            return tuple((group[0], group) for group in self.levels)
        known = (("negative", self.negative), ("positive", self.positive))
        return (*known, ("competing", self.competing)) if self.kind == "competing" else known

    @property
    def level_names(self) -> tuple[str, ...]:
        """What its classes are called where it forms groups; nothing for one with a time."""
        return () if self.timed else tuple(cells[0] for _, cells in self.codes)

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of its arrays in tables and frames: one, or time and event."""
        return (f"{self.name}.time", f"{self.name}.event") if self.timed else (self.name,)

    @property
    def month(self) -> float:
        """The length of a month, in `unit`."""
        return MONTH_DAYS if self.unit == "days" else 1.0

    @property
    def horizon(self) -> float:
        """Largest time accepted, in `unit`."""
        return self.maximum if self.maximum is not None else (10958.0 if self.unit == "days" else 360.0)

    @property
    def grid_points(self) -> int:
        """Number of steps of the recording grid from 0 to the horizon, both included."""
        return round(self.horizon / self.precision) + 1


class Split(_Table):
    """Takes a part of the sites' patients, drawn inside each site with the site's own secret."""

    fraction: float = Field(gt=0, lt=1, description="Share of the patients that this cohort takes.")
    stratify: Name | None = Field(default=None, description="Binary endpoint whose classes keep their shares.")


class Cohort(_Table):
    """`[[cohorts]]`: which patients of which sites play which role."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")] = Field(description="Name of the cohort.")
    role: Role = Field(description="train, internal-test, calibration, external-test, outcome or genomics.")
    sites: tuple[SiteName, ...] = Field(min_length=1, description="The sites whose patients belong to it.")
    label: str | None = Field(default=None, description="Only patients whose `cohort` column holds this label.")
    split: Split | None = Field(default=None, description="Only a part of them; the rest stays for the other role.")

    @model_validator(mode="after")
    def _coherent(self) -> Cohort:
        if len(set(self.sites)) != len(self.sites):
            raise ValueError("a site is named twice")
        if self.split is not None and self.role not in ("internal-test", "calibration"):
            raise ValueError("only internal-test and calibration cohorts are split off")
        return self


class Model(_Table):
    """`[[models]]`: a logistic regression."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(description="Name of the model.")
    label: str = Field(default="", description="How reports print it.")
    endpoint: Name = Field(description="A binary endpoint.")
    cohort: str = Field(description="The cohort it is trained in; its role is train.")
    predictors: tuple[Term, ...] = Field(min_length=1, description="Names, or tables {variable, coding, cutoff}.")
    features: FeatureSet | None = Field(default=None, description="Features of images, added to the predictors.")
    reduction: Reduction | None = Field(
        default=None, description="Absent: a logistic regression on all predictors. Else they are reduced to a score."
    )
    fixed: Fixed | None = Field(default=None, description="Absent: the model is fitted. Else this is its formula.")
    harmonise: Harmonisation | None = Field(
        default=None, description="How its features are harmonised between hospitals, if they are."
    )
    optimism: Annotated[int, Field(ge=0, le=200)] = Field(
        default=0,
        description="Bootstrap sets on which the model is developed anew; 0 for none. Scores among its predictors are "
        "out-of-fold ones, and stay; so do harmonisation and what fills missing values.",
    )
    missing: Literal["complete-case", "mean", "median", "chained"] = Field(
        default="complete-case",
        description="Patients with a missing predictor are left out, or it is replaced by the mean or the guarded "
        "median of the training cohort (of a binary column by the mean), or by chained regressions on the others.",
    )
    timing: Literal["preoperative", "postoperative"] = Field(
        default="preoperative", description="A preoperative model refuses pathological and follow-up variables."
    )
    evaluate: tuple[str, ...] = Field(default=(), description="Cohorts in which it is evaluated, besides its own.")

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name


class Comparison(_Table):
    """`[[comparisons]]`: survival by groups that are fixed before any endpoint is opened."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(description="Name of the comparison.")
    endpoint: Name = Field(description="A survival endpoint.")
    group: ColumnName = Field(
        description="A binary or ordinal endpoint, a binary or categorical variable, or `score.` and the name of a "
        "model or network: below and from its frozen cut-off on."
    )
    cohort: str = Field(description="The cohort compared.")
    times: tuple[float, ...] = Field(
        default=(), description="Times at which survival is reported, in the endpoint's unit."
    )
    horizon: float | None = Field(
        default=None, gt=0, description="In the endpoint's unit: whoever is followed longer is censored at it, as for "
        "early recurrence."
    )  # fmt: skip
    cox: tuple[Term, ...] | None = Field(
        default=None,
        description="Absent: none. Else a Cox regression, stratified by site, of two groups alone, and with these "
        "preoperative covariates where there are some; written as `predictors` of [[models]].",
    )


class Analysis(_Table):
    """`[[analyses]]`: one more statistic over a cohort. A site answers what its study declares, and nothing else."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(description="Name of the analysis.")
    label: str = Field(default="", description="How reports print it.")
    statistic: StatisticName = Field(description="Which statistic; see the table of analyses.")
    cohort: str = Field(
        description="On predictors or a group: a cohort with the role train. On models: one they are evaluated in."
    )
    endpoint: Name | None = Field(default=None, description="An endpoint of the kind that the statistic needs.")
    predictors: tuple[Term, ...] = Field(default=(), description="As in [[models]], for a statistic on predictors.")
    models: tuple[str, ...] = Field(
        default=(),
        description="Names of [[models]], for a statistic on their scores; compare-areas takes [[choices]] and "
        "[[networks]], too.",
    )
    group: Name | None = Field(
        default=None, description="As in [[comparisons]], for a statistic by group; some describe all patients without."
    )
    times: tuple[float, ...] = Field(
        default=(),
        description="In the endpoint's unit. restricted-mean and follow-up: the one horizon; competing-risks: times "
        "at which incidences are reported.",
    )
    within_site: bool = Field(
        default=True,
        description="Compare patients with those of their own hospital only, where the statistic can do either.",
    )

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name


class Limits(_Table):
    """`[limits]`: disclosure limits; at each site the stricter of these and the site's policy applies."""

    min_patients: int = Field(default=20, ge=5, description="Fewest patients of a cohort at a site.")
    min_class: int = Field(default=5, ge=3, description="Fewest patients in each class of an endpoint at a site.")
    min_cell: int = Field(default=5, ge=3, description="Smallest published count; smaller ones are shown as '<'.")
    min_sites: int = Field(default=3, ge=3, description="Fewest sites in a sum.")
    max_parameters: float = Field(default=0.33, gt=0, le=0.33, description="Most parameters, as a share of patients.")
    min_test_class: int = Field(default=10, ge=5, description="Fewest patients per class for a published AUC.")


class Study(_Table):
    """A whole study protocol."""

    study: StudyHead
    endpoints: tuple[Endpoint, ...] = Field(min_length=1)
    variables: tuple[Variable, ...] = ()
    eligibility: Eligibility = Eligibility()
    cohorts: tuple[Cohort, ...] = Field(min_length=1)
    models: tuple[Model, ...] = ()
    choices: tuple[Choice, ...] = ()
    networks: tuple[Network, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    analyses: tuple[Analysis, ...] = ()
    characteristics: Characteristics | None = None
    subgroups: tuple[Subgroups, ...] = ()
    shift: Shift | None = None
    recalibrations: tuple[Recalibration, ...] = ()
    genomics: Genomics | None = None
    limits: Limits = Limits()
    federation: Federation = Federation()
    preparation: Preparation | None = None
    reporting: Reporting = Reporting()

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, data: Any) -> Any:
        return expand_predictors(data)

    @model_validator(mode="after")
    def _in_plain_words(self) -> Study:
        """A hospital approves by what it reads."""
        strange = strange_text(self.model_dump())
        if strange is not None:
            raise ValueError(f"a character that cannot be printed, in {strange!r}")
        return self

    def variable(self, name: str) -> Variable:
        """The variable of that name; a study's own definition goes before the dictionary's."""
        if name in self._own:
            return self._own[name]
        if is_score(name):
            return score_variable(name, self._titles.get(name.removeprefix(SCORE), ""))
        if self.preparation is not None and self.preparation.has_feature(name):
            return feature_variable(name)
        return DICTIONARY[name]

    @cached_property
    def _own(self) -> dict[str, Variable]:
        return {variable.name: variable for variable in self.variables}

    @cached_property
    def worked_out(self) -> dict[Any, Any]:
        """What follows from the protocol and is needed for every question; whoever works it out first leaves it."""
        return {}

    @cached_property
    def _titles(self) -> dict[str, str]:
        """Of everything that has a score."""
        parts: tuple[Model | Network | Choice, ...] = (*self.models, *self.networks, *self.choices)
        return {part.name: part.title for part in parts}

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name."""
        return next(e for e in self.endpoints if e.name == name)

    def cohort(self, name: str) -> Cohort:
        """The cohort of that name."""
        return next(c for c in self.cohorts if c.name == name)

    @property
    def on_predictors(self) -> tuple[Model | Analysis | Shift, ...]:
        """Every part that may have `predictors`."""
        return (*self.models, *self.analyses, *(() if self.shift is None else (self.shift,)))

    @property
    def closed_roles(self) -> frozenset[Role]:
        """Roles whose endpoints stay closed until the models are frozen; those of calibration cohorts where
        recalibrations are fitted to them."""
        return CLOSED_ROLES | ({"calibration"} if self.recalibrations else set())

    def sites(self) -> tuple[str, ...]:
        """All sites of all cohorts, sorted."""
        return tuple(sorted({site for cohort in self.cohorts for site in cohort.sites}))

    def variable_names(self) -> tuple[str, ...]:
        """Variables that some part of the study uses, and what is told of the acquisition of images; sorted."""
        used = {term.variable for part in self.on_predictors for term in part.predictors}
        used |= {term.variable for part in self.comparisons for term in part.cox or ()}
        endpoints = {e.name for e in self.endpoints}
        groups = {c.group for c in self.comparisons} | {a.group for a in self.analyses if a.group is not None}
        used |= {name for model in self.models if model.harmonise is not None for name in model.harmonise.covariates}
        used |= {division.variable for part in self.subgroups for division in part.by}
        used |= set(self.characteristics.variables) if self.characteristics is not None else set()
        expressed = self.genomics.comparisons if self.genomics is not None else ()
        used |= {name for part in expressed for name in part.covariates}
        used |= (groups | {part.group for part in expressed}) - endpoints
        used |= set(acquisition_facts(self.preparation))
        return tuple(sorted(name for name in used if not is_score(name)))

    def features(self) -> tuple[str, ...]:
        """Those of `variable_names` that are computed from images, sorted."""
        return tuple(name for name in self.variable_names() if FEATURE.fullmatch(name))

    @staticmethod
    def is_read_twice(model: Model) -> bool:
        """Whether the reduction of a model asks how well both readers agree."""
        return model.reduction is not None and model.reduction.icc is not None

    def read_twice(self) -> tuple[str, ...]:
        """Those of `features` of which the second reader's values are used too, sorted."""
        used = {term.variable for model in self.models if self.is_read_twice(model) for term in model.predictors}
        return tuple(name for name in self.features() if name in used)

    def traits_read_twice(self) -> tuple[str, ...]:
        """Those of `variable_names` of which two readers' agreement is asked, sorted."""
        asked = (a for a in self.analyses if a.statistic == "reader-kappa")
        return tuple(sorted({term.variable for analysis in asked for term in analysis.predictors}))

    def exclusions(self) -> tuple[str, ...]:
        """Names of all reasons for which a patient in the table may not be eligible, in order."""
        return (*(name for name, _ in self.eligibility.rules()), *((IMAGES,) if self.preparation else ()))
