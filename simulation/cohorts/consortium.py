"""simulation/cohorts: what a consortium file declares: hospitals, margins, signal, flaws, images, expression.

A consortium file holds everything that decides how simulated hospitals come out, but for the seed: which patients
each hospital has, which published margins they follow, how strongly microvascular invasion shows and where, how each
scanner sees it, and what is wrong with the data. Whatever is not taken from a publication is marked `assumed` or
cites a source of its own; both are printed beside the sites.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.errors import FedmviError
from common.study.declarations import as_tuples, toml_problems
from common.study.readings import second_column
from simulation.cohorts.gene_sets import GLUCOSE_METABOLISM
from simulation.cohorts.published import MARGINS
from simulation.shipped import shipped_consortia

CT_PHASES = ("plain", "arterial", "portal", "delayed")
MR_PHASES = ("t1", "t1a", "t1v", "t1d", "t2", "dwi")
_OTHER_COLUMNS = (
    "patient_id", "cohort", "mvi", "mvi_grade", "tumour_size", "tumour_size_imaging", "tumour_size_pathology",
    "macrovascular_invasion", "prior_treatment", "imaging_to_surgery_days", "sex_female", "image_tumour", "image_ring",
    "image_temporal",
)  # fmt: skip
Preset = Literal["rates", "medians"]
ImageFormat = Literal["nifti", "dicom"]
MaskFormat = Literal["nifti", "seg", "rtstruct"]
ENDPOINTS = ("rfs", "dfs", "os")
SiteName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e4)]
VisitMonths = Annotated[float, Field(ge=0.25)]
NonNegative = Annotated[float, Field(ge=0, le=1e4)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Group(_Declared):
    """Patients of one hospital that belong together, such as those of one year or one role."""

    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = Field(
        default="", description="Free label in the column `cohort`; empty where there is none."
    )
    patients: int = Field(gt=0, le=100_000, description="Number of patients.")
    present: int | None = Field(
        default=None, ge=0, description="Patients with MVI; where absent, drawn at the consortium's prevalence."
    )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.present is not None and self.present > self.patients:
            raise ValueError("more patients with MVI than patients")
        return self


class Scanner(_Declared):
    """How one hospital's scanner sees a patient. CT uses the HU fields, MR the coil fields."""

    vendor: str = Field(
        default="FedMVI simulation", max_length=64, description="Who made it, as DICOM's Manufacturer says it."
    )
    kilovolt: Positive = Field(default=120.0, description="CT: tube voltage that headers name; voxels do not show it.")
    tesla: Positive = Field(default=3.0, description="MR: field strength that headers name; voxels do not show it.")
    spacing_mm: Positive = Field(default=1.9, description="Width of a pixel.")
    slice_mm: Positive = Field(default=4.0, description="Thickness of, and distance between, slices.")
    kernel_mm: NonNegative = Field(default=2.2, description="Full width at half maximum of the in-plane blur.")
    noise_hu: NonNegative = Field(default=10.0, description="CT: standard deviation of the noise.")
    bias_hu: float = Field(default=0.0, description="CT: constant error of the calibration.")
    noise_share: NonNegative = Field(default=0.03, description="MR: noise as a share of the liver's signal.")
    coil_bias: NonNegative = Field(default=0.25, description="MR: strength of the coil's bias field.")
    gain: Positive = Field(default=1.0, description="MR: factor on every signal.")
    arterial_s: Positive = Field(default=37.0, description="Start of the arterial phase after injection, mean.")
    portal_s: Positive = Field(default=70.0, description="Start of the portal venous phase, mean.")
    delayed_s: Positive = Field(default=180.0, description="Start of the delayed phase, mean.")
    timing_s: NonNegative = Field(default=3.0, description="Standard deviation of those starts between patients.")


class Site(_Declared):
    """One hospital."""

    name: SiteName = Field(description="Name in studies, of small letters, digits and hyphens; no other site has it.")
    groups: tuple[Group, ...] = Field(min_length=1, description="Its patients, group by group.")
    scanner: Scanner = Field(default=Scanner(), description="How it pictures patients.")
    signal: NonNegative = Field(
        default=1.0,
        description="Factor on the processes by which MVI shows in images: 1 as declared, 0 none at this hospital. "
        "Findings such as traits and tumour size are not touched.",
    )
    images: ImageFormat | None = Field(default=None, description="As this hospital exports them, if not as all do.")
    masks: MaskFormat | None = Field(default=None, description="As this hospital draws them, if not as all do.")
    flaws: tuple[str, ...] = Field(default=(), description="Names of deliberate faults in this hospital's data.")
    min_patients: int | None = Field(
        default=None,
        ge=5,
        description="Fewest patients of a cohort here, as its policy says; where absent, it says nothing.",
    )

    @property
    def patients(self) -> int:
        """Patients of all groups."""
        return sum(group.patients for group in self.groups)


