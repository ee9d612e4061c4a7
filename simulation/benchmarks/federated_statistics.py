"""simulation: benchmarks: the whole chain, federated: sites in this process, sums under the same code as in a run."""

from __future__ import annotations

import numpy as np

from common.federation.ports import Meter, SitesPort
from common.federation.runner import Conclusion, conclude, together
from common.statistics.bootstrap import bootstrap_areas
from common.statistics.decision_curve import decision_curve
from common.statistics.elastic_net import elastic_net_cv
from common.statistics.logistic import logistic
from common.statistics.reduction import Thresholds, reduce_features
from common.statistics.roc import roc
from common.study.recipe import Recipe, Score
from simulation.benchmarks.chain import Chain, Settings
from simulation.benchmarks.measuring import Stopwatch
from simulation.benchmarks.radiomics_table import RadiomicsTable
from simulation.views import COHORT, federation_of

SECOND = "@2"
"""Ends the names of the second reader's columns."""


def port_of(table: RadiomicsTable, *, masked: bool) -> SitesPort:
    """The sites of the table."""
    columns = {name: table.first[:, i] for i, name in enumerate(table.names)}
    columns |= {f"{name}{SECOND}": table.second[:, i] for i, name in enumerate(table.names)}
    columns["fold"] = table.fold.astype(np.float64)
    return federation_of(columns, {"y": table.y}, table.site, masked=masked)


def run(table: RadiomicsTable, settings: Settings, *, masked: bool) -> tuple[Chain, Stopwatch, Meter]:
    """The chain; what it cost of rounds and bytes is in the meter."""
    port = port_of(table, masked=masked)
    meter = Meter(port.transport)
    watch = Stopwatch()
    (chain,) = conclude(SitesPort(meter, port.ticket), [_chain(table, settings, watch)])
    return chain, watch, meter


def _chain(table: RadiomicsTable, settings: Settings, watch: Stopwatch) -> Conclusion[Chain]:
    place = {name: i for i, name in enumerate(table.names)}
    recipe = Recipe()
    second = tuple(f"{name}{SECOND}" for name in table.names)
    limits = Thresholds(
        settings.icc, settings.fdr, settings.parameters, settings.correlation, settings.mrmr, within_site=False
    )
    reduced = yield from reduce_features(COHORT, recipe, "y", table.names, (second,), limits, watch.step)
    p, relevant = reduced.p_, reduced.selected_
    lasso = yield from elastic_net_cv(
        COHORT, recipe, "y", relevant, folds=settings.folds, count=settings.lambdas, ratio=settings.smallest_lambda
    )
    scale = table.first[:, [place[name] for name in relevant]].std(axis=0)
    chosen = tuple(n for n, b in zip(relevant, lasso.coef_1se_[1:] * scale, strict=True) if abs(b) > settings.support)
    watch.step("LASSO")
    fit = yield from logistic(COHORT, recipe, "y", chosen)
    score = Score("chain", "y", chosen, tuple(fit.coef_[1:].tolist()), float(fit.coef_[0]))
    scored = recipe.then(score)
    watch.step("logistic")
    area, curve = yield from together(
        roc(COHORT, scored, "y", score.column),
        decision_curve(COHORT, scored, "y", (score.column,), settings.thresholds),
    )
    watch.step("ROC, DeLong, DCA")
    resampled = yield from bootstrap_areas(COHORT, scored, "y", (score.column,), settings.replicates)
    watch.step("bootstrap")
    names = (*(features for _, features in reduced.left_), chosen)
    best = int(np.flatnonzero(lasso.path.lambda_ == lasso.lambda_1se_)[0])
    std = table.first[:, [place[name] for name in chosen]].std(axis=0, ddof=1)
    numbers = {
        "log10 p": np.log10(p[np.isfinite(p)]), "cvm": lasso.cvm_, "coef": fit.coef_[1:] * std,
        "std_err": fit.std_err_[1:] * std, "auc": np.array([area.auc_, area.std_err_]),
        "net benefit": curve.net_benefit_[0], "bootstrap": resampled.replicates_[0],
    }  # fmt: skip
    return Chain((*(tuple(place[n] for n in part) for part in names), (best,)), numbers)
