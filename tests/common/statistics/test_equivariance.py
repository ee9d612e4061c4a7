"""common/statistics: neither the unit of a column nor ties make a federated statistic another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from sksurv.metrics import concordance_index_censored

from common.federation.runner import Conclusion, conclude
from common.statistics.concordance import concordance_pooled
from common.statistics.correlation import correlation
from common.statistics.cox import cox
from common.statistics.elastic_net import elastic_net
from common.statistics.firth import firth
from common.statistics.logistic import logistic
from common.statistics.mann_whitney import mann_whitney
from common.statistics.mrmr import relevance
from common.statistics.ranks import spearman
from common.statistics.roc import rocs
from common.statistics.student_t import within_site_t_test
from common.statistics.univariable import univariable
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.views import COHORT, federation_of

NAMES = ("u", "v", "w")
SITES = np.repeat(np.arange(4), [30, 35, 40, 60])
GRID = (1.0, 60)


def made_up(seed: int, decimals: int | None = None) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Columns and endpoints of 165 patients, with times that tie; columns rounded so that they tie too."""
    rng = np.random.default_rng(seed)
    n = SITES.size
    x = rng.normal(size=(n, 3)) + 0.4 * SITES[:, np.newaxis]
    x[:, 2] += 0.6 * x[:, 0]
    risk = 0.7 * x[:, 0] - 0.5 * x[:, 1]
    y = (rng.random(n) < 1 / (1 + np.exp(-risk))).astype(np.float64)
    time = np.ceil(np.minimum(rng.exponential(20 * np.exp(-0.3 * risk)), 50.0))
    event = (rng.random(n) < 0.7).astype(np.float64)
    if decimals is not None:
        x = np.round(x, decimals) + 0.0
    return dict(zip(NAMES, x.T, strict=True)), {"y": y, "os.time": time, "os.event": event}


def conclusions() -> list[Conclusion[Any]]:
    recipe = Recipe()
    return [
        rocs(COHORT, recipe, "y", NAMES),
        mann_whitney(COHORT, recipe, "y", NAMES),
        within_site_t_test(COHORT, recipe, "y", NAMES),
        univariable(COHORT, recipe, "y", NAMES),
        logistic(COHORT, recipe, "y", NAMES),
        firth(COHORT, recipe, "y", NAMES),
        correlation(COHORT, recipe, NAMES),
        spearman(COHORT, recipe, NAMES),
        relevance(COHORT, recipe, "y", NAMES),
        elastic_net(COHORT, recipe, "y", NAMES, count=10),
        cox(COHORT, recipe, "os", NAMES),
        concordance_pooled(COHORT, recipe, "os", "u", *GRID),
    ]


def unitless(results: Sequence[Any], scale: FloatArray) -> dict[str, FloatArray]:
    """What has no unit, and coefficients times the unit."""
    areas, ranks, t, alone, fit, biased, r, rho, f, lasso, hazard, c = results
    return {
        "auc": np.array([a.auc_ for a in areas]), "van Elteren": ranks.z_, "t": t.t_, "alone": alone.coef_ * scale,
        "logistic": fit.coef_[1:] * scale, "firth": biased.chi2_[1:], "r": r.r_, "rho": rho.r_, "F": f.f_,
        "lasso": lasso.coef_path_[:, 1:] * scale,
        "lambda": lasso.lambda_, "cox": hazard.coef_ * scale, "C": c.concordance_,
    }  # fmt: skip


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 1000),
    exponents=st.tuples(*[st.floats(-4, 4)] * 3),
    shifts=st.tuples(*[st.floats(-100, 100)] * 3),
)
def test_another_unit_and_zero_of_a_column_changes_nothing_that_has_no_unit(
    seed: int, exponents: tuple[float, ...], shifts: tuple[float, ...]
):
    columns, endpoints = made_up(seed)
    scale = np.power(10.0, exponents)
    other = {
        name: values * factor + shift * factor
        for (name, values), factor, shift in zip(columns.items(), scale, shifts, strict=True)
    }
    first = unitless(conclude(federation_of(columns, endpoints, SITES), conclusions()), np.ones(3))
    second = unitless(conclude(federation_of(other, endpoints, SITES), conclusions()), scale)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-7, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("decimals", [0, 1])
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1000))
def test_ties_count_as_in_the_pooled_statistics(decimals: int, seed: int):
    columns, endpoints = made_up(seed, decimals)
    y = endpoints["y"]
    recipe = Recipe()
    asked: list[Conclusion[Any]] = [
        rocs(COHORT, recipe, "y", NAMES),
        mann_whitney(COHORT, recipe, "y", NAMES, within_site=False),
        spearman(COHORT, recipe, NAMES, within_site=False),
        concordance_pooled(COHORT, recipe, "os", "u", *GRID),
    ]
    areas, ranks, rho, c = conclude(federation_of(columns, endpoints, SITES), asked)
    X = np.column_stack(list(columns.values()))
    oracle: Callable[..., Any] = stats.mannwhitneyu
    for i, name in enumerate(NAMES):
        values = columns[name]
        assert areas[i].auc_ == pytest.approx(roc_auc_score(y, values), abs=1e-12)
        test = oracle(values[y == 1], values[y == 0], use_continuity=False, method="asymptotic")
        assert ranks.u_[i] == test.statistic
        assert ranks.p_[i] == pytest.approx(test.pvalue, rel=1e-9)
    np.testing.assert_allclose(rho.r_, stats.spearmanr(X).statistic, atol=1e-12)
    pooled = concordance_index_censored(endpoints["os.event"] == 1, endpoints["os.time"], columns["u"], tied_tol=0.0)
    assert c.concordance_[0] == pytest.approx(pooled[0], abs=1e-12)


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1000), sites=st.integers(1, 6), order=st.randoms(use_true_random=False))
def test_however_patients_are_ordered_and_cut_into_sites_pooled_statistics_are_the_same(
    seed: int, sites: int, order: Random
):
    columns, endpoints = made_up(seed, 2)
    n = SITES.size
    rows = np.array(order.sample(range(n), n))
    cut = np.sort(np.array([order.randrange(sites) for _ in range(n)]))
    recipe = Recipe()

    def asked() -> list[Conclusion[Any]]:
        return [
            rocs(COHORT, recipe, "y", NAMES),
            logistic(COHORT, recipe, "y", NAMES),
            univariable(COHORT, recipe, "y", NAMES, within_site=False),
            correlation(COHORT, recipe, NAMES, within_site=False),
            spearman(COHORT, recipe, NAMES, within_site=False),
            elastic_net(COHORT, recipe, "y", NAMES, count=6),
            concordance_pooled(COHORT, recipe, "os", "u", *GRID),
        ]

    def numbers(results: Sequence[Any]) -> list[FloatArray]:
        areas, fit, alone, r, rho, lasso, c = results
        auc = np.array([[a.auc_, a.std_err_] for a in areas])
        return [auc, fit.coef_, fit.std_err_, alone.coef_, r.r_, rho.r_, lasso.coef_path_, c.concordance_]

    moved = {name: values[rows] for name, values in columns.items()}
    ends = {name: values[rows] for name, values in endpoints.items()}
    first = numbers(conclude(federation_of(columns, endpoints, SITES), asked()))
    second = numbers(conclude(federation_of(moved, ends, cut), asked()))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
