"""client/release: the gate: what this hospital answers, decided before anything is computed or leaves.

It reads only what a query declares of itself, the approved study (`scope`), the site's policy, and the frame; the
stricter of study and policy applies. The server is never trusted to filter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from client.cohort.site import Policy
from client.release.centre_scope import one_value, refuse_few_filled, refuse_own_part, refuse_unsigned, summed_over
from client.release.expression_scope import fewest_of_class, refuse_few_expressed, tightened
from client.release.filling_scope import binary_columns, level_columns
from client.release.hazard_scope import refuse_few_events
from client.release.model_scope import draft_columns, draws_apart
from client.release.scope import check_scope, elements
from client.release.shift_scope import drawn_hospitals_hold
from client.release.subgroup_scope import admit_division
from common.errors import FedmviError
from common.federation.query import Ask, Mode, Query, Risk
from common.statistics.icc import SiteAgreement
from common.statistics.kappa import ReaderTable
from common.statistics.score_shift import ScoreMoments
from common.statistics.variance import LevelCounts
from common.statistics.voom_sums import ExpressionCounts
from common.statistics.voom_weights import WeightCounts
from common.study.analyses import FOLDS
from common.study.protocol import Limits, Study
from common.study.recipe import Frame, Outside, Resample, Score

Held = dict[str, float]
"""What was held against limits: `patients` of the cohort here, `frame` (those whom the recipe leaves), `parameters` and
the patients `parameters_of` whom they are a share, the smallest `class` and `column` (level, or patients with a value),
and the smallest `weight` that the broadcast numbers give to the patients here."""


@dataclass(frozen=True)
class Gate:
    """The rules in force for one study at one site."""

    policy: Policy
    study: Study
    limits: Limits

    @classmethod
    def of(cls, policy: Policy, study: Study) -> Gate:
        """The stricter of the site's policy and the study's limits, rule by rule."""
        ours, theirs = policy, study.limits
        return cls(
            policy,
            study,
            Limits(
                min_patients=max(ours.min_patients, theirs.min_patients),
                min_class=max(ours.min_class, theirs.min_class),
                min_cell=max(ours.min_cell, theirs.min_cell),
                min_sites=max(ours.min_sites, theirs.min_sites),
                max_parameters=min(ours.max_parameters, theirs.max_parameters),
                min_test_class=theirs.min_test_class,
            ),
        )

    def admit_kind(self, query: Query) -> None:
        """Error 402 for a kind of query that the site's policy does not allow."""
        if query.name in self.policy.refused_queries or query.risk.value not in self.policy.risks:
            raise FedmviError(402, query=query.name)

    def admit_training(self, network: str) -> None:
        """Error 427 for a network whose training is not as private as the site's policy demands."""
        most = self.policy.private_epsilon
        privacy = next((n.privacy for n in self.study.networks if n.name == network), None)
        if most is not None and (privacy is None or privacy.epsilon > most):
            raise FedmviError(427, limit=most)

    def admit(self, ask: Ask, roster: tuple[str, ...]) -> None:
        """Refuse by kind, before any data is touched.

        Raises
        ------
        FedmviError
            402 kind of query, 406 a sum over too few sites, 408 results of this site alone, 415 too large an answer,
            414 something that is not in the study.
        """
        query = ask.question
        if not isinstance(query, Query):
            return
        self.admit_kind(query)
        ranks = self.policy.pooled_detail == "exact" and Risk.RANK.value in self.policy.risks
        if not query.coarse and not ranks:
            raise FedmviError(402, query=query.name)
        if ask.mode is Mode.TOTAL and len(summed_over(query, roster)) < self.limits.min_sites:
            raise FedmviError(406, limit=self.limits.min_sites)
        if not query.pooled and (ask.mode is not Mode.EACH or not self.policy.release_alone):
            raise FedmviError(408)
        # What goes out by site is asked with the study's limit, and hidden by ours if that is stricter (`tighten`),
        # by no other: several limits together would tell the hidden counts. A total must not hide: the sum is wrong.
        if query.hides_below != (self.study.limits.min_cell if ask.mode is Mode.EACH else 0):
            raise FedmviError(402, query=query.name)
        fewest = fewest_of_class(query, self.limits)
        if not query.pooled and getattr(query, "min_class", fewest) < fewest:
            raise FedmviError(402, query=query.name)
        check_scope(query, self.study)
        elements(query)

    def tighten(self, ask: Ask) -> Ask:
        """The question as this site answers it: small counts are hidden by its own limit where that is stricter."""
        query = ask.question
        if isinstance(query, SiteAgreement | ReaderTable):
            return Ask(ask.mode, query.stricter(self.limits.min_cell))
        if isinstance(query, ExpressionCounts | WeightCounts):
            return Ask(ask.mode, tightened(query, self.limits))
        if not isinstance(query, Query) or not 0 < query.hides_below < self.limits.min_cell:
            return ask
        # Every query that hides counts has its limit as `min_cell`.
        stricter: Query = replace(query, min_cell=self.limits.min_cell)  # type: ignore[call-arg]
        return Ask(ask.mode, stricter)

    def inspect(self, query: Query, patients: int, frame: Frame, elsewhere: int = 0) -> Held:
        """Refuse by the data: too few patients, too many parameters, too small a class or level.

        Returns the numbers that were held against the limits, for the ledger.

        `patients` is the size of the cohort here; `frame` has those of them whom the recipe leaves, who may be
        fewer where values are missing. `elsewhere` are the patients whom the other sites of a masked sum have signed
        for: of such a sum only the total is seen, so its parameters are held against all patients in it, as if the
        same share of theirs were left.

        Raises
        ------
        FedmviError
            403, 404, 405, 409, 416, 439.
        """
        frame = _each_once(query, frame)
        few = patients < self.limits.min_patients or frame.n < self.limits.min_cell
        pooled = frame.n + (elsewhere * frame.n / patients if query.pooled and patients else 0.0)
        sites = len(self.study.cohort(query.cohort).sites) if self.policy.masks == "required" else 1
        few = few or not drawn_hospitals_hold(query, pooled, sites, self.limits.min_cell)
        if few or not self._parts_hold(query, frame.n) or not self._roster_parts_hold(query, pooled):
            raise FedmviError(403, cohort=query.cohort, limit=self.limits.min_patients)
        held: Held = {"patients": patients, "frame": frame.n}
        share = self._share(query)
        if query.parameters > share * pooled:
            raise FedmviError(404, parameters=query.parameters, fraction=share)
        if query.parameters:
            held |= {"parameters": query.parameters, "parameters_of": round(pooled, 3)}
        if query.classes_of:
            endpoint = frame.endpoints[query.classes_of]
            present, absent = int(np.count_nonzero(endpoint == 1.0)), int(np.count_nonzero(endpoint == 0.0))
            held["class"] = min(present, absent)
            smaller = min(present, absent)
            parts = self._folds_hold(query, smaller) and self._parts_hold(query, smaller)
            if smaller < self.limits.min_class or not parts:
                raise FedmviError(405, endpoint=query.classes_of, cohort=query.cohort, limit=self.limits.min_class)
        if query.levels_of:
            counts = np.unique(frame.endpoints[query.levels_of], return_counts=True)[1]
            held["class"] = int(counts.min(initial=frame.n))
            if counts.size < 2 or int(counts.min()) < self.limits.min_class:
                raise FedmviError(405, endpoint=query.levels_of, cohort=query.cohort, limit=self.limits.min_class)
        self._columns(query, frame, held)
        refuse_few_expressed(query, frame, self.limits)
        refuse_few_events(query, frame, self.study, self.limits, pooled / frame.n)
        self._reference_levels(query, frame)
        self._weigh(query, frame, held)
        return held

    def admit_subgroup(self, query: Query, whole: Frame) -> list[NDArray[np.uint64]]:
        """Refuse a subgroup that would tell few patients here apart: result and errors of `admit_division`."""
        return admit_division(query, self.study, self.limits, whole)

    def admit_centre(self, query: Query, roster: tuple[str, ...], consent: Collection[str], own: Frame | None) -> None:
        """Refuse a sum without a hospital: errors of `refuse_unsigned`, and, of this site's own part, which may be had
        from several such sums, those of `refuse_own_part`. `own`: its patients; None where it has not consented."""
        # Without masks the coordinator's program has everybody's part, whoever is left out.
        refuse_unsigned(query, roster, consent, self.limits.min_sites if self.policy.masks == "required" else 0)
        if own is not None:
            refuse_own_part(query, own, self._share(query), self.limits.min_cell)

    def admit_filled(self, query: Query, before: Frame) -> None:
        """Refuse a sum without a centre that few patients' filled values tell from the whole: error 434."""
        refuse_few_filled(query, before, self.limits.min_cell)

    def _columns(self, query: Query, frame: Frame, held: Held) -> None:
        """Refuse columns that few patients here have a value of, or that part few of them from the others.

        One that is the same for all patients here is refused too: where every site but one has such a column, sums
        with it are that one site's own, as with a column that names the site.
        """
        binary = binary_columns(query.recipe, self.study)
        # Counts by level of all patients have no minimum, as those by class of an endpoint have none.
        counted = isinstance(query, LevelCounts)
        drafts = draft_columns(query.recipe)
        # What one site tells of a score that few of its patients have another value of would be about these few; so
        # would a total be that is less what all others tell of theirs.
        scores = drafts | {step.column for step in query.recipe.steps if isinstance(step, Score)}
        if (not query.pooled or isinstance(query, ScoreMoments)) and any(
            one_value(frame, name, self.limits.min_cell) for name in scores & set(frame.columns)
        ):
            raise FedmviError(409, "a score: one value", limit=self.limits.min_cell, cohort=query.cohort)
        if drafts & set(query.uses) and not draws_apart(query.recipe, frame, self.limits.min_cell):
            raise FedmviError(409, "a draft score: few apart", limit=self.limits.min_cell, cohort=query.cohort)
        # What readers agree on is added where enough patients were read twice, and else nothing is (`SiteAgreement`).
        for name in () if isinstance(query, SiteAgreement) else query.uses:
            values, counts = np.unique(frame.columns[name][~np.isnan(frame.columns[name])], return_counts=True)
            if int(counts.sum()) < self.limits.min_cell:
                raise FedmviError(409, f"column {name}: few known", limit=self.limits.min_cell, cohort=query.cohort)
            if values.size == 1 and not counted:
                raise FedmviError(409, f"column {name}: one value", limit=self.limits.min_cell, cohort=query.cohort)
            # A binary column with imputed values has a third one between its levels.
            levels = values.size == 2 or name in binary
            smallest = int(counts[[0, -1]].min() if levels else counts.sum())
            held["column"] = min(smallest, held.get("column", smallest))
            if levels and smallest < self.limits.min_cell and not counted:
                raise FedmviError(409, f"column {name}", limit=self.limits.min_cell, cohort=query.cohort)

    def _reference_levels(self, query: Query, frame: Frame) -> None:
        """Refuse a categorical predictor whose reference level, which has no column of its own, few patients have."""
        for names in level_columns(query.recipe, self.study):
            if len(names) > 1 and set(names) <= set(query.uses):
                values = frame.matrix(names)
                known = values[~np.isnan(values).any(axis=1)]
                if int(np.count_nonzero(~known.any(axis=1))) < self.limits.min_cell:
                    raise FedmviError(
                        409, f"reference level of {names[0]}", limit=self.limits.min_cell, cohort=query.cohort
                    )

    def _folds_hold(self, query: Query, smaller: int) -> bool:
        """Whether the smaller class leaves enough patients in every part that folds cut it into.

        Under masks the parts of a sum are the whole roster's, and each of ours must only leave enough to train on;
        without masks what we send of a fold is that of the few patients in it.
        """
        masked = self.policy.masks == "required"
        if query.draws and not masked:
            return smaller // 2 >= self.limits.min_class
        if not query.folds:
            return True
        fold = -(-smaller // query.folds)
        return (smaller - fold if masked else smaller // query.folds) >= self.limits.min_class

    def _parts_hold(self, query: Query, left: int) -> bool:
        """Whether what an answer leaves out of the patients is enough for a cell, where no mask covers it."""
        parts = any(isinstance(step, Outside | Resample) for step in query.recipe.steps)
        return not parts or self.policy.masks == "required" or left // (FOLDS - 1) >= self.limits.min_cell

    def _roster_parts_hold(self, query: Query, pooled: float) -> bool:
        """Whether the roster's part that folds or an outside fold tell by a difference is more than a few patients."""
        parts = query.folds or any(isinstance(step, Outside | Resample) for step in query.recipe.steps)
        masked = self.policy.masks == "required"
        return not parts or not masked or pooled / FOLDS >= CELLS_OF_A_FOLD * self.limits.min_cell

    def _share(self, query: Query) -> float:
        """The largest number of parameters, as a share of the patients.

        A regression's step over everybody less the same step without a fold is a step over the fold: with more
        parameters than the fold has patients it would tell their rows.
        """
        told = query.folds or any(isinstance(step, Outside) for step in query.recipe.steps)
        stepping = getattr(query, "coefficients", None) is not None
        return min(self.limits.max_parameters, 1.0 / FOLDS) if told and stepping else self.limits.max_parameters

    def _weigh(self, query: Query, frame: Frame, held: Held) -> None:
        """Refuse broadcast numbers that give weight to a few patients only, whose rows the sums would then be."""
        weight = query.influence(frame)
        if weight is None:
            return
        least = float(self.limits.min_cell)
        if query.folds and weight.ndim > 2:
            # In the small part that is a fold, a quarter of its patients: sums over a roster have three such parts.
            least = min(least, frame.n // query.folds / 4.0)
        smallest = float(np.min(weight.sum(axis=-1), initial=frame.n))
        if np.isfinite(smallest):
            held["weight"] = round(smallest, 3)
        if smallest < least:
            raise FedmviError(416, limit=self.limits.min_cell, cohort=query.cohort)


CELLS_OF_A_FOLD = 2
"""How many cells of patients a fold of a roster has at least, under masks."""


def _each_once(query: Query, frame: Frame) -> Frame:
    """The frame as it is held against limits: a patient whom a bootstrap set has twice is one patient."""
    if not any(isinstance(step, Resample) for step in query.recipe.steps):
        return frame
    first = np.zeros(frame.n, dtype=bool)
    first[np.unique(frame.keys, return_index=True)[1]] = True
    return frame.keep(first)
