"""simulation/cohorts: the Gaussian copula behind the patients: latent normal scores of every variable by grade.

A patient is one normal vector over the clinical variables, tumour size, the declared traits and the three processes
behind the images. Its mean depends on the grade of MVI, its correlation matrix does not. Thresholds and monotone
transformations turn the scores into what is recorded (clinical.py); they are placed by the means declared here.

A centre effect shifts a variable's score by a normal amount per hospital, and the patient's own part is shrunk so that
the total variance stays 1: over hospitals, the expected share is exactly the declared one. Shifts of one hospital are
correlated as the scores are, so correlations between two shifted variables are kept too. Tumour size and the image
processes have no shift; a correlation between one of them and a shifted variable falls by sqrt(1 - effect^2) (2 % at
the default).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from simulation.cohorts.consortium import Consortium, Signal, Site
from simulation.cohorts.correlations import correlation_matrix
from simulation.cohorts.patients import GRADES
from simulation.cohorts.published import MARGINS
from simulation.cohorts.streams import stream

SIZE = "tumour_size"
PROCESSES = ("image_tumour", "image_ring", "image_temporal")
NORMAL = NormalDist()
UPPER_QUARTILE = NORMAL.inv_cdf(0.75)
"""Of a standard normal score."""
_SEVERITY_RATIO = 1.5  # of M2 to M1; assumed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LatentModel:
    """The distribution of the latent scores at one hospital.

    Attributes
    ----------
    names
        Variables, k.
    correlation
        Given the grade, (k, k).
    means
        By grade M0, M1, M2: (3, k). The score of a finding is above 0 where the finding is present; that of a
        laboratory value is above 0 above the cut-off. Tumour size has mean 0 in every grade: its quartiles differ.
    shift_sd
        Standard deviation of the hospitals' shifts, (k,); 0 for tumour size and the image processes.
    """

    names: tuple[str, ...]
    correlation: Floats
    means: Floats
    shift_sd: Floats

    @property
    def own_sd(self) -> Floats:
        """Standard deviation of the patients' own part, (k,)."""
        own: Floats = np.sqrt(1 - self.shift_sd**2)
        return own

    def shifts(self, rng: np.random.Generator) -> Floats:
        """One hospital's shifts, (k,)."""
        shifts: Floats = self.shift_sd * self._correlated(1, rng)[0]
        return shifts

    def draw(self, grade: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """Scores of patients of these grades without a hospital's shift, (n, k)."""
        return self.means[grade] + self.own_sd * self._correlated(len(grade), rng)

    def _correlated(self, n: int, rng: np.random.Generator) -> Floats:
        drawn: Floats = rng.standard_normal((n, len(self.names))) @ np.linalg.cholesky(self.correlation).T
        return drawn


def latent_model(consortium: Consortium, signal: float) -> LatentModel:
    """The scores' distribution at a hospital whose images show `signal` times the declared effect."""
    clinical = consortium.clinical
    names = (*MARGINS, SIZE, *PROCESSES, *clinical.traits)
    means = np.zeros((len(GRADES), len(names)))
    for i, name in enumerate(names):
        if name in PROCESSES:
            means[:, i] = _process_means(consortium, name, signal)
        elif name != SIZE:
            absent, present = _shares(consortium, name)
            # P(score > 0) is the share when the mean is its normal quantile.
            means[:, i] = [NORMAL.inv_cdf(absent), *[NORMAL.inv_cdf(present)] * 2]
    shifted = np.array([name not in (SIZE, *PROCESSES) for name in names])
    return LatentModel(names, correlation_matrix(names), means, clinical.centre_effect * shifted)


def centre_shifts(consortium: Consortium, site: Site, seed: int) -> Floats:
    """The shifts of one hospital's scores, (k,), in the order of the model's names."""
    return latent_model(consortium, site.signal).shifts(stream(consortium.name, seed, site.name, "centre effect"))


def _shares(consortium: Consortium, name: str) -> tuple[float, float]:
    """Share without and with MVI whose score is above 0."""
    clinical = consortium.clinical
    if name in clinical.traits:
        trait = clinical.traits[name]
        odds = trait.odds_ratio * trait.absent / (1 - trait.absent)
        return trait.absent, odds / (1 + odds)
    if name == "sex" and clinical.male is not None:
        return 1 - clinical.male, 1 - clinical.male
    if name == "age" and clinical.age is not None:
        return 0.5, 0.5  # above the declared median
    return MARGINS[name].share(False), MARGINS[name].share(True)


def _process_means(consortium: Consortium, name: str, signal: float) -> list[float]:
    """Means by grade whose average over patients with MVI is the declared difference times the hospital's factor."""
    declared = consortium.imaging.signal if consortium.imaging else Signal()
    d: float = getattr(declared, name.removeprefix("image_"))
    second = consortium.clinical.second_grade
    first = 1 / (1 - second + _SEVERITY_RATIO * second)
    return [0.0, d * signal * first, d * signal * first * _SEVERITY_RATIO]
