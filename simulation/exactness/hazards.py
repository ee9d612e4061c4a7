"""simulation: exactness of Cox regressions, tests of proportional hazards, concordance and penalised Cox models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from common.federation.runner import Conclusion, conclude
from common.statistics.concordance import Concordance, concordance, concordance_pooled
from common.statistics.cox import CoxResult, cox
from common.statistics.cox_common_baseline import CommonCoxResult, cox_common_baseline
from common.statistics.cox_elastic_net import (
    CoxElasticNetPath,
    CoxElasticNetResult,
    cox_elastic_net,
    cox_elastic_net_cv,
)
from common.statistics.partial_likelihood import Ties
from common.statistics.proportional_hazards import (
    ProportionalHazards,
    TimeTransform,
    proportional_hazards,
    proportional_hazards_common,
)
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, relative
from simulation.exactness.tables import breast_recurrence, liver_resection, recidivism
from simulation.views import COHORT, federation_of

COLUMNS = {
    "recidivism": ("fin", "age", "race", "wexp", "mar", "paro", "prio"),
    "breast-recurrence": ("age", "size", "nodes", "progesterone", "oestrogen", "hormone"),
    "liver-resection": ("age", "size", "sex", "group"),
}
STRATUM = {"recidivism": "race", "breast-recurrence": "group", "liver-resection": "sex"}
PRECISION = {"recidivism": 1.0, "breast-recurrence": 1.0, "liver-resection": 0.1}
FOLDS = 5


def grid_of(table: Table) -> tuple[float, int]:
    """Precision of the table's times, and the points of the smallest grid that holds them."""
    precision = PRECISION[table.key]
    return precision, round(float(table.endpoints["os.time"].max()) / precision) + 1


def stratified_regressions_by_week() -> Case:
    """Cox regressions stratified by site, weeks with many ties."""
    return _regressions_inside(recidivism())


def stratified_regressions_by_day() -> Case:
    """Cox regressions stratified by site, days."""
    return _regressions_inside(breast_recurrence())


def stratified_regressions_by_month() -> Case:
    """Cox regressions stratified by site, tenths of a month."""
    return _regressions_inside(liver_resection())


def common_regressions_by_week() -> Case:
    """Cox regressions with a common baseline, weeks with many ties."""
    return _regressions_across(recidivism())


def common_regressions_by_day() -> Case:
    """Cox regressions with a common baseline, days."""
    return _regressions_across(breast_recurrence())


def common_regressions_by_month() -> Case:
    """Cox regressions with a common baseline, tenths of a month."""
    return _regressions_across(liver_resection())


def stratified_proportionality_by_week() -> Case:
    """Tests of proportional hazards stratified by site, weeks with many ties."""
    return _proportionality_inside(recidivism())


def stratified_proportionality_by_day() -> Case:
    """Tests of proportional hazards stratified by site, days."""
    return _proportionality_inside(breast_recurrence())


def stratified_proportionality_by_month() -> Case:
    """Tests of proportional hazards stratified by site, tenths of a month."""
    return _proportionality_inside(liver_resection())


def common_proportionality_by_week() -> Case:
    """Tests of proportional hazards with a common baseline, weeks with many ties."""
    return _proportionality_across(recidivism())


def common_proportionality_by_day() -> Case:
    """Tests of proportional hazards with a common baseline, days."""
    return _proportionality_across(breast_recurrence())


def common_proportionality_by_month() -> Case:
    """Tests of proportional hazards with a common baseline, tenths of a month."""
    return _proportionality_across(liver_resection())


def concordance_inside_sites_by_day() -> Case:
    """Harrell's C inside sites of a continuous and of a tied score, days."""
    return _concordance_inside(breast_recurrence())


def concordance_inside_sites_by_month() -> Case:
    """Harrell's C inside sites of a continuous and of a tied score, tenths of a month."""
    return _concordance_inside(liver_resection())


def concordance_across_sites_by_day() -> Case:
    """Harrell's C across sites of a continuous and of a tied score, days."""
    return _concordance_across(breast_recurrence())


def concordance_across_sites_by_month() -> Case:
    """Harrell's C across sites of a continuous and of a tied score, tenths of a month."""
    return _concordance_across(liver_resection())


def penalised_hazards() -> Case:
    """A cross-validated LASSO and an elastic-net path, stratified by site."""
    whole = breast_recurrence()
    fold = np.arange(whole.site.size) % FOLDS
    table = replace(whole, columns={**whole.columns, "fold": fold.astype(np.float64)})
    names = COLUMNS[table.key]
    return Case(
        table,
        lambda: [
            cox_elastic_net_cv(COHORT, Recipe(), "os", names, folds=FOLDS, count=20),
            cox_elastic_net(COHORT, Recipe(), "os", names, count=20, alpha=0.5, ties=Ties.BRESLOW),
        ],
        lambda r: _penalised(table, r[0], r[1]),
    )


