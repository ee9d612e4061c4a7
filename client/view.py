"""client: what queries see of a site: frames of a cohort's patients, closed where the study says so, and gated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from client.cohort.membership import flow, members, patient_keys
from client.cohort.site import Site
from client.release.differencing import Patients, Register
from client.release.gate import Gate
from client.release.scope import columns_of
from client.run import OpenRun
from common.errors import FedmviError
from common.federation.query import Query
from common.study.protocol import CLOSED_ROLES
from common.study.recipe import Frame, Group, Recipe, Score
from common.study.table import SiteTable


def visible_endpoints(run: OpenRun, table: SiteTable, cohort: str, recipe: Recipe) -> tuple[str, ...]:
    """The endpoint columns that a recipe's frame may have in a cohort.

    In a closed cohort: none before the models are frozen; afterwards the endpoint of each frozen score in the
    recipe, and those of the frozen comparisons whose groups the recipe forms.

    Raises
    ------
    FedmviError
        407 groups by an endpoint that is still closed, or a score that is not frozen, in any cohort: a server could
        write what it likes to know of a patient into the digits of a score.
    """
    for i, step in enumerate(recipe.steps):
        # The whole recipe up to the score is frozen: with other imputed values it would be another model.
        scoring = Recipe(recipe.steps[: i + 1])
        if isinstance(step, Score) and not (run.frozen and scoring.digest in run.frozen.scores):
            raise FedmviError(407, cohort=cohort)
    if run.study.cohort(cohort).role not in CLOSED_ROLES:
        return tuple(table.endpoints)
    visible: set[str] = set()
    for step in recipe.steps:
        if isinstance(step, Score):
            visible.update(run.study.endpoint(step.endpoint).keys)
        if isinstance(step, Group):
            allowed = [
                c
                for c in run.study.comparisons
                if run.frozen and c.name in run.frozen.comparisons and c.cohort == cohort and c.group == step.by
            ]
            if not allowed:
                raise FedmviError(407, cohort=cohort)
            for comparison in allowed:
                visible.update(run.study.endpoint(comparison.endpoint).keys)
    return tuple(name for name in table.endpoints if name in visible)


class GatedView:
    """The view of one message: frames are built once for each recipe, and every one passes the gate."""

    def __init__(self, site: Site, table: SiteTable, run: OpenRun, gate: Gate) -> None:
        self._site, self._table, self._run, self._gate = site, table, run, gate
        self._frames: dict[tuple[str, str], Frame] = {}
        self._rows: dict[str, NDArray[np.bool_]] = {}
        self._patients: dict[str, Patients] = {}

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        key = (query.cohort, query.recipe.digest)
        rows = self._members(query.cohort)
        if key not in self._frames:
            visible = visible_endpoints(self._run, self._table, query.cohort, query.recipe)
            try:
                frame = query.recipe.apply(self._table, rows, visible, self._keys)
            except (KeyError, ValueError) as error:
                raise FedmviError(501, f"recipe: {type(error).__name__}: {error}") from error
            self._frames[key] = self._closed(query, frame)
        frame = self._frames[key]
        if not set(columns_of(query)) <= set(frame.columns):
            raise FedmviError(407, cohort=query.cohort)
        if query.classes_of and query.classes_of not in frame.endpoints:
            raise FedmviError(407, cohort=query.cohort)
        self._gate.inspect(query, int(np.count_nonzero(rows)), frame, self._run.elsewhere(query.cohort))
        return frame

    def _closed(self, query: Query, frame: Frame) -> Frame:
        """In a closed cohort endpoints are offered beside scores and groups only: nothing is fitted there."""
        if self._run.study.cohort(query.cohort).role not in CLOSED_ROLES or not frame.endpoints:
            return frame
        beside = {"group", "fold", *(step.column for step in query.recipe.steps if isinstance(step, Score))}
        return replace(frame, columns={name: frame.columns[name] for name in sorted(beside & set(frame.columns))})

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        return patient_keys(self._site, self._table)

    @cached_property
    def _register(self) -> Register:
        return Register(self._site, self._table)

    def counted(self, query: Query) -> tuple[Patients, ...]:
        """Whom the answer to a query counts: the frame's patients; without a frame, the cohort's and the table's."""
        frame = self._frames.get((query.cohort, query.recipe.digest))
        if frame is not None and type(query).respond is Query.respond:
            return (self._register.of(frame.keys),)
        return self.patients(query.cohort), self._register.all

    def patients(self, cohort: str) -> Patients:
        """The patients of a cohort."""
        if cohort not in self._patients:
            self._patients[cohort] = self._register.of(self._keys[self._members(cohort)])
        return self._patients[cohort]

    def _members(self, cohort: str) -> NDArray[np.bool_]:
        if cohort not in self._rows:
            study = self._run.study
            self._rows[cohort] = members(self._site, self._table, study, study.cohort(cohort))
        return self._rows[cohort]

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """See `SiteView`."""
        return flow(self._site, self._table, self._run.study, self._run.study.cohort(cohort))

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """See `SiteView`. These counts are open in every cohort: the sample size is planned on them."""
        rows, declared = self._members(cohort), self._run.study.endpoint(endpoint)
        values = self._table.endpoints[declared.keys[-1]][rows]
        unknown = int(np.count_nonzero(np.isnan(values)))
        present = int(np.count_nonzero(values >= 1.0 if declared.kind == "ordinal" else values == 1.0))
        return values.size - unknown - present, present, unknown
