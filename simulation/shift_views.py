"""simulation: the detection of shift over frames in this process, without gate and ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.ports import InProcess, SitesPort, ungated
from common.federation.query import Query
from common.federation.runner import conclude
from common.statistics.shift_detection import Compared, Detection, detect_shift
from common.study.recipe import Frame, Recipe

TRAINING = "train"


@dataclass(frozen=True)
class FrameView:
    """A site that holds the frame of each of its cohorts; recipes may work on it, and read no table."""

    frames: Mapping[str, Frame]

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        return query.recipe.apply_to(self.frames[query.cohort])

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """Frames have no flow."""
        raise FedmviError(901, f"no flow into {cohort}")

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        """Frames do no tasks."""
        raise FedmviError(511, f"no task {task}")

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """Patients without, with, and of unknown endpoint."""
        values = self.frames[cohort].endpoints[endpoint]
        unknown = int(np.count_nonzero(np.isnan(values)))
        present = int(np.count_nonzero(values == 1.0))
        return values.size - unknown - present, present, unknown


def port_of(cohorts: Mapping[str, Mapping[str, Frame]]) -> SitesPort:
    """A port over cohorts, each with the frame of each of its sites."""
    names = sorted({site for sites in cohorts.values() for site in sites})
    views = {
        name: FrameView({cohort: sites[name] for cohort, sites in cohorts.items() if name in sites}) for name in names
    }
    rosters = {cohort: tuple(sorted(sites)) for cohort, sites in cohorts.items()}
    return SitesPort(InProcess({name: ungated(view) for name, view in views.items()}), Ticket("local", "", rosters))


def detect_in_process(
    train: Mapping[str, Frame],
    others: Mapping[str, Mapping[str, Frame]],
    endpoint: str,
    columns: tuple[str, ...],
    numbers: tuple[str, ...],
    intercept: float,
    coefficients: tuple[float, ...],
    *,
    high_risk: float | None = None,
    deals: int = 199,
    min_cell: int = 5,
) -> Detection:
    """Which sites differ, of frames.

    Parameters
    ----------
    train
        By site, with the endpoint; at least two.
    others
        By cohort and site; no endpoint is used.
    intercept, coefficients
        Of a logistic model of the columns, on their own scale.
    high_risk
        See `Compared`; by default the frequency of the endpoint in training.
    """
    y = np.concatenate([frame.endpoints[endpoint] for frame in train.values()])
    compared = Compared(
        TRAINING, Recipe(), endpoint, columns, numbers, intercept, coefficients,
        float(y.mean()) if high_risk is None else high_risk,
        tuple((cohort, Recipe()) for cohort in others), deals, min_cell,
    )  # fmt: skip
    detection: Detection = conclude(port_of({TRAINING: train, **others}), [detect_shift(compared)])[0]
    return detection
