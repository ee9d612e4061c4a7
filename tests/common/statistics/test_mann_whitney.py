"""common: Mann-Whitney tests over all patients equal SciPy's, and those within sites need no value of another site."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.mann_whitney import MannWhitneyResult, mann_whitney
from common.study.recipe import Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of


def fitted(columns: dict[str, Any], y: np.ndarray, site: np.ndarray, *, within_site: bool) -> MannWhitneyResult:
    port = federation_of(columns, {"y": y}, site)
    (fit,) = conclude(port, [mann_whitney(COHORT, Recipe(), "y", tuple(columns), within_site=within_site)])
    return fit


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(3, 20))
def test_small_samples_without_ties_have_scipys_exact_p(seed: int, events: int, others: int) -> None:
    rng = np.random.default_rng(seed)
    n = events + others
    x, y = rng.normal(size=n), (np.arange(n) < events).astype(np.float64)
    fit = fitted({"x": x, "ties": np.round(x)}, y, np.arange(n) % 3, within_site=False)
    exact = stats.mannwhitneyu(x[y == 1], x[y == 0], method="exact")
    assert fit.u_[0] == exact.statistic
    assert fit.p_exact_[0] == pytest.approx(exact.pvalue, rel=1e-12)
    assert np.isnan(fit.p_exact_[1]) == (np.unique(np.round(x)).size < n)


def test_a_pooled_test_knows_no_sites(breast: Any) -> None:
    columns = {name: breast.columns[name] for name in breast.names[:4]}
    first = fitted(columns, breast.y, breast.site, within_site=False)
    assert same(first, fitted(columns, breast.y, np.arange(569) % 3, within_site=False))


def test_a_test_within_sites_is_the_sum_of_the_sites_and_ignores_their_shifts(breast: Any) -> None:
    x, y, site = breast.columns["mean_texture"], breast.y, breast.site
    fit = fitted({"x": x, "shifted": np.exp(x / 10) + 100 * site}, y, site, within_site=True)
    deviation = variance = u = pairs = 0.0
    for k in range(4):
        own = site == k
        u_k = stats.mannwhitneyu(x[own & (y == 1)], x[own & (y == 0)], method="asymptotic").statistic
        n1, n = y[own].sum(), own.sum()
        _, ties = np.unique(x[own], return_counts=True)
        u, pairs = u + u_k, pairs + n1 * (n - n1)
        deviation += (u_k - n1 * (n - n1) / 2) / (n + 1)
        variance += n1 * (n - n1) / 12 * (n + 1 - (ties**3 - ties).sum() / (n * (n - 1))) / (n + 1) ** 2
    assert fit.z_[0] == pytest.approx(deviation / np.sqrt(variance), abs=1e-12)
    assert fit.auc_[0] == pytest.approx(u / pairs, abs=1e-15)
    assert fit.rank_biserial_[0] == pytest.approx(2 * u / pairs - 1, abs=1e-14)
    assert fit.z_[1] == fit.z_[0]


def test_a_site_of_one_class_adds_nothing_within_sites(breast: Any) -> None:
    x, y, site = breast.columns["mean_texture"], breast.y.copy(), breast.site
    y[site == 0] = 0.0
    fit = fitted({"x": x}, y, site, within_site=True)
    without = fitted({"x": x[site > 0]}, y[site > 0], site[site > 0], within_site=True)
    assert fit.z_[0] == without.z_[0]
    assert fit.u_[0] == without.u_[0]


@pytest.mark.parametrize("within_site", [True, False])
def test_missing_values_are_left_out_and_equal_values_have_no_p(within_site: bool) -> None:
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2.0
    x = rng.normal(size=60)
    x[::7] = np.nan
    known = ~np.isnan(x)
    fit = fitted({"x": x, "constant": np.ones(60)}, y, np.arange(60) // 20, within_site=within_site)
    only = fitted({"x": x[known]}, y[known], (np.arange(60) // 20)[known], within_site=within_site)
    assert fit.z_[0] == only.z_[0]
    assert fit.n_[0].sum() == known.sum()
    assert np.isnan(fit.p_[1])
    assert fit.auc_[1] == 0.5


@pytest.mark.parametrize("within_site", [True, False])
def test_one_class_only_is_an_error(within_site: bool) -> None:
    with pytest.raises(FedmviError, match="602"):
        fitted({"x": np.arange(9.0)}, np.zeros(9), np.arange(9) % 3, within_site=within_site)
