"""client/release: the gate: what this hospital answers, decided before anything is computed or leaves.

It reads only what a query declares of itself, the site's policy, and the frame; the stricter of study and policy
applies. The server is never trusted to filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from client.cohort.site import Policy
from common.errors import FedmviError
from common.federation.query import Ask, Mode, Query, Risk
from common.study.protocol import Limits, Study
from common.study.recipe import Frame


@dataclass(frozen=True)
class Gate:
    """The rules in force for one study at one site."""

    policy: Policy
    limits: Limits

    @classmethod
    def of(cls, policy: Policy, study: Study) -> Gate:
        """The stricter of the site's policy and the study's limits, rule by rule."""
        ours, theirs = policy, study.limits
        return cls(
            policy,
            Limits(
                min_patients=max(ours.min_patients, theirs.min_patients),
                min_class=max(ours.min_class, theirs.min_class),
                min_cell=max(ours.min_cell, theirs.min_cell),
                min_sites=max(ours.min_sites, theirs.min_sites),
                max_parameters=min(ours.max_parameters, theirs.max_parameters),
                min_test_class=theirs.min_test_class,
            ),
        )

    def admit(self, ask: Ask, roster: tuple[str, ...]) -> None:
        """Refuse by kind, before any data is touched.

        Raises
        ------
        FedmviError
            402 kind of query, 406 a sum over too few sites, 408 results of this site alone.
        """
        query = ask.question
        if not isinstance(query, Query):
            return
        if query.name in self.policy.refused_queries or query.risk.value not in self.policy.risks:
            raise FedmviError(402, query=query.name)
        if query.risk is Risk.RANK and self.policy.pooled_detail == "binned":
            raise FedmviError(402, query=query.name)
        if ask.mode is Mode.TOTAL and len(roster) < self.limits.min_sites:
            raise FedmviError(406, limit=self.limits.min_sites)
        if not query.pooled and (ask.mode is not Mode.EACH or not self.policy.release_alone):
            raise FedmviError(408)
        # What goes out by site hides small cells by our limit; a total must not hide, or the sum is wrong.
        wrong = query.hides_below < self.limits.min_cell if ask.mode is Mode.EACH else query.hides_below > 0
        if wrong:
            raise FedmviError(402, query=query.name)

    def inspect(self, query: Query, patients: int, frame: Frame) -> None:
        """Refuse by the data: too few patients, too many parameters, too small a class or level.

        `patients` is the size of the cohort here; `frame` has those of them whom the recipe leaves, who may be
        fewer where values are missing.

        Raises
        ------
        FedmviError
            403, 404, 405, 409.
        """
        if patients < self.limits.min_patients or frame.n < self.limits.min_cell:
            raise FedmviError(403, cohort=query.cohort, limit=self.limits.min_patients)
        if query.parameters > self.limits.max_parameters * frame.n:
            raise FedmviError(404, parameters=query.parameters, fraction=self.limits.max_parameters)
        if query.classes_of:
            present = int(np.count_nonzero(frame.endpoints[query.classes_of] == 1.0))
            if min(present, frame.n - present) < self.limits.min_class:
                raise FedmviError(405, endpoint=query.classes_of, cohort=query.cohort, limit=self.limits.min_class)
        for name in query.uses:
            values, counts = np.unique(frame.columns[name][~np.isnan(frame.columns[name])], return_counts=True)
            if values.size == 2 and int(counts.min()) < self.limits.min_cell:
                raise FedmviError(409, f"column {name}", limit=self.limits.min_cell, cohort=query.cohort)
