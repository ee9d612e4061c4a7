"""client/describing: what a study would find here: cohorts, endpoints, models, and what would be refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from client.approval.telling import tell
from client.cohort.limits import under_limits
from client.cohort.membership import flow, members
from client.cohort.site import Site
from client.cohort.units import Flags
from client.describing.expressed import ExpressionHere, expression_here
from client.describing.followed import Followed, classes, followed
from common.errors import FedmviError
from common.study.coding import coded_columns
from common.study.protocol import Cohort, Endpoint, Model, Study
from common.study.table import SiteTable


@dataclass(frozen=True)
class CohortHere:
    """A cohort of the site: who is in it, how the table's patients become its patients, and whether the study sees its
    endpoints only beside frozen scores (`closed`)."""

    cohort: Cohort
    rows: Flags
    flow: tuple[tuple[str, int], ...]
    closed: bool


@dataclass(frozen=True)
class EndpointHere:
    """An endpoint by the name of a group of patients: a row of counts, or of follow-up."""

    endpoint: Endpoint
    classes: Mapping[str, tuple[int, ...]]
    followed: Mapping[str, Followed]


@dataclass(frozen=True)
class ModelHere:
    """A model over this site's patients of its own cohort.

    Attributes
    ----------
    patients, complete
        With the endpoint, and of these with every predictor; None where a predictor is a feature of images.
    events
        Patients of the positive class, of `patients`.
    parameters
        Columns that the predictors become, without the intercept.
    """

    model: Model
    patients: int
    complete: int | None
    events: int
    parameters: int

    @property
    def per_parameter(self) -> float:
        """Events per parameter; where these are the rarer ones, patients without the event."""
        return min(self.events, self.patients - self.events) / self.parameters


@dataclass(frozen=True)
class StudyHere:
    """All of it; `refusals` and `limits` are in words, `unlooked` says why data or policy could not be held up.

    `expression` is None where none is compared.
    """

    cohorts: tuple[CohortHere, ...]
    endpoints: tuple[EndpointHere, ...]
    models: tuple[ModelHere, ...]
    refusals: tuple[str, ...]
    limits: tuple[tuple[str, str], ...]
    unlooked: tuple[str, ...]
    expression: ExpressionHere | None = None


def study_here(site: Site, table: SiteTable, study: Study, kept: Flags) -> StudyHere:
    """What the study would find among the patients of the table, under the policy of this moment."""
    unlooked = []
    cohorts: tuple[CohortHere, ...] = ()
    try:
        cohorts = tuple(
            CohortHere(
                cohort,
                members(site, table, study, cohort),
                tuple(flow(site, table, study, cohort)),
                cohort.role in study.closed_roles,
            )
            for cohort in study.cohorts
            if site.name in cohort.sites
        )
    except FedmviError as error:  # no site.secret: nobody knows who is in which part of a split
        unlooked.append(str(error))
    groups = {"all eligible": kept, **{each.cohort.name: each.rows for each in cohorts}}
    refusals, limits = _refusals(site, table, study, unlooked)
    models = tuple(
        _model(table, study, model, here.rows)
        for model in study.models
        for here in cohorts
        if here.cohort.name == model.cohort
    )
    endpoints = tuple(_endpoint(table, endpoint, groups) for endpoint in study.endpoints)
    expressed = expression_here(site.name, table, study, ((here.cohort, here.rows) for here in cohorts))
    return StudyHere(cohorts, endpoints, models, refusals, limits, tuple(unlooked), expressed)


def _endpoint(table: SiteTable, endpoint: Endpoint, groups: Mapping[str, Flags]) -> EndpointHere:
    if endpoint.timed:
        return EndpointHere(endpoint, {}, {name: followed(table, endpoint, rows) for name, rows in groups.items()})
    return EndpointHere(endpoint, {name: classes(table, endpoint, rows) for name, rows in groups.items()}, {})


def _model(table: SiteTable, study: Study, model: Model, rows: Flags) -> ModelHere:
    outcome = np.where(rows, table.endpoints[model.endpoint], np.nan)
    known = ~np.isnan(outcome)
    complete: int | None = None
    if all(term.variable in table.columns for term in model.predictors):
        lacks = [np.isnan(table.columns[term.variable].values) for term in model.predictors]
        complete = int(np.count_nonzero(known & ~np.logical_or.reduce(lacks)))
    parameters = len(coded_columns(study, model.predictors))
    events = int(np.count_nonzero(outcome == 1))
    return ModelHere(model, int(np.count_nonzero(known)), complete, events, parameters)


_TOO_FEW = re.compile(r"FEDMVI-40[35] ")


def _refusals(
    site: Site, table: SiteTable, study: Study, unlooked: list[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What would be refused for too few patients, by the table; and for anything else, as `preview` says."""
    refusals: list[str] = []
    limits: tuple[tuple[str, str], ...] = ()
    try:
        refusals = [f"{hint.facts['cohort']}: {hint.code} {hint.what} Here: {hint.local}."
                    for hint in under_limits(site, table, study)]  # fmt: skip
        told = tell(site, study)
        refusals += [sentence for sentence in told.refusals if not _TOO_FEW.search(sentence)]
        limits = told.limits
        if told.unprepared:
            unlooked.append(f"Limits that depend on prepared data were not looked at: {told.unprepared}")
    except FedmviError as error:
        unlooked.append(str(error))
    return tuple(refusals), limits
