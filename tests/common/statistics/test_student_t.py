"""common: t tests equal SciPy across sites, and within sites a linear model with an intercept a site."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.student_t import TTest, TTests, t_test, within_site_t_test
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def fitted(columns: dict[str, Any], y: Any, site: Any) -> tuple[TTest, TTests]:
    port = federation_of(columns, {"y": y}, site)
    within, across = conclude(port, [f(COHORT, Recipe(), "y", tuple(columns)) for f in (within_site_t_test, t_test)])
    return within, across


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 1.0, 1e4]), st.sampled_from([0.0, 1e3]))
def test_any_unit_offset_missing_values_and_sites_of_one_class(seed: int, unit: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    n = 120
    site = rng.integers(0, 4, n)
    y = (rng.random(n) < 0.4).astype(float)
    y[site == 3] = 0.0  # this site has one class, and counts in the variance within sites
    x = (rng.normal(size=n) + 2 * site + 0.5 * y + offset) * unit
    x[rng.random(n) < 0.2] = np.nan
    within, across = fitted({"a": x}, y, site)
    known = ~np.isnan(x)
    for test, equal in ((across.student_, True), (across.welch_, False)):
        pooled = stats.ttest_ind(x[known & (y == 1)], x[known & (y == 0)], equal_var=equal)
        assert test.t_[0] == pytest.approx(pooled.statistic, rel=1e-7)
        assert test.p_[0] == pytest.approx(pooled.pvalue, rel=1e-6)
    dummies = (site[known, None] == np.unique(site[known])).astype(float)
    model = sm.OLS((x[known] / unit) - offset, np.column_stack([y[known], dummies])).fit()
    assert within.t_[0] == pytest.approx(model.tvalues[0], rel=1e-7, abs=1e-9)
    assert within.degrees_[0] == model.df_resid
    assert within.difference_[0] / unit == pytest.approx(model.params[0], rel=1e-7, abs=1e-9)
    assert within.summary[0]["n"] == known.sum()


def test_order_of_sites_gives_the_same_bits_and_splitting_one_changes_only_the_test_within_sites(breast: Any) -> None:
    whole = fitted(breast.columns, breast.y, breast.site)
    turned = fitted(breast.columns, breast.y, 3 - breast.site)
    split = fitted(breast.columns, breast.y, breast.site * 2 + np.arange(569) % 2)
    assert whole[0].t_.tobytes() == turned[0].t_.tobytes()
    assert whole[1].welch_.t_.tobytes() == turned[1].welch_.t_.tobytes()
    np.testing.assert_allclose(whole[1].welch_.t_, split[1].welch_.t_, rtol=1e-12)
    assert np.max(np.abs(whole[0].t_ - split[0].t_)) > 1e-3
    assert split[0].degrees_[0] == whole[0].degrees_[0] - 4


def test_a_constant_column_and_one_constant_within_every_site_have_no_test() -> None:
    site = np.arange(60) % 3
    y = (np.arange(60) % 2).astype(float)
    columns = {"flat": np.full(60, 0.1), "by_site": 0.1 + 0.2 * site, "by_class": 0.1 + 0.2 * y}
    within, across = fitted(columns, y, site)
    assert np.isnan(within.t_).all()
    assert np.isnan(within.p_).all()
    assert np.isnan(across.welch_.t_[[0, 2]]).all()
    assert across.welch_.difference_[2] == pytest.approx(0.2)


def test_one_class_only_is_an_error() -> None:
    for f in (within_site_t_test, t_test):
        port = federation_of({"a": np.arange(9.0)}, {"y": np.ones(9)}, np.arange(9) % 3)
        with pytest.raises(FedmviError, match="602"):
            conclude(port, [f(COHORT, Recipe(), "y", ("a",))])
