"""common/study: the dictionary of clinical variables: names, units, aliases, cut-offs, and when each is known.

Cut-offs are those of the two studies that FedMVI reproduces (World J Surg Oncol 2022, Table 1, for the
laboratory values). Plausible ranges are public bounds, wide enough for any living patient, and serve two ends:
typing errors and wrong units are found, and no site ever has to send its own minimum or maximum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from common.study.acquisition import LABELS, LEVELS

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A declared name: lower case, digits and underscores, as in `imaging_to_surgery_days`."""

_COLUMN = re.compile(
    r"[a-z][a-z0-9_]{0,63}|score\.[a-z0-9][a-z0-9_-]{0,63}|"
    r"[a-z0-9-]{1,64}\.[a-z0-9-]{1,32}\.[A-Za-z0-9-]{1,32}_[a-z]+_[A-Za-z0-9]+"
)


def _spelt(name: str) -> str:
    if not _COLUMN.fullmatch(name):
        form = "write <image>.<region>.<filter>_<class>_<name>, as in portal.tumour.original_glcm_Contrast"
        plain = "write small letters, digits and underscores, as in tumour_size"
        what = f"not the name of a feature: {form}" if "." in name else f"not the name of a column: {plain}"
        what = "not a score: write score.<name of a model or network>" if name.startswith("score.") else what
        raise ValueError(f"{name!r} is {what}")
    return name


ColumnName = Annotated[str, AfterValidator(_spelt)]
"""A declared name, or the name of a feature of images, see `features`."""

Known = Literal["preoperative", "pathological", "follow-up"]
Kind = Literal["continuous", "binary", "categorical"]


YES_NO = ("no", "yes")
"""The levels of a binary variable that declares none, and the only ones for which 1 or true has one meaning."""


