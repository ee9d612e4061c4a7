"""simulation: synthetic hospitals with clinical tables whose margins by MVI are those of a published cohort.

**Everything written here is simulated.** No row is, or was made from, a patient.

*Published* (World J Surg Oncol 2022, Table 1; 136 patients without and 185 with MVI): the share of patients above
each cut-off or with each finding, and the median and quartiles of tumour size (`MARGINS`, `SIZE`); with MVI, median
recurrence-free survival of 32.5 and overall survival of 54.7 months (`MEDIAN_MONTHS`). Continuous values are
log-normal (age: normal), placed so that the share above the cut-off is the published one.

*Assumed* (in no source): the spread of each log-normal; the correlations ALT-AST, total-conjugated bilirubin and
INR-prothrombin time; odds ratios of the imaging traits (`TRAITS`); hazard ratios of MVI (`HAZARD_RATIO`); centre
effects; missingness; loss to follow-up; the few ineligible patients. `ASSUMED` says so in words and is written
beside the sites.

A centre effect shifts a variable's latent normal score by a normal amount per hospital, and the patient's own part
is shrunk so that the total variance stays 1: over hospitals, the expected share is exactly the published one.
Values are recorded on a grid by rounding up, which never moves a value across a cut-off that lies on the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from simulation.importers.folder import ImportReport, SiteRows, refuse_filled, write_sites
from simulation.importers.source import decimal

NAME = "synthetic-hospitals"
HOSPITALS: Mapping[str, int] = MappingProxyType(
    {"hospital-a": 260, "hospital-b": 200, "hospital-c": 160, "hospital-d": 140, "external-e": 180, "external-f": 120}
)
"""Patients of each hospital: four that train, two that test."""

ABSENT, PRESENT = 136, 185
"""Patients without and with MVI in the published cohort."""


@dataclass(frozen=True)
class Margin:
    """A published dichotomy.

    Attributes
    ----------
    absent, present
        Patients with the finding, or above the cut-off, of the 136 without and the 185 with MVI.
    cutoff
        In the dictionary's unit; None for a finding that is recorded as such.
    spread
        Standard deviation of the logarithm (age: of the value), assumed.
    places
        Decimals recorded.
    """

    absent: int
    present: int
    cutoff: float | None = None
    spread: float = 0.0
    places: int = 0

    def share(self, present: bool) -> float:
        """The published share among patients with (or without) MVI."""
        return self.present / PRESENT if present else self.absent / ABSENT


MARGINS: Mapping[str, Margin] = MappingProxyType(
    {
        "age": Margin(103, 127, 50, 11.0),
        "sex": Margin(21, 27),  # female
        "afp": Margin(52, 125, 20, 2.6, 1),
        "ascites": Margin(6, 14),
        "hepatitis_virus": Margin(103, 141),
        "cirrhosis": Margin(95, 142),
        "alt": Margin(28, 64, 40, 0.5),
        "ast": Margin(25, 70, 40, 0.5),
        "ggt": Margin(63, 107, 50, 0.75),
        "total_bilirubin": Margin(20, 27, 19, 0.4, 1),
        "conjugated_bilirubin": Margin(29, 48, 6.8, 0.5, 1),
        "albumin": Margin(96, 134, 40, 0.11, 1),
        "platelets": Margin(117, 164, 100, 0.4),
        "inr": Margin(52, 89, 1.0, 0.08, 2),
        "prothrombin_time": Margin(31, 49, 12, 0.1, 1),
        "pathological_capsule": Margin(48, 79),  # complete
        "edmondson": Margin(59, 121),  # III or IV
    }
)
"""Table 1 of the MRI study: counts without and with MVI."""

SIZE: Mapping[bool, tuple[float, float, float]] = MappingProxyType({False: (3.0, 4.0, 6.0), True: (4.5, 6.3, 9.25)})
"""Published lower quartile, median and upper quartile of tumour size in cm, without (False) and with MVI (True)."""

TRAITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "tumour_margin_smooth": (0.60, 0.40),
        "imaging_capsule": (0.50, 0.75),
        "arterial_rim_enhancement": (0.15, 3.0),
        "arterial_peritumoral_enhancement": (0.15, 3.5),
        "multiple_tumours": (0.15, 1.8),
    }
)
"""Imaging traits: share without MVI and odds ratio of MVI; both assumed."""

MEDIAN_MONTHS: Mapping[str, float] = MappingProxyType({"rfs": 32.5, "os": 54.7})
"""Published medians with MVI. RFS here counts death as an event, so it is never longer than OS."""

HAZARD_RATIO: Mapping[str, float] = MappingProxyType({"rfs": 2.0, "os": 1.5})
"""With against without MVI; assumed."""

DAYS_PER_MONTH = 30.4375
FOLLOW_UP_DAYS = 1826  # 60 months
_LOSS_PER_MONTH = 0.003
_PARTNERS = {"ast": ("alt", 0.75), "conjugated_bilirubin": ("total_bilirubin", 0.95), "prothrombin_time": ("inr", 0.85)}
_CENTRE = 0.2  # standard deviation of a centre's shift of a latent score
_MCAR = ("afp", "alt", "ast", "albumin", "platelets", "tumour_size_imaging", "arterial_rim_enhancement")
_MAR = ("ggt", "conjugated_bilirubin", "inr")
ASSUMED: tuple[str, ...] = (
    "All patients are simulated.",
    "Assumed, not published: spread and correlation of laboratory values, centre effects, missing values (2 % at "
    "random in seven columns; 3 % up to the age of 60 and 8 % above it in three), loss to follow-up, ineligible "
    "patients.",
    "Assumed: imaging traits, as (share without MVI, odds ratio): "
    + "; ".join(f"{name} {share:g}, {ratio:g}" for name, (share, ratio) in TRAITS.items()),
    f"Assumed: hazard ratios of MVI of {HAZARD_RATIO['rfs']:g} (RFS) and {HAZARD_RATIO['os']:g} (OS).",
)
_HEADER = (
    "patient_id", "mvi", *MARGINS, "tumour_size_imaging", "tumour_size_pathology", *TRAITS,
    "macrovascular_invasion", "prior_treatment", "imaging_to_surgery_days", "rfs_days", "rfs_event", "os_days",
    "os_event",
)  # fmt: skip

_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]
_NORMAL = NormalDist()


def make_hospitals(out: Path, seed: int, hospitals: Mapping[str, int] = HOSPITALS) -> ImportReport:
    """Write synthetic hospitals as site folders, with `cohort.json` beside them; the same seed gives the same bytes.

    Parameters
    ----------
    out
        Folder for the sites; absent or empty.
    seed
        Any non-negative integer.
    hospitals
        Patients by hospital.

    Raises
    ------
    FedmviError
        213 where `out` is not empty.
    """
    refuse_filled(out)
    return write_sites(
        out,
        f"{NAME}/{seed}",
        draw_hospitals(seed, hospitals),
        about="A synthetic hospital: no row is a patient.",
        notes=(f"Seed {seed}.", *ASSUMED),
        record="cohort.json",
    )


def draw_hospitals(seed: int, hospitals: Mapping[str, int] = HOSPITALS) -> tuple[SiteRows, ...]:
    """The tables of `make_hospitals`, in memory; each hospital has its own stream of random numbers."""
    streams = np.random.SeedSequence(seed).spawn(len(hospitals))
    return tuple(
        _hospital(name, n, np.random.default_rng(stream))
        for (name, n), stream in zip(hospitals.items(), streams, strict=True)
    )


def _hospital(name: str, n: int, rng: np.random.Generator) -> SiteRows:
    overall = PRESENT / (ABSENT + PRESENT)
    odds = overall / (1 - overall) * math.exp(0.25 * rng.standard_normal())
    present = rng.random(n) < odds / (1 + odds)
    cells: dict[str, list[str]] = {"patient_id": [f"{name}-{i:03d}" for i in range(1, n + 1)]}
    cells["mvi"] = ["present" if p else "absent" for p in present]
    age = _clinical(cells, present, rng)
    _imaging(cells, present, rng)
    _eligibility(cells, n, rng)
    _survival(cells, present, rng)
    for column in _MCAR:
        _blank(cells, column, rng.random(n) < 0.02)
    for column in _MAR:
        _blank(cells, column, rng.random(n) < np.where(age > 60, 0.08, 0.03))
    _blank(cells, "mvi", rng.random(n) < 0.015)
    classes = {level: cells["mvi"].count(level) for level in ("absent", "present")}
    return SiteRows(name, _HEADER, tuple(zip(*(cells[column] for column in _HEADER), strict=True)), classes=classes)


def _clinical(cells: dict[str, list[str]], present: _Bools, rng: np.random.Generator) -> _Floats:
    """Fill the published variables; returns the ages, on which missingness depends."""
    n = len(present)
    scores: dict[str, _Floats] = {}
    ages = np.zeros(n)
    for name, margin in MARGINS.items():
        score = _score(n, rng)
        if name in _PARTNERS:
            partner, correlation = _PARTNERS[name]
            score = correlation * scores[partner] + math.sqrt(1 - correlation**2) * score
        scores[name] = score
        # P(score > -q) is the published share when q is its normal quantile.
        quantiles = {p: _NORMAL.inv_cdf(margin.share(p)) for p in (False, True)}
        above = score + np.where(present, quantiles[True], quantiles[False])
        if margin.cutoff is None:
            cells[name] = _finding(name, above > 0, rng)
        elif name == "age":
            ages = np.clip(np.ceil(margin.cutoff + margin.spread * above), 18, 95)
            cells[name] = [decimal(float(v), 0) for v in ages]
        else:
            cells[name] = _recorded(margin.cutoff * np.exp(margin.spread * above), margin.places)
    return ages


def _score(n: int, rng: np.random.Generator) -> _Floats:
    """A latent score with a centre effect: normal with variance 1 over centres and patients."""
    shift = _CENTRE * rng.standard_normal()
    return shift + math.sqrt(1 - _CENTRE**2) * rng.standard_normal(n)


def _recorded(values: _Floats, places: int) -> list[str]:
    """Values on the recording grid, rounded up (see the module's text)."""
    steps = np.ceil(values * 10**places)
    return [decimal(float(step) / 10**places, places) for step in steps]


def _finding(name: str, found: _Bools, rng: np.random.Generator) -> list[str]:
    if name == "sex":
        return ["female" if f else "male" for f in found]
    if name == "edmondson":
        minor = rng.random(len(found))
        low = np.where(minor < 0.2, "I", "II")
        high = np.where(minor < 0.85, "III", "IV")
        return [str(grade) for grade in np.where(found, high, low)]
    return ["yes" if f else "no" for f in found]


def _imaging(cells: dict[str, list[str]], present: _Bools, rng: np.random.Generator) -> None:
    n = len(present)
    # For a log-normal, log(Q3 / Q1) is 2 x 0.6745 standard deviations of the logarithm.
    step = 2 * _NORMAL.inv_cdf(0.75)
    spread = {p: math.log(q3 / q1) / step for p, (q1, _, q3) in SIZE.items()}
    centre = np.where(present, math.log(SIZE[True][1]), math.log(SIZE[False][1]))
    log_size = centre + np.where(present, spread[True], spread[False]) * rng.standard_normal(n)
    size = np.clip(np.exp(log_size), 0.5, 30)
    measured = np.clip(size * np.exp(0.08 * rng.standard_normal(n)), 0.5, 30)
    cells["tumour_size_pathology"] = [decimal(float(v), 1) for v in size]
    cells["tumour_size_imaging"] = [decimal(float(v), 1) for v in measured]
    for name, (share, ratio) in TRAITS.items():
        odds = ratio * share / (1 - share)
        threshold = np.where(present, _NORMAL.inv_cdf(odds / (1 + odds)), _NORMAL.inv_cdf(share))
        cells[name] = _finding(name, _score(n, rng) + threshold > 0, rng)


def _eligibility(cells: dict[str, list[str]], n: int, rng: np.random.Generator) -> None:
    """A few patients whom a study must leave out; drawn without regard to MVI."""
    cells["macrovascular_invasion"] = _finding("", rng.random(n) < 0.02, rng)
    cells["prior_treatment"] = _finding("", rng.random(n) < 0.02, rng)
    cells["imaging_to_surgery_days"] = [decimal(float(d), 0) for d in np.minimum(1 + rng.exponential(9, n), 90)]


def _survival(cells: dict[str, list[str]], present: _Bools, rng: np.random.Generator) -> None:
    """Exponential death and recurrence; recurrence-free survival ends with either, so its hazard is their sum."""
    n = len(present)
    hazard = {}
    for name, median in MEDIAN_MONTHS.items():
        with_mvi = math.log(2) / (median * DAYS_PER_MONTH)
        hazard[name] = np.where(present, with_mvi, with_mvi / HAZARD_RATIO[name])
    centre = math.exp(0.1 * rng.standard_normal())
    death = rng.exponential(1 / (centre * hazard["os"]))
    recurrence = rng.exponential(1 / (centre * (hazard["rfs"] - hazard["os"])))
    lost = rng.exponential(DAYS_PER_MONTH / _LOSS_PER_MONTH, n)
    end = np.minimum(lost, FOLLOW_UP_DAYS)
    absent = rng.random(n) < 0.01
    for name, event in (("rfs", np.minimum(recurrence, death)), ("os", death)):
        cells[f"{name}_days"] = [decimal(float(t), 0) for t in np.ceil(np.minimum(event, end))]
        cells[f"{name}_event"] = ["1" if e else "0" for e in event <= end]
        _blank(cells, f"{name}_days", absent)
        _blank(cells, f"{name}_event", absent)


def _blank(cells: dict[str, list[str]], column: str, where: _Bools) -> None:
    cells[column] = ["" if blank else cell for cell, blank in zip(cells[column], where, strict=True)]
