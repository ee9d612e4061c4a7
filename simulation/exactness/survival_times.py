"""simulation: exactness of restricted means, follow-up, weighted and stratified log-rank tests, competing risks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from common.federation.runner import Conclusion
from common.statistics.competing_risks import CompetingRisks, competing_risks
from common.statistics.follow_up import FollowUp, follow_up
from common.statistics.log_rank import StratifiedLogRank, stratified_log_rank
from common.statistics.restricted_mean import RestrictedMeans, restricted_means
from common.statistics.survival import SurvivalResult, survival
from common.study.recipe import Recipe
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, relative
from simulation.exactness.tables import (
    breast_competing,
    breast_recurrence,
    liver_competing,
    liver_resection,
)
from simulation.views import COHORT

Grid = tuple[int, float, int]
"""Groups, precision, grid points."""


def grid_of(table: Table, endpoint: str, precision: float) -> Grid:
    """The smallest grid that holds the table's times."""
    groups = int(table.columns["group"].max()) + 1
    return groups, precision, round(float(table.endpoints[f"{endpoint}.time"].max()) / precision) + 1


def survival_times_by_day() -> Case:
    """Restricted means, follow-up and log-rank tests by the day, three groups."""
    return _times(breast_recurrence(), 1.0, 730.0, "breast")


def survival_times_with_ties() -> Case:
    """The same by tenths of a month, two groups, with many ties."""
    return _times(liver_resection(), 0.1, 24.0, "liver")


def competing_risks_by_day() -> Case:
    """Cumulative incidences and Gray's test by the day, three groups."""
    return _causes(breast_competing(), 1.0, "breast")


def competing_risks_with_ties() -> Case:
    """The same by tenths of a month, two groups, with many ties."""
    return _causes(liver_competing(), 0.1, "liver")


def log_rank_within_sites() -> Case:
    """Log-rank tests stratified by site, three groups."""
    return _within_sites(breast_recurrence(), 1.0, "breast")


def log_rank_within_sites_with_ties() -> Case:
    """The same by tenths of a month, two groups, with many ties."""
    return _within_sites(liver_resection(), 0.1, "liver")


CASES: tuple[Callable[[], Case], ...] = (
    survival_times_by_day,
    survival_times_with_ties,
    log_rank_within_sites,
    log_rank_within_sites_with_ties,
    competing_risks_by_day,
    competing_risks_with_ties,
)


def _times(table: Table, precision: float, horizon: float, name: str) -> Case:
    frozen = golden("survival_times")[name]
    grid = grid_of(table, "os", precision)
    recipe = Recipe()

    def conclusions() -> list[Conclusion[Any]]:
        return [
            restricted_means(COHORT, recipe, "os", *grid, horizon),
            follow_up(COHORT, recipe, "os", *grid, horizon),
            survival(COHORT, recipe, "os", *grid, rho=1.0),
            survival(COHORT, recipe, "os", *grid, horizon),
        ]

    def differences(results: list[Any]) -> list[Difference]:
        means, followed, peto, cut = results
        return [
            *_restricted(means, table, frozen),
            *_followed(followed, table, frozen, horizon),
            _tests("Peto-Peto", peto, frozen["peto"]),
            _tests(f"log-rank to {horizon:g}", cut, frozen["cut"]),
        ]

    return Case(table, conclusions, differences)


def _within_sites(table: Table, precision: float, name: str) -> Case:
    frozen = golden("survival_times")[name]
    grid = grid_of(table, "os", precision)

    def differences(results: list[Any]) -> list[Difference]:
        return [
            _tests("log-rank, stratified by site", results[0], frozen["stratified"]),
            _tests("Peto-Peto, stratified by site", results[1], frozen["stratified_peto"]),
        ]

    return Case(
        table,
        lambda: [stratified_log_rank(COHORT, Recipe(), "os", *grid, rho=rho) for rho in (0.0, 1.0)],
        differences,
    )


def _r(package: str, call: str) -> str:
    return f"R {package} {golden('competing')['r'][package]} {call}"


def _restricted(fit: RestrictedMeans, table: Table, frozen: Mapping[str, Any]) -> list[Difference]:
    from lifelines import KaplanMeierFitter
    from lifelines.utils import restricted_mean_survival_time

    time, event, group = table.endpoints["os.time"], table.endpoints["os.event"], table.columns["group"]
    areas = [
        restricted_mean_survival_time(KaplanMeierFitter().fit(time[group == i], event[group == i]), t=fit.horizon_)
        for i in range(fit.mean_.size)
    ]
    mean, error = np.array(frozen["mean"]), np.array(frozen["std_err"])
    oracle = _r("survival", "survfit rmean")
    apart = np.hypot(error[1:], error[0])
    log_error = np.hypot(error[1:] / mean[1:], error[0] / mean[0])
    return [
        Difference("restricted mean", library("lifelines"), largest(fit.mean_, areas), 1e-9),
        Difference("restricted mean", oracle, largest(fit.mean_, mean), 1e-9),
        Difference("restricted mean, standard error", oracle, largest(fit.std_err_, error), 1e-9),
        Difference("difference of restricted means", oracle, largest(fit.difference_, mean[1:] - mean[0]), 1e-9),
        Difference("difference, standard error", oracle, largest(fit.difference_std_err_, apart), 1e-9),
        Difference("ratio of restricted means", oracle, largest(fit.ratio_, mean[1:] / mean[0]), 1e-12),
        Difference("ratio, standard error of its log", oracle, largest(fit.log_ratio_std_err_, log_error), 1e-12),
    ]


