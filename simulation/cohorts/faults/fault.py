"""simulation/cohorts: what a deliberate fault is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from common.errors import FedmviError

Damage = Callable[[Path, np.random.Generator], None]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Fault:
    """One way in which a site's folder is wrong.

    Attributes
    ----------
    of
        What is damaged: the patient table, NIfTI images or DICOM series.
    text
        What is wrong, in a sentence.
    apply
        `apply(site folder, rng)` does the damage.
    tell
        The number of the error or warning that `fedmvi-site check` finds, given a study that uses the damaged column,
        phase or mask; None where nothing is wrong with what is read.
    """

    of: Literal["table", "nifti", "dicom"]
    text: str
    apply: Damage
    tell: int | None = None


def choose(rng: np.random.Generator, options: Sequence[Thing], count: int, what: str) -> list[Thing]:
    """`count` different ones of the options, at random.

    Raises
    ------
    FedmviError
        809 where there are fewer.
    """
    if len(options) < count:
        raise FedmviError(809, problems=f"a fault needs {count} {what}, and the site has {len(options)}")
    return [options[i] for i in rng.choice(len(options), count, replace=False)]
