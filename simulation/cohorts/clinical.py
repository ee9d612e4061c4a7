"""simulation/cohorts: the patients of one hospital: grades, clinical values, findings, and the columns they fill.

**Everything drawn here is simulated.** No row is, or was made from, a patient.

Laboratory values are log-normal (age: normal), placed so that the share above the cut-off is the published one. Tumour
size has the declared quartiles: its logarithm is a normal variable whose lower and upper half are stretched so that
the lower quartile, the median and the upper quartile are met; so is an age whose quartiles are declared. Values are
recorded on a grid by rounding up, which never moves a value across a cut-off that lies on the grid; sizes, of which no
share above a cut-off is published, are rounded to the nearest.

Assumed: imaging measures the size at pathology with an error of 8 %; grades I and IV are 20 % of the low and 15 % of
the high Edmondson grades; days between imaging and surgery are exponential with a mean of 9, between 1 and 90; readers
disagree on a trait whatever else the patient has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from common.study.dictionary import DICTIONARY
from common.study.readings import second_column
from simulation.cohorts.consortium import Clinical, Consortium, Quartiles, Site
from simulation.cohorts.latent import NORMAL, SIZE, UPPER_QUARTILE, Floats, centre_shifts, latent_model
from simulation.cohorts.outcomes import endpoints_of, follow_up
from simulation.cohorts.patients import GRADES, Patients
from simulation.cohorts.published import MARGINS, Margin
from simulation.cohorts.streams import stream
from simulation.importers.source import decimal

AGES = (18.0, 95.0)
SIZES_CM = (0.5, 18.0)
"""Ages and sizes beyond these limits are set to them."""

_LEVELS = ("I", "II", "III", "IV")


def draw_site(consortium: Consortium, site: Site, seed: int) -> Patients:
    """One hospital's patients, with nothing lost or mistyped; the same seed gives the same patients.

    Parameters
    ----------
    consortium
        What is declared.
    site
        One of its hospitals. Its patients depend on no other hospital.
    seed
        Any non-negative integer.

    Returns
    -------
    Patients
        `values` has every column by name as numbers: findings, events and `mvi` as 0 / 1, `mvi_grade` as 0 to 2,
        `edmondson` as 1 to 4. Sex is in `sex_female`.
    """
    labels, grade = _grades(consortium, site, seed)
    n = len(grade)
    model = latent_model(consortium, site.signal)
    drawn = model.draw(grade, stream(consortium.name, seed, site.name, "scores")) + centre_shifts(
        consortium, site, seed
    )
    scores = {name: drawn[:, i] for i, name in enumerate(model.names)}
    present = grade > 0
    ids = tuple(f"{site.name}-{i:04d}" for i in range(1, n + 1))

    table = _Table(any(group.label for s in consortium.sites for group in s.groups), ids, labels, grade)
    _table_1(consortium.clinical, scores, present, table)
    _size(consortium.clinical, scores[SIZE], present, stream(consortium.name, seed, site.name, "measured size"), table)
    for name in consortium.clinical.traits:
        table.finding(name, scores[name] > 0)
    _read_again(consortium, site, seed, table)
    _eligibility(consortium.clinical.ineligible, n, stream(consortium.name, seed, site.name, "eligibility"), table)
    _outcome(consortium, present, stream(consortium.name, seed, site.name, "follow-up"), table)
    return Patients(site.name, ids, labels, grade, scores, table.values, table.cells)


def size_cm(declared: Quartiles, score: Floats) -> Floats:
    """Tumour sizes in cm of patients with these scores, before limits and rounding, (n,)."""
    logs = (math.log(declared.lower), math.log(declared.median), math.log(declared.upper))
    return np.exp(_with_quartiles(logs, score))


class _Table:
    """The columns of one hospital as they fill: numbers, and the text that is written."""

    def __init__(self, labelled: bool, ids: Sequence[str], labels: Sequence[str], grade: NDArray[np.int64]) -> None:
        self.cells: dict[str, list[str]] = {"patient_id": list(ids)}
        if labelled:
            self.cells["cohort"] = list(labels)
        self.values: dict[str, Floats] = {"mvi": (grade > 0).astype(float), "mvi_grade": grade.astype(float)}
        self.cells["mvi"] = _words(grade > 0, "absent", "present")
        self.cells["mvi_grade"] = [GRADES[g] for g in grade]

    def continuous(self, name: str, raw: Floats, places: int, *, nearest: bool = False) -> None:
        """Record values on the grid of so many decimals, rounded up (see the module's text) or to the nearest."""
        # Rounding first keeps an exact grid value, such as a limit, from moving up by a floating-point error.
        steps = np.round(raw * 10**places, 0 if nearest else 6)
        recorded = np.ceil(steps) / 10**places
        self.values[name] = recorded
        self.cells[name] = [decimal(v, places) for v in recorded.tolist()]

    def finding(self, name: str, found: NDArray[np.bool_]) -> None:
        """Record a finding as no or yes."""
        self.values[name] = found.astype(float)
        self.cells[name] = _words(found, "no", "yes")


def _grades(consortium: Consortium, site: Site, seed: int) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Group labels and grades, (n,). MVI has a normal score with a centre effect, like every other finding."""
    rng = stream(consortium.name, seed, site.name, "grades")
    clinical = consortium.clinical
    effect = clinical.centre_effect
    shifted = NORMAL.inv_cdf(clinical.prevalence) + effect * rng.standard_normal()
    share = NORMAL.cdf(float(shifted) / math.sqrt(1 - effect**2))
    labels: list[str] = []
    present: list[NDArray[np.bool_]] = []
    for group in site.groups:
        order = rng.random(group.patients)
        labels += [group.label] * group.patients
        present.append(order < share if group.present is None else order.argsort().argsort() < group.present)
    found = np.concatenate(present)
    second = rng.random(len(found)) < clinical.second_grade
    return tuple(labels), np.where(found, 1 + second, 0).astype(np.int64)


def _table_1(clinical: Clinical, scores: Mapping[str, Floats], present: NDArray[np.bool_], table: _Table) -> None:
    for name, margin in MARGINS.items():
        score = scores[name]
        if name == "sex":
            table.values["sex_female"] = (score > 0).astype(float)
            table.cells["sex"] = _words(score > 0, "male", "female")
        elif name == "edmondson":
            level = _edmondson(margin, score, present)
            table.values[name] = level.astype(float)
            table.cells[name] = [_LEVELS[i - 1] for i in level]
        elif margin.cutoff is None:
            table.finding(name, score > 0)
        elif name == "age":
            years = margin.cutoff + margin.spread * score
            if clinical.age is not None:
                years = _with_quartiles((clinical.age.lower, clinical.age.median, clinical.age.upper), score)
            table.continuous(name, np.clip(years, *AGES), 0)
        else:
            raw = margin.cutoff * np.exp(margin.spread * score)
            if name == "conjugated_bilirubin":
                # A part is at most the whole; the correlation leaves next to no patient for whom this matters.
                raw = np.minimum(raw, table.values["total_bilirubin"])
            table.continuous(name, np.clip(raw, DICTIONARY[name].low, DICTIONARY[name].high), margin.places)


def _with_quartiles(quartiles: tuple[float, float, float], score: Floats) -> Floats:
    """A variable with these quartiles: a normal one whose halves below and above the median have their own spread."""
    lower, median, upper = quartiles
    return median + np.where(score < 0, median - lower, upper - median) / UPPER_QUARTILE * score


def _edmondson(margin: Margin, score: Floats, present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Levels 1 to 4, (n,); they rise with the score, and III begins at 0."""
    level = np.where(score > 0, 3, 2)
    for mvi in (False, True):
        high = margin.share(mvi)
        mean = NORMAL.inv_cdf(high)
        lowest, highest = mean + NORMAL.inv_cdf(0.2 * (1 - high)), mean + NORMAL.inv_cdf(1 - 0.15 * high)
        level = np.where((present == mvi) & (score <= lowest), 1, level)
        level = np.where((present == mvi) & (score > highest), 4, level)
    return level.astype(np.int64)


def _size(
    clinical: Clinical, score: Floats, present: NDArray[np.bool_], rng: np.random.Generator, table: _Table
) -> None:
    size = np.where(present, size_cm(clinical.size_present, score), size_cm(clinical.size_absent, score))
    measured = size * np.exp(0.08 * rng.standard_normal(len(size)))
    table.continuous("tumour_size_imaging", np.clip(measured, *SIZES_CM), 1, nearest=True)
    table.continuous("tumour_size_pathology", np.clip(size, *SIZES_CM), 1, nearest=True)


def _read_again(consortium: Consortium, site: Site, seed: int, table: _Table) -> None:
    """The second reader's traits: as the first's in a share of the patients, the declared kappa, and in the others at
    random, as often as the first sees it here. Both then see it equally often, and kappa is that share on average."""
    for name, trait in consortium.clinical.traits.items():
        if trait.second_reader is not None:
            rng = stream(consortium.name, seed, site.name, f"second reader {name}")
            first = table.values[name] > 0
            alike, guessed = rng.random((2, len(first)))
            again = np.where(alike < trait.second_reader, first, guessed < first.mean())
            table.finding(second_column(name), again)


def _eligibility(share: float, n: int, rng: np.random.Generator, table: _Table) -> None:
    """A few patients whom a study must leave out; drawn without regard to MVI."""
    table.finding("macrovascular_invasion", rng.random(n) < share)
    table.finding("prior_treatment", rng.random(n) < share)
    table.continuous("imaging_to_surgery_days", np.clip(rng.exponential(9, n), 1, 90), 0)


def _outcome(consortium: Consortium, present: NDArray[np.bool_], rng: np.random.Generator, table: _Table) -> None:
    drawn = follow_up(consortium.survival, present, rng)
    for name in endpoints_of(consortium.survival)[0]:
        table.continuous(f"{name}_days", drawn.days[name].astype(float), 0)
        table.continuous(f"{name}_event", drawn.events[name].astype(float), 0)


def _words(found: NDArray[np.bool_], no: str, yes: str) -> list[str]:
    words = (no, yes)
    return [words[int(f)] for f in found]
