"""client: what queries see of a site: frames of a cohort's patients, closed where the study says so, and gated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.membership import flow, members, patient_keys, site_secret
from client.cohort.site import Site
from client.cohort.store import load_prepared, stack_digests, store_folder
from client.learning.admission import Admission
from client.learning.work import Works, work_folder
from client.learning.workbench import Workbench, dealt_folds
from client.release.centre_scope import filling
from client.release.differencing import Patients, Register
from client.release.expression_scope import compares_genes
from client.release.gate import Gate, Held
from client.release.hazard_scope import offered_columns
from client.release.recalibration_scope import opens_endpoints, refitted_columns
from client.release.scope import columns_of
from client.release.subgroup_scope import before_subset, subset_of
from client.release.withheld_scope import check_withheld
from client.run import OpenRun
from common.errors import FedmviError
from common.federation.learning import RoundLoss, RoundUpdate
from common.federation.query import Query, Receipt, Task
from common.statistics.residuals import ResidualsAlone
from common.study.centres import fits_here, left_out, of_everybody, silent
from common.study.correcting import recalibrations_in
from common.study.expressed import Genes
from common.study.harmonisation import Combat
from common.study.modelling import is_score
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import (
    Cut,
    Fold,
    Frame,
    Group,
    Made,
    ModelColumns,
    Outside,
    Recipe,
    Resample,
    Score,
    SecondReadings,
)
from common.study.scales import Scale, scales
from common.study.scores import GROUP, analysed_models, needed_columns
from common.study.table import SiteTable

if TYPE_CHECKING:
    from client.learning.dataset import Learners

UNKNOWN = -1
"""A label, or a fold, that nobody is told."""


def visible_endpoints(run: OpenRun, table: SiteTable, cohort: str, recipe: Recipe) -> tuple[str, ...]:
    """The endpoint columns that a recipe's frame may have in a cohort.

    In a closed cohort: none before it is opened; afterwards the endpoints of each frozen score in the recipe, a
    network's included, and those of the frozen comparisons whose groups the recipe forms. A calibration cohort is
    opened by the freeze of the models, the others by that of the corrections where the study has some.

    Raises
    ------
    FedmviError
        407 groups by an endpoint that is still closed, or a score that is not frozen, in any cohort: a server could
        write what it likes to know of a patient into the digits of a score.
    """
    closed, opened = run.study.cohort(cohort).role in run.study.closed_roles, run.opened(cohort)
    for i, step in enumerate(recipe.steps):
        # The whole recipe up to the score is frozen: with other imputed values it would be another model.
        scoring = Recipe(recipe.steps[: i + 1])
        frozen = run.is_frozen(scoring)
        if isinstance(step, Score) and not frozen:
            raise FedmviError(407, cohort=cohort)
        # A cut-off of draft scores is chosen where the model is trained; of frozen ones it is frozen with them.
        drafted = not closed and not any(isinstance(earlier, Score) for earlier in recipe.steps[:i])
        if isinstance(step, Cut) and not (frozen or drafted):
            raise FedmviError(407, cohort=cohort)
    if not closed:
        return tuple(table.endpoints)
    visible: set[str] = set()
    for step in recipe.steps:
        if isinstance(step, Score) and opened is not None and _is_looked_at(run.study, cohort, recipe):
            visible.update(run.study.endpoint(step.endpoint).keys)
        if isinstance(step, Made):
            # In open cohorts a model scores once a run (see `Admission`); here only one that was frozen is seen at all.
            if not (run.frozen and step.model in run.frozen.scores):
                raise FedmviError(407, cohort=cohort)
            network = next(n for n in run.study.networks if n.name == step.network)
            for name in (network.grades, network.binary) if opened is not None else ():
                visible.update(run.study.endpoint(name).keys)
        if isinstance(step, Genes) and opened is None:
            raise FedmviError(407, cohort=cohort)
        if isinstance(step, Group) or (isinstance(step, Cut) and step.name == GROUP):
            visible |= _beside_groups(run, cohort, recipe, step)
    # Genes are compared by groups; beside an outcome itself nobody is shown them.
    expressed = any(isinstance(step, Genes) for step in recipe.steps)
    return () if expressed else tuple(name for name in table.endpoints if name in visible)


def _beside_groups(run: OpenRun, cohort: str, recipe: Recipe, step: Group | Cut) -> set[str]:
    """The endpoint columns that are offered beside groups: of survival, none where genes are compared; error 407 where
    no comparison was frozen that has such groups."""
    opened = run.opened(cohort)
    if compares_genes(run.study, cohort, recipe, opened):
        return set()
    # By which scores groups may be formed was decided before (`check_scope`), and the cut-off is frozen.
    allowed = [
        c
        for c in run.study.comparisons
        if opened is not None
        and c.name in opened.comparisons
        and c.cohort == cohort
        and (c.group == step.by if isinstance(step, Group) else is_score(c.group))
    ]
    if not allowed:
        raise FedmviError(407, cohort=cohort)
    return {key for comparison in allowed for key in run.study.endpoint(comparison.endpoint).keys}


def _is_looked_at(study: Study, cohort: str, recipe: Recipe) -> bool:
    """Whether the study holds one of a recipe's scores against its endpoint in this cohort, and not only forms groups
    by it."""
    scored = {step.model for step in recipe.steps if isinstance(step, Score)}
    places = {model.name for model in study.models if cohort in (model.cohort, *model.evaluate)}
    here = [analysis for analysis in study.analyses if analysis.cohort == cohort]
    places |= {model.name for analysis in here for model in analysed_models(study, analysis)}
    places |= {one.model for one in recalibrations_in(study, cohort) if opens_endpoints(one)}
    return bool(scored & places)


class GatedView:
    """The view of one message: frames are built once for each recipe, and every one passes the gate."""

    def __init__(self, site: Site, run: OpenRun, gate: Gate) -> None:
        self._site, self._run, self._gate = site, run, gate
        self._frames: dict[tuple[str, str], Frame] = {}
        self._bases: dict[tuple[str, str, tuple[str, ...], bool], Frame] = {}
        self._parts: dict[tuple[str, str], list[NDArray[np.uint64]]] = {}  # of everybody, where one was taken
        self._rows: dict[str, NDArray[np.bool_]] = {}
        self._groups: dict[str, tuple[Scale, ...]] = {}
        self._patients: dict[str, Patients] = {}
        self._held: dict[int, tuple[Query, Held]] = {}  # with the query, so that its id stays its own

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        if silent(query.recipe, self._site.name):
            raise FedmviError(501, "a site that has nothing to say makes no frame")
        recipe = of_everybody(query.recipe)
        check_withheld(self._run, self._site.name, query.cohort, recipe)
        key, took_part = (query.cohort, query.recipe.digest), fits_here(query.recipe)
        rows = self._members(query.cohort)
        if key not in self._frames:
            visible = visible_endpoints(self._run, self._table, query.cohort, recipe)
            try:
                frame = self._made_frame(query.cohort, recipe, visible, took_part=took_part)
                if subset_of(query) is not None:
                    whole = self._made_frame(query.cohort, Recipe(before_subset(query.recipe.steps)), visible)
                    self._parts[key] = self._gate.admit_subgroup(query, whole)
            except (KeyError, ValueError) as error:
                raise FedmviError(501, f"recipe: {type(error).__name__}: {error}") from error
            self._frames[key] = frame
        # To one question more columns may be offered beside the endpoints than to another about the same patients.
        frame = self._closed(query, self._frames[key])
        if not set(columns_of(query)) <= set(frame.columns):
            raise FedmviError(407, cohort=query.cohort)
        if query.classes_of and query.classes_of not in frame.endpoints:
            raise FedmviError(407, cohort=query.cohort)
        if left_out(query.recipe) and filling(recipe) is not None:
            self._gate.admit_filled(query, self._before_filling(query.cohort, recipe, tuple(frame.endpoints)))
        elsewhere = self._run.elsewhere(query.cohort, left_out(query.recipe))
        held = self._gate.inspect(query, int(np.count_nonzero(rows)), frame, elsewhere)
        self._held[id(query)] = query, held
        return frame

    def _before_filling(self, cohort: str, recipe: Recipe, visible: tuple[str, ...]) -> Frame:
        """The patients as the table has them, before their missing values are filled."""
        first = next(i for i, step in enumerate(recipe.steps) if step is filling(recipe))
        return self._made_frame(cohort, Recipe(recipe.steps[:first]), visible)

    def _made_frame(self, cohort: str, recipe: Recipe, visible: tuple[str, ...], *, took_part: bool = True) -> Frame:
        """The frame of a recipe; that of the patients before a part of them is taken is made once for all parts."""
        before = recipe.before_drafts
        key = (cohort, before.digest, visible, took_part)
        if key not in self._bases:
            table = self._with_made(cohort, before)
            self._bases[key] = before.apply(
                table, self._members(cohort), visible, self._keys, self._scales, cohort if took_part else ""
            )
        return Recipe(recipe.steps[len(before.steps) :]).apply_to(self._bases[key])

    def held(self, query: Query) -> Held:
        """What was held against limits before this very query was answered; nothing of one that sees no frame."""
        return self._held[id(query)][1] if id(query) in self._held else {}

    def _closed(self, query: Query, frame: Frame) -> Frame:
        """In a closed cohort endpoints are offered beside scores and groups only, and beside what is declared of them:
        nothing else is fitted there."""
        study = self._run.study
        if study.cohort(query.cohort).role not in study.closed_roles or not frame.endpoints:
            return frame
        beside = {GROUP, "fold", *(step.column for step in query.recipe.steps if isinstance(step, Score))}
        beside |= {name for step in query.recipe.steps if isinstance(step, Made) for name in step.names}
        beside |= refitted_columns(study, query.cohort, query.recipe) | offered_columns(query, study)
        # That they are the columns of the model whose frozen score is compared was decided before (`check_scope`).
        beside |= set(query.columns) if isinstance(query, ResidualsAlone) else set()
        return replace(frame, columns={name: frame.columns[name] for name in sorted(beside & set(frame.columns))})

    def _with_made(self, cohort: str, recipe: Recipe) -> SiteTable:
        """The table with the scores that networks made here for the cohort, and the models that the recipe names.

        Error 511 where no task made them.
        """
        models = {model for step in recipe.steps if isinstance(step, Made) for model in step.models}
        made = {model: self.bench.columns(cohort, model, self._table.patients) for model in sorted(models)}
        named = {step.model for step in recipe.steps if isinstance(step, ModelColumns | SecondReadings)}
        study = self._run.study
        declared = {m.name: needed_columns(study, m) for m in study.models if m.name in named}
        return replace(self._table, made=made, declared=declared)

    @cached_property
    def works(self) -> Works:
        """What tasks of the run made here."""
        return Works(work_folder(self._site, self._run.folder.name))

    @cached_property
    def admission(self) -> Admission:
        """What is asked of networks here, and whether it may be."""
        frozen = self._run.frozen.scores if self._run.frozen else ()
        signed = self._run.alone if self._run.masks else None
        return Admission(self._site.name, self._gate, self.works, frozenset(frozen), signed)

    @cached_property
    def bench(self) -> Workbench:
        """Where the run's tasks are done."""
        secret = site_secret(self._site)
        alone = self._gate.policy.release_alone
        return Workbench(
            self._run.study, self.works, self._learners, secret, self.admission.inspect, site=self._site.name,
            alone=alone,
        )  # fmt: skip

    def perform(self, task: Task) -> Receipt:
        """See `Worker`; what may be performed is decided before (`Admission`)."""
        return self.bench.perform(task)

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        """See `SiteView`."""
        return self.works.arrays(task)

    def _learners(self, cohort: str, network: Network, combination: tuple[str, ...]) -> Learners:
        """The cohort's patients with their stacks; grades and outer folds are known to training only."""
        from client.learning.dataset import load_learners

        rows = self._members(cohort)
        ids = [patient for patient, inside in zip(self._table.patients, rows, strict=True) if inside]
        labels, folds = np.full((2, len(ids)), UNKNOWN, dtype=np.int64)
        if cohort == network.cohort:
            values = self._table.endpoints[network.endpoint][rows]
            labels = np.where(np.isnan(values), UNKNOWN, values).astype(np.int64)
            frame = Frame({}, {network.endpoint: values}, len(ids), self._keys[rows])
            folds = Fold(dealt_folds(network), network.endpoint).apply(frame).columns["fold"].astype(np.int64)
        return load_learners(store_folder(self._site, self._run.study), ids, labels, folds, combination, network)

    @cached_property
    def _table(self) -> SiteTable:
        return load_prepared(self._site, self._run.study)

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        return patient_keys(self._site, self._table)

    @cached_property
    def _register(self) -> Register:
        """The table's patients, without their images: so runs of studies with and without networks compare."""
        return Register(self._site, self._table)

    @cached_property
    def _pictured(self) -> Register:
        """The table's patients with their stacks, where the study has networks that see them."""
        if not self._run.study.networks:
            return self._register
        return Register(self._site, self._table, stack_digests(store_folder(self._site, self._run.study)))

    def counted(self, query: Query) -> tuple[Patients, ...]:
        """Whom the answer to a query counts: of a round all who take part in the network's trainings; else the frame's
        patients; without a frame, the cohort's and the table's."""
        if isinstance(query, RoundUpdate | RoundLoss):
            return (self._taking_part(query.task),)
        frame = self._frames.get((query.cohort, query.recipe.digest))
        if frame is not None and type(query).respond is Query.respond:
            scored = any(isinstance(step, Made) for step in query.recipe.steps)
            # Folds and bootstrap sets are the site's own draws: what counts is of whom they are drawn.
            before = self._before_parts(query, frame)
            register = self._pictured if scored else self._register
            # Any part of the patients is everybody less the others: all of them are compared with earlier runs.
            parts = self._parts.get((query.cohort, query.recipe.digest), [])
            # Whoever is counted, harmonised columns are by all patients who give location and scale.
            parts = [*parts, *(self._keys[rows] for rows in self._harmonised_by(query))]
            return register.of(before.keys), *(register.of(keys) for keys in parts)
        return self.patients(query.cohort), self._register.all

    def _harmonised_by(self, query: Query) -> list[NDArray[np.bool_]]:
        """Who gives location and scale to any of a query's patients."""
        steps = [step for step in query.recipe.steps if isinstance(step, Combat)]
        inside = self._members(query.cohort)
        return [one.by for step in steps for one in self._scales(step.training) if bool(np.any(one.rows & inside))]

    def framed(self, query: Query) -> Patients:
        """Those whom the recipe of a question that was answered leaves."""
        return self._register.of(self._frames[query.cohort, query.recipe.digest].keys)

    def _before_parts(self, query: Query, frame: Frame) -> Frame:
        """The frame before a part of its patients was taken; the frame itself where none was."""
        steps = of_everybody(query.recipe).steps
        taken = next((i for i, step in enumerate(steps) if isinstance(step, Outside | Resample)), None)
        if taken is None:
            return frame
        return self._made_frame(query.cohort, Recipe(steps[:taken]), tuple(frame.endpoints))

    def _taking_part(self, task: str) -> Patients:
        """With images and label, whichever fold a training leaves out."""
        learners = np.isin(self._table.patients, self.works.facts(task)["patients"])
        return self._pictured.of(self._keys[learners])

    def left(self, query: Query) -> Frame:
        """The patients here whom the recipe of a sum leaves if no centre is left out of it; errors of `frame`.

        The site that is left out makes that frame too: the sum with it less that without it is of these patients.
        """
        return self.frame(replace(query, recipe=of_everybody(query.recipe)))

    def size(self, cohort: str) -> int:
        """Number of patients of a cohort here."""
        return int(np.count_nonzero(self._members(cohort)))

    def patients(self, cohort: str) -> Patients:
        """The patients of a cohort, with all that the study's questions are about."""
        if cohort not in self._patients:
            self._patients[cohort] = self._pictured.of(self._keys[self._members(cohort)])
        return self._patients[cohort]

    def _members(self, cohort: str) -> NDArray[np.bool_]:
        if cohort not in self._rows:
            study = self._run.study
            self._rows[cohort] = members(self._site, self._table, study, study.cohort(cohort))
        return self._rows[cohort]

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """See `SiteView`."""
        return flow(self._site, self._table, self._run.study, self._run.study.cohort(cohort))

    def _scales(self, training: str) -> tuple[Scale, ...]:
        """By whom this hospital's patients are harmonised, see `scales`."""
        if training not in self._groups:
            study, labels = self._run.study, self._table.labels
            self._groups[training] = scales(study, self._site.name, labels, self._members, training)
        return self._groups[training]

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """See `SiteView`. These counts are open in every cohort: the sample size is planned on them."""
        rows, declared = self._members(cohort), self._run.study.endpoint(endpoint)
        values = self._table.endpoints[declared.keys[-1]][rows]
        unknown = int(np.count_nonzero(np.isnan(values)))
        present = int(np.count_nonzero(values >= 1.0 if declared.kind == "ordinal" else values == 1.0))
        return values.size - unknown - present, present, unknown
