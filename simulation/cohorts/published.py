"""simulation/cohorts: the published figures that simulated patients follow: Table 1, tumour size, survival.

All are of one cohort: World J Surg Oncol 2022, 321 patients after resection, 136 without and 185 with MVI. Only the
counts, quartiles, medians and numbers of events are published. The spread of each laboratory value and the decimals to
which it is recorded are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ABSENT, PRESENT = 136, 185
"""Patients without and with MVI."""


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
    preoperative
        Whether it is known before the operation; what is not comes from pathology.
    """

    absent: int
    present: int
    cutoff: float | None = None
    spread: float = 0.0
    places: int = 0
    preoperative: bool = True

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
        "pathological_capsule": Margin(48, 79, preoperative=False),  # complete
        "edmondson": Margin(59, 121, preoperative=False),  # III or IV
    }
)
"""Table 1: counts without and with MVI."""

MEDIAN_OS, MEDIAN_OS_PRESENT = 59.5, 54.7
"""Median overall survival in months, of all patients and of those with MVI."""

MEDIAN_RFS, MEDIAN_RFS_PRESENT = 50.4, 32.5
"""Median recurrence-free survival in months, of all patients and of those with MVI; not reached without MVI."""

RECURRENCES, DEATHS = 101, 64
"""Patients with a recurrence and patients who died, of all 321, within the follow-up of `FOLLOW_UP_MONTHS`."""

FOLLOW_UP_MONTHS = 60.0
"""Length of the published follow-up."""
