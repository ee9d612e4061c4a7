"""common: each predictor alone, with and without intercepts of sites, equals statsmodels on the pooled data."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.logistic import logistic
from common.statistics.univariable import MarginalSums, UnivariableResult, site_intercepts, univariable
from common.study.recipe import Complete, Frame, Recipe
from simulation.views import COHORT, federation_of
from tests.common.statistics.weighing import weighing


def fitted(
    columns: dict[str, np.ndarray], y: np.ndarray, site: np.ndarray, *, within_site: bool = True
) -> UnivariableResult:
    port = federation_of(columns, {"y": y}, site)
    return conclude(port, [univariable(COHORT, Recipe(), "y", tuple(columns), within_site=within_site)])[0]


def table_of(seed: int, n: int = 200) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 4, n)
    site[:4] = np.arange(4)
    X = rng.normal(size=(n, 3)) + site[:, None]
    y = (rng.random(n) < 1 / (1 + np.exp(2 - X[:, 0] + 0.5 * site))).astype(np.float64)
    X[rng.random((n, 3)) < 0.15] = np.nan
    return {f"x{i}": X[:, i] for i in range(3)}, y, site


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_slopes_within_sites_are_those_with_one_indicator_a_site(seed: int) -> None:
    columns, y, site = table_of(seed)
    site[site == 3] = np.where(y[site == 3] == 1, 2, 3)  # site 3 has one class, and says nothing
    fit = fitted(columns, y, site)
    for i, x in enumerate(columns.values()):
        use = ~np.isnan(x)
        labels = [label for label in np.unique(site) if 0 < y[use & (site == label)].mean() < 1]
        use &= np.isin(site, labels)
        D = np.column_stack([x, site[:, None] == labels])[use].astype(float)
        pooled = sm.Logit(y[use], D).fit(disp=0, tol=1e-14, maxiter=100)
        null = sm.Logit(y[use], D[:, 1:]).fit(disp=0, tol=1e-14, maxiter=100)
        assert fit.coef_[i] == pytest.approx(pooled.params[0], abs=1e-9)
        assert fit.std_err_[i] == pytest.approx(pooled.bse[0], abs=1e-9)
        assert fit.likelihood_ratio[i] == pytest.approx(2 * (pooled.llf - null.llf), abs=1e-8)
        assert fit.n_[i] == np.count_nonzero(~np.isnan(x))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_sites_changes_no_bit_and_splitting_a_site_only_intercepts_of_sites(seed: int) -> None:
    columns, y, site = table_of(seed)
    halves = site * 2 + np.arange(site.size) % 2
    for within in (True, False):
        fit = fitted(columns, y, site, within_site=within)
        turned = fitted(columns, y, 3 - site, within_site=within)
        split = fitted(columns, y, halves, within_site=within)
        assert fit.coef_.tobytes() == turned.coef_.tobytes()
        assert fit.std_err_.tobytes() == turned.std_err_.tobytes()
        apart = np.max(np.abs(fit.coef_ - split.coef_))
        assert (apart > 1e-6) if within else (apart < 1e-12)


def test_one_intercept_for_all_equals_the_regression_on_one_predictor() -> None:
    columns, y, site = table_of(1)
    fit = fitted(columns, y, site, within_site=False)
    port = federation_of(columns, {"y": y}, site)
    for i, name in enumerate(columns):
        (alone,) = conclude(port, [logistic(COHORT, Recipe((Complete((name,), ("y",)),)), "y", (name,))])
        assert fit.coef_[i] == pytest.approx(alone.coef_[1], abs=1e-12)
        assert fit.std_err_[i] == pytest.approx(alone.std_err_[1], abs=1e-12)
        assert fit.likelihood_ratio[i] == pytest.approx(alone.likelihood_ratio[0], abs=1e-9)
        assert fit.summary[i]["p"] == pytest.approx(alone.summary[1]["p"], rel=1e-9)
        assert fit.summary[i]["likelihood_ratio_p"] == pytest.approx(alone.likelihood_ratio[2], rel=1e-7)


@pytest.mark.parametrize("within", [True, False])
def test_separated_and_constant_columns_are_nan_and_leave_the_others_alone(within: bool) -> None:
    columns, y, site = table_of(2, 600)
    plain = fitted(columns, y, site, within_site=within)
    more = {
        "constant": np.full(600, 3.0),
        "complete": y + 0.1 * np.random.default_rng(0).random(600),
        "quasi": np.where(y == 1, np.arange(600) % 2, 0.0),
        "by_site": site.astype(np.float64),
        "one_class": np.where(y == 1, np.arange(600.0), np.nan),
    }
    port = weighing({**columns, **more}, {"y": y}, site)
    (fit,) = conclude(port, [univariable(COHORT, Recipe(), "y", (*columns, *more), within_site=within)])
    assert (fit.separated_ | fit.refused_).tolist() == [False] * 4 + [True, True, False, False]
    assert fit.constant_.tolist() == [False] * 3 + [True, False, False, within, True]
    assert np.isnan(fit.coef_).tolist() == (fit.separated_ | fit.refused_ | fit.constant_).tolist()
    assert fit.coef_[:3] == pytest.approx(plain.coef_, abs=1e-12)
    assert port.refused > 0


def test_one_class_only_is_an_error() -> None:
    with pytest.raises(FedmviError, match="602"):
        fitted({"x": np.arange(30.0)}, np.ones(30), np.arange(30) % 3)
    with pytest.raises(FedmviError, match="601"):
        fitted({"x": np.full(30, np.nan)}, np.arange(30.0) % 2, np.arange(30) % 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 300.0))
def test_an_intercept_makes_expected_events_those_observed(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    linear, known = rng.normal(size=(40, 6)) * spread, (rng.random((40, 6)) < 0.8).astype(float)
    events = np.floor(rng.random(6) * (known.sum(axis=0) + 1))
    a = site_intercepts(linear * known, known, events)
    n = known.sum(axis=0)
    both = (events > 0) & (events < n)
    expected = (known / (1 + np.exp(-np.clip(a + linear, -700, 700)))).sum(axis=0)
    assert np.max(np.abs(expected - events)[both], initial=0) < 1e-9
    assert (a[~both] == 0).all()


def test_a_question_of_another_shape_is_refused_and_a_silent_site_is_not_weighed() -> None:
    assert not MarginalSums(COHORT, Recipe(), "y", ("a", "b"), np.zeros((2, 1)), True).consistent()
    assert not MarginalSums(COHORT, Recipe(), "y", ("a", "b"), np.zeros((3, 2)), True).consistent()
    question = MarginalSums(COHORT, Recipe(), "y", ("a",), np.array([[0.0, 50.0]]), True)
    assert question.consistent()
    frame = Frame({"a": np.arange(10.0)}, {"y": np.ones(10)}, 10)
    assert question.influence(frame).sum() == 10
    assert question.answer(frame)["information"].tolist() == [[0.0]]
    frame.endpoints["y"][:5] = 0  # type: ignore[index]
    assert question.influence(frame).sum() < 1
