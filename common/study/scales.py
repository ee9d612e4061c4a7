"""common/study: whose location and scale harmonise whom at a hospital: fixed by the protocol, whoever is asked about.

A patient has one value of a harmonised column, in whichever cohort he is looked at: a correction that is fitted in some
patients of a hospital is applied to others on the same scale. So location and scale belong to a group of a hospital's
patients and not to a cohort. A `label` that the protocol names tells groups apart, as years of surgery with two
scanners; a `split` does not, as it draws from one group at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.study.protocol import Cohort, Role, Study

Flags = NDArray[np.bool_]

_PREDICTED: frozenset[Role] = frozenset({"internal-test", "calibration", "external-test"})
"""Roles of patients of whom nobody is in two cohorts, and who are not trained on."""


@dataclass(frozen=True)
class Scale:
    """A group of a hospital's patients, and by whom they are harmonised.

    Attributes
    ----------
    rows
        (n,) of the table's patients: who is in the group.
    by
        (n,) whose features give location and scale, without any outcome.
    cohort
        The training cohort where these are its patients; else "".
    """

    rows: Flags
    by: Flags
    cohort: str = ""


Scales = Callable[[str], tuple[Scale, ...]]
"""The groups of a hospital, by the training cohort of the model that is harmonised."""


def scales(
    study: Study, site: str, labels: tuple[str, ...], members: Callable[[str], Flags], training: str
) -> tuple[Scale, ...]:
    """Every patient of a hospital in one group.

    Who is of a group that is trained on is harmonised as training was: by the patients of training. Any other group is
    harmonised by all its patients in test and calibration cohorts together; without such, by those whose outcome or
    genes are looked at.

    Parameters
    ----------
    labels
        (n,) of the table's patients.
    members
        (n,) who is in a cohort, by its name.
    training
        The cohort in which the model is trained.
    """
    trained, here = study.cohort(training), [cohort for cohort in study.cohorts if site in cohort.sites]
    apart = {cohort.label for cohort in here if cohort.role in (*_PREDICTED, "train") and cohort.label is not None}
    group = np.array([label if label in apart else "" for label in labels], dtype=np.str_)
    found = []
    for name in sorted({str(one) for one in group}):
        rows = group == name
        if site in trained.sites and trained.label in (None, name):
            found.append(Scale(rows, members(training), training))
        else:
            found.append(Scale(rows, _untrained(here, members, rows)))
    return tuple(found)


def _untrained(here: list[Cohort], members: Callable[[str], Flags], rows: Flags) -> Flags:
    """(n,) who gives location and scale to a group that nobody is trained on."""
    tested = _any(rows, [members(cohort.name) for cohort in here if cohort.role in _PREDICTED])
    if bool(np.any(tested)):
        return tested
    return _any(rows, [members(cohort.name) for cohort in here if cohort.role in ("outcome", "genomics")])


def _any(rows: Flags, parts: list[Flags]) -> Flags:
    found: Flags = rows & np.logical_or.reduce([np.zeros(rows.size, dtype=bool), *parts])
    return found
