"""common: slopes within sites: intercepts profiled out equal indicators; conditioning is over all ways to events."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.discrete.conditional_models import ConditionalLogit

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.logistic import logistic
from common.statistics.stratified_logistic import (
    SiteHandling,
    StratifiedLogisticResult,
    StratifiedSums,
    conditional_part,
    stratified_logistic,
)
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of
from tests.common.statistics.weighing import weighing

WITHIN = (SiteHandling.FIXED, SiteHandling.CONDITIONAL)


def table_of(seed: int, n: int = 150) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 4, n)
    X = rng.normal(size=(n, 2)) + site[:, None]
    y = (rng.random(n) < 1 / (1 + np.exp(2 - X[:, 0] + 0.5 * site))).astype(np.float64)
    return {f"x{i}": X[:, i] for i in range(2)}, y, site


def fitted(
    columns: dict[str, np.ndarray], y: np.ndarray, site: np.ndarray, kind: SiteHandling
) -> StratifiedLogisticResult:
    port = federation_of(columns, {"y": y}, site)
    return conclude(port, [stratified_logistic(COHORT, Recipe(), "y", tuple(columns), kind)])[0]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_site_of_one_class_is_counted_and_says_nothing_of_slopes(seed: int) -> None:
    columns, y, site = table_of(seed)
    y[site == 3] = 1.0
    use = site != 3
    part = {name: values[use] for name, values in columns.items()}
    for kind in WITHIN:
        fit, without = fitted(columns, y, site, kind), fitted(part, y[use], site[use], kind)
        assert (fit.sites_, fit.informative_sites_, without.sites_) == (4, 3, 3)
        assert fit.coef_ == pytest.approx(without.coef_, abs=1e-9)
        assert fit.std_err_ == pytest.approx(without.std_err_, abs=1e-9)
        assert fit.new_site_intercept_ > without.new_site_intercept_
        linear = fit.new_site_intercept_ + np.column_stack(list(columns.values())) @ fit.coef_
        assert np.sum(1 / (1 + np.exp(-linear))) == pytest.approx(y.sum(), abs=1e-8)
    X = np.column_stack([*part.values(), site[use, None] == np.arange(3)]).astype(float)
    pooled = sm.Logit(y[use], X).fit(disp=0, tol=1e-14, maxiter=100)
    fixed = fitted(columns, y, site, SiteHandling.FIXED)
    assert fixed.coef_ == pytest.approx(pooled.params[:2], abs=1e-9)
    assert fixed.std_err_ == pytest.approx(pooled.bse[:2], abs=1e-9)


def test_conditioning_equals_statsmodels() -> None:
    columns, y, site = table_of(7, 100)
    fit = fitted(columns, y, site, SiteHandling.CONDITIONAL)
    model = ConditionalLogit(y, np.column_stack(list(columns.values())), groups=site)
    # Its optimiser stops at five digits; its score and log-likelihood are exact.
    assert np.max(np.abs(model.score(fit.coef_))) < 1e-9
    assert fit.log_likelihood_ == pytest.approx(model.loglike(fit.coef_), abs=1e-9)
    assert fit.null_log_likelihood_ == pytest.approx(model.loglike(np.zeros(2)), abs=1e-9)
    step = 1e-5 * np.eye(2)
    slopes = [(model.score(fit.coef_ + h) - model.score(fit.coef_ - h)) / 2e-5 for h in step]
    assert fit.std_err_ == pytest.approx(np.sqrt(np.diag(np.linalg.inv(-np.array(slopes)))), abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.data())
def test_a_sites_conditional_part_is_the_sum_over_all_ways_to_have_its_events(
    seed: int, n: int, data: st.DataObject
) -> None:
    m = data.draw(st.integers(1, n - 1))
    rng = np.random.default_rng(seed)
    x, y, slope = rng.normal(size=(n, 2)) + 3, np.zeros(n), rng.normal(size=2) * 2
    y[rng.permutation(n)[:m]] = 1
    score, information, log_likelihood = conditional_part(x, y, x @ slope)
    ways = np.array([x[list(way)].sum(axis=0) for way in combinations(range(n), m)])
    weight = np.exp(ways @ slope)
    mean = weight @ ways / weight.sum()
    assert score == pytest.approx(x[y == 1].sum(axis=0) - mean, abs=1e-11)
    assert information == pytest.approx(((ways - mean).T * weight / weight.sum()) @ (ways - mean), abs=1e-11)
    assert log_likelihood == pytest.approx(x[y == 1].sum(axis=0) @ slope - np.log(weight.sum()), abs=1e-11)


def test_one_event_in_each_site_is_matched_data() -> None:
    """Pairs: the conditional likelihood is a logistic regression, without intercept, on the differences."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 2))
    y = np.tile([0.0, 1.0], 20)
    x[y == 1] += 0.5
    fit = fitted({"a": x[:, 0], "b": x[:, 1]}, y, np.repeat(np.arange(20), 2), SiteHandling.CONDITIONAL)
    pairs = sm.Logit(np.ones(20), x[1::2] - x[::2]).fit(disp=0, tol=1e-14)
    assert fit.coef_ == pytest.approx(pairs.params, abs=1e-9)
    assert fit.std_err_ == pytest.approx(pairs.bse, abs=1e-9)
    profiled = fitted({"a": x[:, 0], "b": x[:, 1]}, y, np.repeat(np.arange(20), 2), SiteHandling.FIXED)
    assert profiled.coef_ == pytest.approx(2 * pairs.params, abs=1e-8)  # the bias that conditioning avoids


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_sites_changes_no_bit_and_splitting_one_all_but_the_common_intercept(seed: int) -> None:
    columns, y, site = table_of(seed)
    for kind in SiteHandling:
        fit, turned = fitted(columns, y, site, kind), fitted(columns, y, 3 - site, kind)
        assert fit.coef_.tobytes() == turned.coef_.tobytes()
        assert fit.new_site_intercept_ == turned.new_site_intercept_
        split = fitted(columns, y, site * 2 + np.arange(y.size) % 2, kind)
        apart = np.max(np.abs(fit.coef_ - split.coef_))
        assert apart < 1e-12 if kind is SiteHandling.COMMON else apart > 1e-6