class Trait(_Declared):
    """A clinical-radiological trait: how often it is seen without MVI, and the odds ratio of MVI."""

    absent: Share = Field(description="Share of patients without MVI who show it.")
    odds_ratio: float = Field(gt=0, le=1000, description="Odds of the trait with MVI over those without.")
    source: str = Field(default="", description="Publication that the odds ratio comes from.")
    assumed: bool = Field(default=False, description="True where no publication is cited.")
    second_reader: float | None = Field(
        default=None, gt=0, lt=1, description="Cohen's kappa of a second reader of all patients; absent: read once."
    )

    @model_validator(mode="after")
    def _stated(self) -> Self:
        if bool(self.source) == self.assumed:
            raise ValueError("a trait either cites its source or is marked assumed = true")
        return self


class Quartiles(_Declared):
    """Lower quartile, median and upper quartile."""

    lower: Positive = Field(description="A quarter of the patients lie below.")
    median: Positive = Field(description="Half of them lie below.")
    upper: Positive = Field(description="Three quarters of them lie below.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.lower < self.median < self.upper:
            raise ValueError("quartiles must rise")
        return self


class Clinical(_Declared):
    """Clinical margins: those of the MRI study's Table 1, but for what is stated here."""

    prevalence: Share = Field(default=185 / 321, description="Share of patients with MVI; 185 of 321 by default.")
    second_grade: Share = Field(default=0.35, description="Share of M2 among patients with MVI; assumed.")
    male: Share | None = Field(default=None, description="Share of men, whatever the MVI; Table 1 by MVI if absent.")
    age: Quartiles | None = Field(default=None, description="Age in years, whatever the MVI; Table 1 if absent.")
    size_absent: Quartiles = Field(
        default=Quartiles(lower=3.0, median=4.0, upper=6.0), description="Tumour size in cm without MVI."
    )
    size_present: Quartiles = Field(
        default=Quartiles(lower=4.5, median=6.3, upper=9.25), description="Tumour size in cm with MVI."
    )
    centre_effect: NonNegative = Field(
        default=0.2, lt=1, description="Standard deviation of a hospital's shift of each variable's normal score."
    )
    ineligible: NonNegative = Field(
        default=0.02, lt=0.5, description="Share with macrovascular invasion, and share with earlier treatment."
    )
    traits: dict[str, Trait] = Field(default_factory=dict, description="Clinical-radiological traits by column name.")

    @model_validator(mode="after")
    def _traits_are_columns_of_their_own(self) -> Self:
        for name in self.traits:
            taken = name in {*MARGINS, *_OTHER_COLUMNS} or name.endswith(("_days", "_event", second_column("")))
            if taken or not re.fullmatch("[a-z][a-z0-9_]{0,63}", name):
                raise ValueError(f"'{name}' cannot be a trait: it is another column, or no column name")
        return self


class Survival(_Declared):
    """Follow-up: one of two presets, because the published figures contradict each other."""

    preset: Preset = Field(default="rates", description="Which published figures are met: rates, or median times.")
    endpoints: tuple[str, ...] = Field(default=("rfs", "os"), description="`pfs` is taken as `rfs`, with a warning.")
    loss_per_month: NonNegative = Field(default=0.0, description="Hazard of being lost to follow-up; `medians` only.")
    follow_up_months: Positive = Field(default=60.0, description="Administrative end of follow-up.")
    visits_months: tuple[VisitMonths, VisitMonths] | None = Field(
        default=(2.0, 3.0), description="Shortest and longest time between visits; absent: recurrence is seen at once."
    )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        unknown = set(self.endpoints) - {*ENDPOINTS, "pfs"}
        if unknown:
            raise ValueError(
                f"unknown endpoints {', '.join(sorted(unknown))}: there are {', '.join(ENDPOINTS)} and pfs"
            )
        if self.preset == "rates" and self.loss_per_month:
            raise ValueError("the published rates are those of a complete follow-up: loss_per_month must be 0")
        if self.visits_months and self.visits_months[0] > self.visits_months[1]:
            raise ValueError("the shortest time between visits comes first")
        if self.visits_months and self.visits_months[1] > 12:
            raise ValueError("with visits more than 12 months apart the published medians are not met")
        return self


class Missing(_Declared):
    """Values that are not recorded, by mechanism."""

    mcar: NonNegative = Field(default=0.0, lt=1, description="Share missing completely at random, in `mcar_columns`.")
    mcar_columns: tuple[str, ...] = Field(default=(), description="Columns that miss values completely at random.")
    mar_young: NonNegative = Field(default=0.0, lt=1, description="Share missing up to the age of 60.")
    mar_old: NonNegative = Field(default=0.0, lt=1, description="Share missing above the age of 60.")
    mar_columns: tuple[str, ...] = Field(default=(), description="Columns that miss values by age.")
    mnar: NonNegative = Field(
        default=0.0,
        lt=1,
        description="Share missing on average; a value one SD higher is twice as likely to be absent.",
    )
    mnar_columns: tuple[str, ...] = Field(default=(), description="Columns that miss values by their value.")
    typing_errors: NonNegative = Field(
        default=0.0, lt=0.2, description="Share of numeric cells with a typing error (a shifted or doubled digit)."
    )

    @model_validator(mode="after")
    def _shares_have_columns(self) -> Self:
        declared = {
            "mcar": (self.mcar, self.mcar_columns),
            "mar": (max(self.mar_young, self.mar_old), self.mar_columns),
            "mnar": (self.mnar, self.mnar_columns),
        }
        for name, (share, columns) in declared.items():
            if bool(share) != bool(columns):
                raise ValueError(f"{name}: a share and its columns are declared together")
        return self


class Signal(_Declared):
    """Standardised differences (Cohen's d) of the latent processes between patients with and without MVI."""

    tumour: NonNegative = Field(default=0.6, description="Heterogeneity and necrosis inside the tumour.")
    ring: NonNegative = Field(default=0.6, description="Texture and hyperperfusion in the 10 mm around it.")
    temporal: NonNegative = Field(default=0.6, description="Washout: differences between phases only.")


class Imaging(_Declared):
    """The images of every patient."""

    modality: Literal["ct", "mr"] = Field(default="ct", description="CT, or MR.")
    phases: tuple[str, ...] = Field(default=(), description="All of the modality's where empty.")
    images: ImageFormat = Field(default="nifti", description="Format of images.")
    masks: MaskFormat = Field(default="nifti", description="Format of masks; seg and rtstruct need DICOM images.")
    matrix: int = Field(default=192, ge=48, le=512, description="Pixels along a row and along a column.")
    slices: int = Field(default=64, ge=12, le=512, description="Slices of a volume.")
    readers: int = Field(default=1, ge=1, le=2, description="Readers who outline the tumour.")
    reader_disagreement_mm: NonNegative = Field(default=1.5, description="SD of the distance between two outlines.")
    motion_mm: NonNegative = Field(default=9.0, description="SD of the liver's head-foot shift between phases.")
    liver_mask: str = Field(default="", description="A NIfTI label map; its liver shape is used in place of ours.")
    liver_label: int = Field(default=5, gt=0, description="The liver's label in that map.")
    signal: Signal = Field(default=Signal(), description="How strongly MVI shows, and where.")

    @model_validator(mode="after")
    def _known_phases(self) -> Self:
        known = CT_PHASES if self.modality == "ct" else MR_PHASES
        if not set(self.phases) <= set(known):
            raise ValueError(f"phases of {self.modality} are {', '.join(known)}")
        return self

    @property
    def acquired(self) -> tuple[str, ...]:
        """The phases in the order of acquisition."""
        known = CT_PHASES if self.modality == "ct" else MR_PHASES
        return tuple(p for p in known if not self.phases or p in self.phases)

    @property
    def reference(self) -> str:
        """The phase on which the tumour is outlined: portal venous, or the first there is."""
        wanted = "portal" if self.modality == "ct" else "t1v"
        return wanted if wanted in self.acquired else self.acquired[0]


class Expression(_Declared):
    """RNA-seq counts of the groups with these labels."""

    labels: tuple[str, ...] = Field(default=(), description="Groups that are sequenced; all where empty.")
    genes: int = Field(default=2000, ge=200, le=30000, description="Genes in the table.")
    associated: int = Field(
        default=30,
        ge=0,
        le=len(GLUCOSE_METABOLISM),
        description="Genes of the glucose metabolism set that differ with MVI.",
    )
    log2_fold_change: float = Field(default=1.0, description="Size of their change; half go up, half down.")
    dispersion: Positive = Field(default=0.2, description="Median negative binomial dispersion.")
    library_size: float = Field(default=2e7, gt=0, le=1e9, description="Median of total counts.")
    site_effect: NonNegative = Field(default=0.3, description="SD of a site's effect on a gene, natural log.")


class Consortium(_Declared):
    """A consortium file, read and checked."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")] = Field(description="Short name, as in file names.")
    title: str = Field(description="Title, printed with every result.")
    sources: tuple[str, ...] = Field(default=(), description="Publications whose figures are followed.")
    assumptions: tuple[str, ...] = Field(default=(), description="What is in no source, in sentences.")
    sites: tuple[Site, ...] = Field(min_length=1, description="The hospitals.")
    clinical: Clinical = Field(default=Clinical(), description="Clinical margins and traits.")
    survival: Survival = Field(default=Survival(), description="Follow-up.")
    missing: Missing = Field(default=Missing(), description="What is not recorded, or mistyped.")
    imaging: Imaging | None = Field(default=None, description="Images; none where absent.")
    expression: Expression | None = Field(default=None, description="RNA-seq counts; none where absent.")

    def formats(self, site: Site) -> tuple[ImageFormat, MaskFormat]:
        """How a hospital's images and masks are written; NIfTI where nobody has any."""
        every = self.imaging or Imaging()
        return site.images or every.images, site.masks or every.masks

    @model_validator(mode="after")
    def _masks_refer_to_images(self) -> Self:
        for site in self.sites:
            images, masks = self.formats(site)
            if images == "nifti" and masks != "nifti":
                raise ValueError(f"{site.name}: masks as {masks} refer to a DICOM series: images = 'dicom'")
        return self

    @model_validator(mode="after")
    def _sites_differ(self) -> Self:
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise ValueError("two sites have one name")
        if "truth" in names:
            raise ValueError("a site cannot be called 'truth': the truth about all sites lies in a folder of that name")
        return self

    @model_validator(mode="after")
    def _nothing_is_declared_in_vain(self) -> Self:
        labels = {group.label for site in self.sites for group in site.groups}
        unknown = set(self.expression.labels) - labels if self.expression else set()
        if unknown:
            raise ValueError(f"expression.labels: no group is called {', '.join(sorted(unknown))}")
        for site in self.sites:
            if self.imaging is None and (site.images or site.masks):
                raise ValueError(f"{site.name}: images and masks need [imaging]")
        return self

    def with_patients(self, patients: dict[str, int]) -> Consortium:
        """The same consortium with other hospitals of so many patients each, MVI drawn at the prevalence."""
        sites = tuple(Site(name=name, groups=(Group(patients=n),)) for name, n in patients.items())
        return self.model_copy(update={"sites": sites})


def load_consortium(which: str | Path) -> Consortium:
    """Read a consortium file, or a shipped one by its name.

    Raises
    ------
    FedmviError
        808 where there is none of that name, 809 where it is not a valid one; every problem is listed.
    """
    path = Path(which)
    if not path.is_file():
        name = path.name.removesuffix(".toml")
        if name not in shipped_consortia() or len(path.parts) > 1:
            raise FedmviError(808, name=str(which), known=", ".join(shipped_consortia()))
        path = Path(str(resources.files("simulation") / "consortia" / f"{name}.toml"))
    try:
        text = path.read_text(encoding="utf-8")
        declared = Consortium.model_validate(as_tuples(tomllib.loads(text)))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FedmviError(809, str(path), problems=str(error)) from error
    except ValidationError as error:
        raise FedmviError(809, str(path), problems="; ".join(toml_problems(error, text, Consortium))) from error
    if declared.imaging is not None and declared.imaging.liver_mask:
        # A relative path counts from the file that it stands in.
        mask = str(path.parent / declared.imaging.liver_mask)
        declared = declared.model_copy(update={"imaging": declared.imaging.model_copy(update={"liver_mask": mask})})
    return declared
