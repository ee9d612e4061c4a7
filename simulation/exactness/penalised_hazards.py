"""simulation: exactness of LASSO and elastic-net paths of Cox models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from common.federation.runner import conclude
from common.statistics.cox_elastic_net import (
    CoxElasticNetPath,
    CoxElasticNetResult,
    cox_elastic_net,
    cox_elastic_net_cv,
)
from common.statistics.partial_likelihood import Ties
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.exactness.hazards import COLUMNS, pooled_model
from simulation.exactness.measuring import Case, Difference, Table, largest, library
from simulation.exactness.tables import breast_recurrence
from simulation.views import COHORT, federation_of

FOLDS = 5


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


CASES = (penalised_hazards, penalised_hazards_in_one_stratum)


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
    model, scale = pooled_model(table, path.columns, ties, ddof=0), table.matrix(path.columns).std(axis=0)
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
    everybody, loss, events = pooled_model(table, names, "efron", ddof=0), [], []
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
        trained, own = pooled_model(part, names, "efron", ddof=0), part.matrix(names).std(axis=0)
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
