"""server/study: areas at single hospitals, of models or networks that never saw them, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.errors import FedmviError
from common.federation.query import Summary


@dataclass(frozen=True)
class Area:
    """The area of a score at one hospital, with DeLong's error; 0 where the score is the same for everybody.

    Attributes
    ----------
    n, events
        Its patients, and those with the endpoint; None where the hospital hides them.
    """

    auc: float
    std_err: float
    n: int | None = None
    events: int | None = None


def told_area(answer: Summary | FedmviError, site: str, limit: int, endpoint: str) -> Area | FedmviError:
    """What a hospital told of itself (`RocAlone`), or why there is no area; error 637 for few patients of a class."""
    if isinstance(answer, FedmviError):
        return answer
    absent, present = (int(count) for count in answer["classes"][:2])
    if not int(answer["estimable"]):
        return FedmviError(637, site=site, limit=limit, endpoint=endpoint)
    auc, std_err = (float(value) for value in answer["auc"])
    shown = min(absent, present) >= 0
    return Area(auc, std_err, absent + present if shown else None, present if shown else None)


def mean_area(areas: Mapping[str, Area | FedmviError]) -> float:
    """Mean over the hospitals that were measured; NaN where none was."""
    found = [area.auc for area in areas.values() if isinstance(area, Area)]
    return float(np.mean(found)) if found else float("nan")


def mean_std_err(areas: Mapping[str, Area | FedmviError]) -> float:
    """Of the mean over these very hospitals, each measured in patients of its own; NaN where none was.

    What another choice of hospitals would change is in the random-effects mean.
    """
    found = [area.std_err for area in areas.values() if isinstance(area, Area)]
    return float(np.sqrt(np.sum(np.square(found)))) / len(found) if found else float("nan")


def best_of(found: Mapping[str, Mapping[str, Area | FedmviError]]) -> str:
    """The name with the largest mean area over hospitals, of equal ones the first; "" where nothing is comparable.

    Compared are those that were measured at every hospital at which any of them was: a mean over fewer, perhaps
    easier, hospitals is no better model.
    """
    measured = {name: {s for s, area in areas.items() if isinstance(area, Area)} for name, areas in found.items()}
    everywhere = set().union(*measured.values())
    able = [name for name, sites in measured.items() if sites == everywhere and sites]
    return max(able, key=lambda name: mean_area(found[name])) if able else ""
