"""server/study: the sample size that a logistic prediction model needs.

Criteria and formulas of Riley et al., Stat Med 2019;38:1276 and BMJ 2020;368:m441: shrinkage of at least 0.9,
optimism of at most 0.05 in Nagelkerke's R2, and the overall risk within 0.05. No earlier model's R2 is known
here, so the anticipated Cox-Snell R2 is 15 % of its largest possible value, as those papers advise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SHRINKAGE = 0.9
OPTIMISM = 0.05
MARGIN = 0.05
ANTICIPATED_SHARE = 0.15


@dataclass(frozen=True)
class SampleSize:
    """Patients needed by each criterion, beside those there are."""

    n: int
    events: int
    parameters: int
    for_shrinkage: int
    for_optimism: int
    for_prevalence: int

    @property
    def needed(self) -> int:
        """The largest of the three."""
        return max(self.for_shrinkage, self.for_optimism, self.for_prevalence)

    @property
    def events_per_parameter(self) -> float:
        """Patients with the endpoint per candidate parameter."""
        return self.events / self.parameters

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.n >= self.needed:
            return f"{self.n} patients meet the {self.needed} that Riley's criteria ask for."
        return f"{self.n} patients are fewer than the {self.needed} that Riley's criteria ask for: expect overfitting."


def largest_r2(prevalence: float) -> float:
    """The largest Cox-Snell R2 that a model can have at this prevalence."""
    per_patient = prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    return 1.0 - math.exp(2.0 * per_patient)


def sample_size(n: int, events: int, parameters: int) -> SampleSize:
    """Riley's three criteria for a model of `parameters` candidate parameters at the observed prevalence."""
    prevalence = events / n
    limit = largest_r2(prevalence)
    r2 = ANTICIPATED_SHARE * limit
    for_shrinkage = parameters / ((SHRINKAGE - 1.0) * math.log(1.0 - r2 / SHRINKAGE))
    expected = r2 / (r2 + OPTIMISM * limit)
    for_optimism = parameters / ((expected - 1.0) * math.log(1.0 - r2 / expected))
    for_prevalence = (1.96 / MARGIN) ** 2 * prevalence * (1.0 - prevalence)
    return SampleSize(
        n, events, parameters, math.ceil(for_shrinkage), math.ceil(for_optimism), math.ceil(for_prevalence)
    )
