"""simulation: benchmarks: expression: what is drawn, and what is asked of it; fixed before any result was looked at."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.05
"""The false discovery rate that studies are asked for, and what the mean false discovery proportion must keep to."""
STANDARD_ERRORS = 2.0
"""Monte-Carlo standard errors that the mean may be above `LEVEL`."""
STUDIES = 200
SIZES = (35, 70, 140)
"""Patients of all hospitals together; the first is judged by the command's headline."""
ENRICHED = 50
"""Studies in which gene sets are looked for, too."""

GENES = 2000
EFFECTS = (0.5, 1.0, 1.5)
"""Absolute log2 fold changes of genes that differ, an equal number of each, half up and half down."""
PER_EFFECT = 10
ZERO_HEAVY = 100
"""Genes that are not found at all in many patients, by chance; none of them differs."""
ZERO_SHARE, ZERO_HEAVY_PER_MILLION, ZERO_HEAVY_DISPERSION = 0.4, 20.0, 1.0
"""In how many patients they are not found, and their level and dispersion in the others."""
LEAST_PER_MILLION, FOUND_IN = 1.0, 5
"""Which genes are compared, as protocols and hospitals have it by default: those with so many per million in as many
patients as the smaller group has, and found in so many patients of every hospital."""
LIBRARY_SIZE, LIBRARY_SPREAD = 2e7, 0.3
SHARE_SPREAD, SITE_EFFECT, SCATTER = 1.5, 0.3, 0.5
DISPERSION, TREND_MEAN = 0.2, 40.0
"""Median, and mean count at which Poisson-like noise doubles it; all as in simulated hospitals."""

PREVALENCE = 0.5
COVARIATE_DIFFERENCE = 0.5
"""Standardised difference of the covariate between patients with and without MVI."""
COVARIATE_SHARE, COVARIATE_CHANGE = 0.1, 0.5
"""Share of the genes without a difference that change with the covariate; log2 change a standard deviation."""
SCORE_COVARIATE = 0.3
"""Correlation of a predictor's errors with the covariate."""
LEAST_IN_GROUP = 3
"""Groups are drawn anew until every hospital has as many in each; the smallest limit that a hospital can set."""

BLOCK = 50
"""Genes of a co-expressed block, where genes are correlated."""
BLOCK_SPREAD, COMMON_SPREAD = 0.35, 0.2
"""Standard deviations, natural logarithm, of what a block shares, and of a gene's loading on what all genes share."""
SETS = 20
"""Null sets of each kind: drawn from all null genes, and co-expressed blocks of null genes."""
RANDOM_SET = 50


@dataclass(frozen=True)
class Grouping:
    """Which patients are compared: by true MVI where `auc` is None, else by a predictor of that AUC."""

    name: str
    auc: float | None


TRUE = Grouping("true MVI", None)
GROUPINGS = (TRUE, Grouping("predicted MVI, AUC 0.85", 0.85), Grouping("predicted MVI, AUC 0.75", 0.75))
PREDICTED = GROUPINGS[-1]
"""The one behind `sensitivity_predicted`."""


@dataclass(frozen=True)
class Scenario:
    """One way in which genes are drawn and patients are grouped."""

    signal: bool
    correlated: bool
    grouping: Grouping

    @property
    def name(self) -> str:
        """How reports call it."""
        genes = "correlated genes" if self.correlated else "independent genes"
        return f"{self.grouping.name if self.signal else 'nothing differs'}, {genes}"


SCENARIOS = (
    *(Scenario(False, correlated, TRUE) for correlated in (False, True)),
    *(Scenario(True, correlated, grouping) for grouping in GROUPINGS for correlated in (False, True)),
)


def sites_of(patients: int) -> tuple[int, ...]:
    """Patients of each hospital: three uneven ones below 50 patients, else four."""
    shares = (0.40, 0.33, 0.27) if patients < 50 else (0.36, 0.28, 0.21, 0.15)
    sizes = [round(patients * share) for share in shares[1:]]
    return (patients - sum(sizes), *sizes)