def penalised_hazards_in_one_stratum() -> Case:
    """A LASSO path where one site alone has events, so that the stratified model is the plain one."""
    whole = breast_recurrence()
    time, event = whole.endpoints["os.time"].copy(), whole.endpoints["os.event"].copy()
    site = np.where(np.arange(time.size) < 180, whole.site, 2)
    time[site < 2], event[site < 2] = 1.0, 0.0
    table = replace(whole, endpoints={"os.time": time, "os.event": event}, site=site)
    names = COLUMNS[table.key]
    return Case(
        table,
        lambda: [cox_elastic_net(COHORT, Recipe(), "os", names, count=30, ties=Ties.BRESLOW)],
        lambda r: _coxnet(table, r[0]),
    )


CASES = (
    stratified_regressions_by_week,
    stratified_regressions_by_day,
    stratified_regressions_by_month,
    common_regressions_by_week,
    common_regressions_by_day,
    common_regressions_by_month,
    stratified_proportionality_by_week,
    stratified_proportionality_by_day,
    stratified_proportionality_by_month,
    common_proportionality_by_week,
    common_proportionality_by_day,
    common_proportionality_by_month,
    concordance_inside_sites_by_day,
    concordance_inside_sites_by_month,
    concordance_across_sites_by_day,
    concordance_across_sites_by_month,
    penalised_hazards,
    penalised_hazards_in_one_stratum,
)


@cache
def _r() -> str:
    versions = golden("cox")["r"]
    return f"R {versions['R'].split()[2]} survival {versions['survival']}"


def _regressions_inside(table: Table) -> Case:
    names, stratum, frozen = COLUMNS[table.key], STRATUM[table.key], golden("cox")[table.key]
    inner = tuple(name for name in names if name != stratum)

    def conclusions() -> list[Conclusion[Any]]:
        by_site = (cox(COHORT, Recipe(), "os", names, ties=ties) for ties in Ties)
        return [*by_site, cox(COHORT, Recipe(), "os", inner, strata=(stratum,))]

    def differences(fits: list[Any]) -> list[Difference]:
        theirs = [*(frozen["stratified"][ties] for ties in Ties), frozen["inner"]]
        return [*_cox("Cox stratified by site", table, fits, theirs), _phreg(table, fits[1])]

    return Case(table, conclusions, differences)


def _regressions_across(table: Table) -> Case:
    names, grid, frozen = COLUMNS[table.key], grid_of(table), golden("cox")[table.key]

    def differences(fits: list[Any]) -> list[Difference]:
        theirs = [frozen["common"][ties] for ties in Ties]
        return [*_cox("Cox with a common baseline", table, fits, theirs), _baseline(fits[0], frozen["baseline"])]

    return Case(
        table,
        lambda: [cox_common_baseline(COHORT, Recipe(), "os", names, *grid, ties=ties) for ties in Ties],
        differences,
    )


