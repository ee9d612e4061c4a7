"""simulation: benchmarks: shift: hospitals in this process, each with its cohorts, behind the port of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from common.federation.ports import SitesPort
from common.federation.query import Query
from common.study.harmonisation import Combat
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray
from simulation.views import DrawnView, classes_of, over_cohorts

ENDPOINT = "mvi"
TRAIN, TEST, HERE, CALIBRATION = "train", "external-test", "unlabelled", "calibration"
"""Cohorts: patients trained on; those of the target whom everything is measured in; others of the target without a
known outcome; and, disjoint from both, those with one whom risks are recalibrated by."""


@dataclass(frozen=True)
class Hospital(DrawnView):
    """A site without gate or ledger: one frame a cohort.

    Attributes
    ----------
    cohorts
        Frames by cohort, with columns that need no reading.
    """

    cohorts: Mapping[str, Frame]

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        return self.prepared(query.cohort, query.recipe)

    def prepared(self, cohort: str, recipe: Recipe) -> Frame:
        """A cohort after a recipe; where there are patients without a known outcome, these harmonise everybody."""
        frame = replace(self.cohorts[cohort], cohort=cohort)
        for i, step in enumerate(recipe.steps):
            if isinstance(step, Combat) and HERE in self.cohorts:
                frame = step.apply(frame, Recipe(recipe.steps[:i]).apply_to(self.cohorts[HERE]))
            else:
                frame = Recipe((step,)).apply_to(frame)
        return frame

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """See `SiteView`."""
        return classes_of(self.cohorts[cohort].endpoints[endpoint])


def frame_of(columns: Mapping[str, FloatArray], y: FloatArray, draw: np.random.Generator) -> Frame:
    """A cohort's frame, with keys of its own."""
    keys = draw.integers(0, 2**64, size=y.size, dtype=np.uint64)
    return Frame(columns, {ENDPOINT: y}, y.size, keys)


def port_to(hospitals: Mapping[str, Hospital]) -> SitesPort:
    """The port to these hospitals; each cohort is asked where it is."""
    return over_cohorts(hospitals, {name: hospital.cohorts for name, hospital in hospitals.items()})
