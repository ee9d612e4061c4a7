"""common/statistics: the Hosmer-Lemeshow test, with exact quantiles of the predicted risk as borders of its groups.

Not recommended: it is here because reviewers ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion
from common.statistics.calibration import binned_risks
from common.statistics.distributions import chi2_p
from common.statistics.refinement import Counts, refine
from common.study.recipe import Recipe
from common.study.table import FloatArray


@dataclass(frozen=True)
class HosmerLemeshow:
    """The Hosmer-Lemeshow test. Not recommended; see `note`.

    Attributes
    ----------
    group_n_, group_events_, group_expected_
        (groups,) patients, events and sum of predicted risks by ascending risk.
    """

    column: str
    group_n_: Counts
    group_events_: Counts
    group_expected_: FloatArray
    chi2_: float
    degrees_: int
    p_: float

    note: ClassVar[str] = (
        "Not recommended: depends on arbitrary groups, has little power in small samples and rejects any model "
        "in large ones. Judge calibration by slope, intercept and curve."
    )

    @property
    def summary(self) -> list[dict[str, Any]]:
        """One row: the test."""
        test = {"chi2": self.chi2_, "degrees": self.degrees_, "p": self.p_}
        return [{"column": self.column, "groups": self.group_n_.size, **test, "note": self.note}]


def hosmer_lemeshow(
    cohort: str, recipe: Recipe, endpoint: str, column: str, *, groups: int = 10, fitted: bool = False
) -> Conclusion[HosmerLemeshow]:
    """Hosmer & Lemeshow, Commun Stat A 1980;9:1043, with exact quantiles of the risk as group borders; nine rounds.

    Not recommended (`HosmerLemeshow.note`), and never part of another conclusion.

    Parameters
    ----------
    fitted
        Whether the model was fitted on these patients: two degrees of freedom fewer than groups, else as many.

    Raises
    ------
    FedmviError
        601 no patients.
    """
    (leaves,) = yield from refine(cohort, recipe, (column,), endpoint, pure=False)
    upto = np.cumsum(leaves.counts.sum(axis=1))
    if upto.size == 0:
        raise FedmviError(601, cohort=cohort)
    # The quantile lies from this patient to the next, so the patient's leaf is the last of the group below it.
    patient = (upto[-1] - 1) * np.arange(1, groups) // groups
    last = np.unique(np.searchsorted(upto, patient, side="right"))
    edges = leaves.high[last[last < upto.size - 1]]
    sums = yield from binned_risks(cohort, recipe, endpoint, column, edges)
    n, observed, expected = sums["n"], sums["events"], sums["expected"]
    chi2 = float(np.sum(np.square(observed - expected) / (expected * (1.0 - expected / n))))
    degrees = n.size - 2 if fitted else n.size
    return HosmerLemeshow(column, n, observed, expected, chi2, degrees, chi2_p(chi2, degrees))