def _followed(fit: FollowUp, table: Table, frozen: Mapping[str, Any], horizon: float) -> list[Difference]:
    time, event, group = table.endpoints["os.time"], table.endpoints["os.event"], table.columns["group"]
    medians = np.array([curve.median for curve in fit.curves_])
    theirs = np.array([[np.inf if x == "NA" else x for x in row] for row in frozen["follow_up"]], dtype=np.float64)
    complete = (event == 1.0) | (time >= horizon)
    shares = [float(complete[group == i].mean()) for i in range(len(fit.curves_))]
    return [
        Difference("median follow-up and interval", _r("survival", "survfit"), largest(medians, theirs), 1e-9),
        Difference("complete follow-up", "its definition, on pooled rows", largest(fit.share_, shares), 1e-15),
    ]


def _tests(name: str, fit: SurvivalResult | StratifiedLogRank, frozen: Mapping[str, Any]) -> Difference:
    ours = [*fit.observed_, *fit.expected_, fit.chi2_]
    theirs = [*frozen["observed"], *frozen["expected"], frozen["chi2"]]
    if isinstance(fit, StratifiedLogRank):
        ours, theirs = [*ours, *fit.covariance_.ravel()], [*theirs, *np.ravel(frozen["variance"])]
    return Difference(f"{name}: O, E, chi2", _r("survival", "survdiff"), largest(ours, theirs), 1e-10)


def _causes(table: Table, precision: float, name: str) -> Case:
    frozen = golden("competing")[name]
    grid = grid_of(table, "ttr", precision)
    return Case(
        table,
        lambda: [competing_risks(COHORT, Recipe(), "ttr", *grid)],
        lambda results: _incidences(results[0], table, frozen),
    )


def _incidences(fit: CompetingRisks, table: Table, frozen: Mapping[str, Any]) -> list[Difference]:
    from scipy.stats import norm
    from sksurv.nonparametric import cumulative_incidence_competing_risks

    times = np.array(frozen["times"], dtype=np.float64)
    at = np.stack([curve.at(times) for curve in fit.curves_], axis=1)  # (causes, groups, 4, times)
    errors = np.stack([curve.std_err_at(times) for curve in fit.curves_], axis=1)
    specific = [curve.cause_specific_[0].at(times)[0] for curve in fit.curves_]
    everywhere = 0.0
    for i, curve in enumerate(fit.curves_):
        rows = table.columns["group"] == i
        time, event = table.endpoints["ttr.time"][rows], table.endpoints["ttr.event"][rows].astype(np.int64)
        everywhere = max(
            everywhere, largest(curve.incidence_, cumulative_incidence_competing_risks(event, time)[1][1:])
        )
    share, variance = (np.reshape(frozen[key], errors.shape) for key in ("incidence", "variance"))
    inside = share > 0
    log_log = np.log(-np.log(share[inside]))
    half = norm.ppf(0.975) * np.sqrt(variance[inside]) / -(share[inside] * np.log(share[inside]))
    bands = [np.exp(-np.exp(log_log + sign * half)) for sign in (1.0, -1.0)]
    ours = [at[:, :, row][inside] for row in (1, 2)]
    cuminc, survfit = _r("cmprsk", "cuminc"), _r("survival", "survfit")
    return [
        Difference("cumulative incidence, at every time", library("scikit-survival"), everywhere, 1e-12),
        Difference("cumulative incidence", cuminc, largest(at[:, :, 0], share), 1e-12),
        Difference("cumulative incidence, variance (relative)", cuminc, relative(np.square(errors), variance), 1e-10),
        Difference("cumulative incidence, log-log band", f"{cuminc}, its variance", largest(ours, bands), 1e-12),
        Difference("Gray's chi2, either cause", cuminc, relative(fit.chi2_, frozen["chi2"]), 1e-9),
        Difference("Gray's test, log10 p", cuminc, largest(np.log10(fit.p_), np.log10(frozen["p"])), 1e-8),
        Difference("cause-specific curves", survfit, largest(specific, frozen["cause_specific"]), 1e-12),
    ]