class Variable(BaseModel):
    """A clinical variable: what a column of the site's table means.

    `known` says when its value exists: a preoperative model refuses what only pathology or follow-up tells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: ColumnName = Field(description="Canonical column name, or the name of a feature of images.")
    label: str = Field(default="", description="How reports print it.")
    kind: Kind = Field(description="continuous, binary or categorical.")
    known: Known = Field(description="When the value is known: preoperative, pathological or follow-up.")
    unit: str = Field(default="", description="Canonical unit of a continuous variable.")
    units: dict[str, float] = Field(
        default_factory=dict, description="Other accepted units, each with the factor that converts to `unit`."
    )
    low: float | None = Field(default=None, description="Lowest plausible value, in `unit`.")
    high: float | None = Field(default=None, description="Highest plausible value, in `unit`.")
    cutoff: float | None = Field(
        default=None, description="Cut-off for the coding `above`: 1 where the value is greater."
    )
    levels: tuple[str, ...] = Field(default=(), description="Levels; the first is the reference.")
    aliases: tuple[str, ...] = Field(default=(), description="Other headers under which the column is found.")
    leaks: str = Field(default="", description="Why the variable is defined by the outcome, if it is.")

    @model_validator(mode="after")
    def _coherent(self) -> Variable:
        if self.kind == "continuous" and self.levels:
            raise ValueError("a continuous variable has no levels")
        if self.kind == "categorical" and len(self.levels) < 2:
            raise ValueError("a categorical variable needs at least two levels")
        if self.kind == "binary" and len(self.levels) not in (0, 2):
            raise ValueError("a binary variable has two levels: the reference first")
        if self.cutoff is not None and self.kind != "continuous":
            raise ValueError("only a continuous variable has a cut-off")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    @property
    def level_names(self) -> tuple[str, ...]:
        """The levels; no and yes for a binary variable that declares none, nothing for a continuous one."""
        return () if self.kind == "continuous" else self.levels or YES_NO

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name


def _lab(
    name: str,
    label: str,
    unit: str,
    cutoff: float | None,
    bounds: tuple[float, float],
    aliases: tuple[str, ...] = (),
    units: Mapping[str, float] = MappingProxyType({}),
) -> Variable:
    return Variable(
        name=name,
        label=label,
        kind="continuous",
        known="preoperative",
        unit=unit,
        units=dict(units),
        low=bounds[0],
        high=bounds[1],
        cutoff=cutoff,
        aliases=aliases,
    )


def _binary(
    name: str, label: str, known: Known = "preoperative", aliases: tuple[str, ...] = (), leaks: str = ""
) -> Variable:
    return Variable(name=name, label=label, kind="binary", known=known, levels=YES_NO, aliases=aliases, leaks=leaks)


def _levels(
    name: str, label: str, levels: tuple[str, ...], known: Known, leaks: str = "", aliases: tuple[str, ...] = ()
) -> Variable:
    return Variable(
        name=name, label=label, kind="categorical", known=known, levels=levels, leaks=leaks, aliases=aliases
    )


_VARIABLES = (
    _lab("age", "Age", "years", 50, (0, 120), ("age_years", "alter")),
    Variable(
        name="sex", label="Sex", kind="binary", known="preoperative", levels=("female", "male"), aliases=("gender",)
    ),
    _lab("height", "Height", "cm", None, (100, 230), units={"m": 100.0}),
    _lab("weight", "Weight", "kg", None, (25, 300)),
    # 1 IU/mL of alpha-fetoprotein is about 1.21 ng/mL (WHO standard 72/225).
    _lab("afp", "AFP", "ng/mL", 20, (0, 5e6), ("alpha_fetoprotein",), {"ug/L": 1.0, "IU/mL": 1.21, "kU/L": 1.21}),
    _lab("alt", "ALT", "U/L", 40, (0, 10000), ("gpt", "alat"), {"IU/L": 1.0}),
    _lab("ast", "AST", "U/L", 40, (0, 10000), ("got", "asat"), {"IU/L": 1.0}),
    _lab("ggt", "GGT", "U/L", 50, (0, 10000), ("gamma_gt",), {"IU/L": 1.0}),
    # molar mass of bilirubin 584.66 g/mol: 1 mg/dL = 17.104 umol/L
    _lab("total_bilirubin", "Total bilirubin", "umol/L", 19, (0.5, 1000), ("tb", "tbil"), {"mg/dL": 17.104}),
    _lab("conjugated_bilirubin", "Conjugated bilirubin", "umol/L", 6.8, (0, 800), ("cb", "dbil"), {"mg/dL": 17.104}),
    _lab("albumin", "Albumin", "g/L", 40, (10, 70), ("alb",), {"g/dL": 10.0}),
    _lab("platelets", "Platelets", "1e9/L", 100, (2, 1500), ("plt",), {"1e3/uL": 1.0, "/uL": 1e-3}),
    _lab("inr", "INR", "", 1.0, (0.5, 20), ("international_normalised_ratio",)),
    _lab("prothrombin_time", "Prothrombin time", "s", 12, (6, 150), ("pt",)),
    # molar mass of creatinine 113.12 g/mol: 1 mg/dL = 88.40 umol/L
    _lab("creatinine", "Creatinine", "umol/L", None, (10, 2500), ("crea",), {"mg/dL": 88.40}),
    _binary("ascites", "Ascites"),
    _binary("hepatitis_virus", "Viral hepatitis", aliases=("hepatitis",)),
    _binary("hbv", "Hepatitis B", aliases=("hbsag",)),
    _binary("hcv", "Hepatitis C"),
    _binary("alcohol", "Alcohol-related liver disease"),
    _binary("cirrhosis", "Cirrhosis"),
    _levels("child_pugh", "Child-Pugh class", ("A", "B", "C"), "preoperative"),
    _levels("ecog", "ECOG performance status", ("0", "1", "2", "3", "4"), "preoperative"),
    _binary("multiple_tumours", "Multiple tumours"),
    _lab("tumour_size_imaging", "Tumour size on imaging", "cm", 5, (0.2, 40), units={"mm": 0.1}),
    _binary("tumour_margin_smooth", "Smooth tumour margin on imaging"),
    _binary("imaging_capsule", "Capsule on imaging"),
    _binary("arterial_rim_enhancement", "Arterial rim enhancement"),
    _binary("arterial_peritumoral_enhancement", "Arterial peritumoral enhancement"),
    _binary("internal_arteries", "Internal arteries"),
    _binary("satellite_nodules", "Satellite nodules on imaging"),
    _binary("mosaic_architecture", "Mosaic architecture"),
    Variable(
        name="tumour_size_pathology", label="Tumour size at surgery", kind="continuous", known="pathological",
        unit="cm", units={"mm": 0.1}, low=0.1, high=40, cutoff=5,
    ),
    _levels("edmondson", "Edmondson-Steiner grade", ("I", "II", "III", "IV"), "pathological"),
    _levels("histologic_grade", "Histologic grade", ("G1", "G2", "G3", "G4"), "pathological"),
    _levels("ishak", "Ishak fibrosis group", ("0", "1-2", "3-4", "5", "6"), "pathological"),
    _binary("pathological_capsule", "Complete capsule at pathology", "pathological"),
    _levels("resection_margin", "Resection margin", ("R0", "R1", "R2"), "pathological"),
    _levels("ajcc_stage", "AJCC stage", ("I", "II", "III", "IV"), "pathological",
            leaks="the AJCC T category, and with it the stage, is defined by vascular invasion"),
    _levels("ajcc_t", "AJCC T category", ("T1", "T2", "T3", "T4"), "pathological",
            leaks="the AJCC T category is defined by vascular invasion"),
    _levels("vascular_invasion", "Vascular invasion", ("None", "Micro", "Macro"), "pathological",
            leaks="it is the outcome of a study of microvascular invasion", aliases=("mvi",)),
    _levels("mvi_grade", "Grade of microvascular invasion", ("M0", "M1", "M2"), "pathological",
            leaks="it is the outcome of a study of microvascular invasion"),
    _binary("macrovascular_invasion", "Macrovascular invasion", "preoperative"),
    _binary("recurrence", "Recurrence", "follow-up"),
    _binary("adjuvant_treatment", "Adjuvant treatment", "follow-up"),
    # Read from the headers of images where a study has them.
    *(_levels(name, LABELS[name], levels, "preoperative") for name, levels in LEVELS.items()),
)  # fmt: skip

DICTIONARY: Mapping[str, Variable] = MappingProxyType({v.name: v for v in _VARIABLES})
"""All variables that need no declaration in a study, by canonical name."""