def _cox(kind: str, table: Table, fits: Sequence[CoxResult], theirs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Coefficients and errors of standardised columns."""
    worst: dict[str, float] = {}
    for fit, frozen in zip(fits, theirs, strict=True):
        scale = np.array([table.columns[name].std(ddof=1) for name in fit.columns])
        for name, difference in (
            ("coefficient", largest(fit.coef_ * scale, frozen["coef"] * scale)),
            ("standard error", largest(fit.std_err_ * scale, frozen["std_err"] * scale)),
            ("robust standard error", largest(fit.robust_std_err_ * scale, frozen["robust_std_err"] * scale)),
            ("log-likelihood", largest([fit.null_log_likelihood_, fit.log_likelihood_], frozen["log_likelihood"])),
            ("patients and events", largest([fit.n_, fit.events_], [frozen["n"], frozen["events"]])),
        ):
            worst[name] = max(worst.get(name, 0.0), difference)
    limits = {"log-likelihood": 1e-8, "patients and events": 0.0}
    oracle = f"{_r()} coxph"
    return [Difference(f"{kind}: {name}", oracle, worst[name], limits.get(name, 1e-9)) for name in worst]


def _baseline(fit: CommonCoxResult, theirs: Mapping[str, Any]) -> Difference:
    at = np.searchsorted(np.array(theirs["time"]), fit.time_ - 1e-9)
    difference = relative(fit.cumulative_hazard_, np.array(theirs["hazard"])[at])
    return Difference("Cox cumulative baseline hazard (relative)", f"{_r()} survfit", difference, 1e-9)


def _phreg(table: Table, fit: CoxResult) -> Difference:
    scale = np.array([table.columns[name].std(ddof=1) for name in fit.columns])
    pooled = _model(table, fit.columns, "breslow").fit(method="newton", disp=0, tol=1e-14, maxiter=100)
    oracle = f"{library('statsmodels')} PHReg(strata, breslow)"
    return Difference("Cox stratified by site: coefficient", oracle, largest(fit.coef_ * scale, pooled.params), 1e-9)


def _model(table: Table, names: tuple[str, ...], ties: str, ddof: int = 1) -> Any:
    from statsmodels.duration.hazard_regression import PHReg

    X = table.matrix(names)
    X = (X - X.mean(axis=0)) / X.std(axis=0, ddof=ddof)
    time, event = table.endpoints["os.time"], table.endpoints["os.event"]
    return PHReg(time, X, status=event, strata=table.site, ties=ties)


def _proportionality_inside(table: Table) -> Case:
    return _proportionality(table, proportional_hazards, "stratified", "stratified by site")


def _proportionality_across(table: Table) -> Case:
    return _proportionality(table, proportional_hazards_common, "common", "with a common baseline")


def _proportionality(table: Table, make: Callable[..., Conclusion[ProportionalHazards]], kind: str, words: str) -> Case:
    names, grid, frozen = COLUMNS[table.key], grid_of(table), golden("cox")[table.key][kind]
    asked = [(ties, transform) for ties in Ties for transform in TimeTransform]
    return Case(
        table,
        lambda: [make(COHORT, Recipe(), "os", names, *grid, ties=ties, transform=by) for ties, by in asked],
        lambda r: _zph(words, [(fit, frozen[ties]["zph"][by]) for fit, (ties, by) in zip(r, asked, strict=True)]),
    )


def _zph(where: str, pairs: list[tuple[ProportionalHazards, Mapping[str, Any]]]) -> list[Difference]:
    chi2 = max(relative(np.append(f.chi2_, f.global_chi2_), theirs["chi2"]) for f, theirs in pairs)
    log_p = max(largest(np.log10(np.append(f.p_, f.global_p_)), np.log10(theirs["p"])) for f, theirs in pairs)
    return [
        Difference(f"proportional hazards, Cox {where}: chi2 (relative)", f"{_r()} cox.zph", chi2, 1e-8),
        Difference(f"proportional hazards, Cox {where}: log10 p", f"{_r()} cox.zph", log_p, 1e-8),
    ]


def _scored(whole: Table) -> Table:
    """The table with a linear predictor and a tied column as scores."""
    names = COLUMNS[whole.key]
    risk = whole.matrix(names) @ np.array(golden("cox")[whole.key]["coef"])
    return replace(whole, columns={"risk": risk, "first": whole.columns[names[1]]})


def _concordance_inside(whole: Table) -> Case:
    table, theirs = _scored(whole), golden("cox")[whole.key]["concordance"]["within"]

    def differences(fits: list[Any]) -> list[Difference]:
        covariance = largest(fits[0].covariance_, theirs["covariance"])
        return [
            *_harrell("C inside sites", [(fits[0], i, theirs[name]) for i, name in enumerate(table.columns)]),
            Difference("C inside sites: covariance of two scores", f"{_r()} concordance", covariance, 1e-12),
        ]

    return Case(table, lambda: [concordance(COHORT, Recipe(), "os", tuple(table.columns))], differences)


def _concordance_across(whole: Table) -> Case:
    table, theirs, grid = _scored(whole), golden("cox")[whole.key]["concordance"]["pooled"], grid_of(whole)
    return Case(
        table,
        lambda: [concordance_pooled(COHORT, Recipe(), "os", name, *grid) for name in table.columns],
        lambda r: [
            *_harrell("C across sites", [(fit, 0, theirs[fit.columns[0]]) for fit in r]),
            _censored(table, r),
        ],
    )


def _harrell(kind: str, fits: list[tuple[Concordance, int, Mapping[str, Any]]]) -> list[Difference]:
    oracle = f"{_r()} concordance"
    area = max(abs(fit.concordance_[i] - theirs["concordance"]) for fit, i, theirs in fits)
    error = max(abs(fit.std_err_[i] - theirs["std_err"]) for fit, i, theirs in fits)
    pairs = max(largest(fit.pairs_[i], theirs["count"]) for fit, i, theirs in fits)
    return [
        Difference(kind, oracle, float(area), 1e-12),
        Difference(f"{kind}: standard error", oracle, float(error), 1e-12),
        Difference(f"{kind}: pairs", oracle, pairs, 0.0),
    ]


def _censored(table: Table, fits: list[Concordance]) -> Difference:
    from sksurv.metrics import concordance_index_censored

    event, time = table.endpoints["os.event"] == 1.0, table.endpoints["os.time"]
    worst = 0.0
    for fit in fits:
        theirs = concordance_index_censored(event, time, table.columns[fit.columns[0]], tied_tol=0.0)[0]
        worst = max(worst, abs(float(fit.concordance_[0]) - float(theirs)))
    return Difference("C across sites", f"{library('scikit-survival')} concordance_index_censored", worst, 1e-12)


def _penalised(table: Table, lasso: CoxElasticNetResult, elastic: CoxElasticNetPath) -> list[Difference]:
    oracle = f"optimality, {library('statsmodels')} PHReg.score"
    return [
        Difference("Cox LASSO path, stratified by site, Efron", oracle, _missed(table, lasso.path, "efron"), 1e-9),
        Difference(
            "Cox elastic-net path, stratified by site, Breslow", oracle, _missed(table, elastic, "breslow"), 1e-9
        ),
        _cross_validated(table, lasso),
    ]


def _missed(table: Table, path: CoxElasticNetPath, ties: str) -> float:
    """The largest violation of an optimality condition on the pooled rows."""
    model, scale = _model(table, path.columns, ties, ddof=0), table.matrix(path.columns).std(axis=0)
    worst = 0.0
    for penalty, coef in zip(path.lambda_, path.coef_path_ * scale, strict=True):
        gradient = -model.score(coef) / path.n_ + penalty * (1.0 - path.alpha_) * coef
        allowed = penalty * path.alpha_
        missed = np.where(
            coef == 0, np.maximum(np.abs(gradient) - allowed, 0), np.abs(gradient + allowed * np.sign(coef))
        )
        worst = max(worst, float(np.max(missed)))
    return worst


def _cross_validated(table: Table, fit: CoxElasticNetResult) -> Difference:
    """Each fold's models refitted to a table without it, their likelihoods by a library."""
    names, fold = fit.path.columns, table.columns["fold"]
    everybody, loss, events = _model(table, names, "efron", ddof=0), [], []
    scale = table.matrix(names).std(axis=0)
    for k in range(FOLDS):
        rows = fold != k
        columns = {name: table.columns[name][rows] for name in names}
        endpoints = {name: values[rows] for name, values in table.endpoints.items()}
        part = replace(table, columns=columns, endpoints=endpoints, site=table.site[rows])
        port = federation_of(part.columns, part.endpoints, part.site)
        (refit,) = conclude(
            port, [cox_elastic_net(COHORT, Recipe(), "os", names, lambdas=tuple(fit.path.lambda_.tolist()))]
        )
        trained, own = _model(part, names, "efron", ddof=0), part.matrix(names).std(axis=0)
        gain = [everybody.loglike(b * scale) - trained.loglike(b * own) for b in refit.coef_path_]
        events.append(float(table.endpoints["os.event"][~rows].sum()))
        loss.append(-2.0 * np.array(gain) / events[-1])
    weight: FloatArray = np.array(events) / np.sum(events)
    mean = weight @ np.array(loss)
    error = np.sqrt(weight @ np.square(np.array(loss) - mean) / (FOLDS - 1))
    oracle = f"{library('statsmodels')} PHReg.loglike at refits without each fold"
    difference = max(largest(fit.cvm_, mean), largest(fit.cvsd_, error))
    return Difference("Cox LASSO, cross-validated partial likelihood", oracle, difference, 1e-6)


def _coxnet(table: Table, path: CoxElasticNetPath) -> list[Difference]:
    from sksurv.linear_model import CoxnetSurvivalAnalysis
    from sksurv.util import Surv

    X, scale = table.matrix(path.columns), table.matrix(path.columns).std(axis=0)
    outcome = Surv.from_arrays(table.endpoints["os.event"] == 1.0, table.endpoints["os.time"])
    coxnet = CoxnetSurvivalAnalysis(l1_ratio=1.0, alphas=path.lambda_, tol=1e-16, max_iter=10_000_000)
    theirs = coxnet.fit((X - X.mean(axis=0)) / scale, outcome).coef_.T
    # It ends a path where the likelihood hardly rises any more.
    ours = (path.coef_path_ * scale)[: len(theirs)]
    oracle = f"{library('scikit-survival')} CoxnetSurvivalAnalysis(tol=1e-16)"
    support = float(np.count_nonzero((np.abs(ours) > 1e-6) != (np.abs(theirs) > 1e-6)))
    return [
        Difference("Cox LASSO path, one stratum: coefficient", oracle, largest(ours, theirs), 1e-6),
        Difference("Cox LASSO path, one stratum: predictors chosen", oracle, support, 0.0),
        Difference(
            "Cox LASSO path, one stratum",
            f"optimality, {library('statsmodels')} PHReg.score",
            _missed(table, path, "breslow"),
            1e-9,
        ),
    ]