def test_a_common_intercept_is_the_plain_regression() -> None:
    columns, y, site = table_of(3)
    fit = fitted(columns, y, site, SiteHandling.COMMON)
    (plain,) = conclude(federation_of(columns, {"y": y}, site), [logistic(COHORT, Recipe(), "y", tuple(columns))])
    assert fit.coef_.tobytes() == plain.coef_[1:].tobytes()
    assert fit.new_site_intercept_ == plain.coef_[0]
    assert fit.likelihood_ratio == plain.likelihood_ratio
    assert fit.sites_ is None


@pytest.mark.parametrize("kind", WITHIN)
def test_separation_inside_sites_and_what_does_not_vary_there(kind: SiteHandling) -> None:
    site = np.arange(900) % 3
    x = np.arange(900.0)
    y = (np.arange(900) >= 450).astype(np.float64)
    port = weighing({"x": x}, {"y": y}, site)
    (fit,) = conclude(port, [stratified_logistic(COHORT, Recipe(), "y", ("x",), kind)])
    assert fit.separated_
    assert np.isnan(fit.new_site_intercept_)
    with pytest.raises(FedmviError, match="603"):
        fitted({"x": site.astype(np.float64)}, y, site, kind)
    with pytest.raises(FedmviError, match="602"):
        fitted({"x": x}, (site > 0).astype(np.float64), site, kind)


def test_a_question_of_another_shape_is_refused_and_extreme_slopes_have_no_weight() -> None:
    question = StratifiedSums(COHORT, Recipe(), "y", ("a", "b"), np.zeros(3), conditional=True)
    assert question.consistent()
    assert not StratifiedSums(COHORT, Recipe(), "y", ("a", "b"), np.zeros(2), conditional=True).consistent()
    rng = np.random.default_rng(0)
    frame = Frame({"a": rng.normal(size=40), "b": rng.normal(size=40)}, {"y": np.arange(40) % 2.0}, 40)
    assert question.influence(frame).sum(axis=1) == pytest.approx([40, 40])
    steep = StratifiedSums(COHORT, Recipe(), "y", ("a", "b"), np.array([0.0, 900.0, 0.0]), conditional=True)
    assert steep.influence(frame).sum(axis=1).max() < 5
