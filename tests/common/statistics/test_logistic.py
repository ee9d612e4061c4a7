"""common: logistic regression equals statsmodels on the pooled data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.logistic import logistic
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of

SEVEN = (
    "mean_texture",
    "mean_smoothness",
    "mean_symmetry",
    "texture_error",
    "smoothness_error",
    "mean_fractal_dimension",
    "symmetry_error",
)


def oracle(X: np.ndarray, y: np.ndarray) -> Any:
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    started = sm.Logit(y, sm.add_constant(scaled)).fit(disp=0, tol=1e-14, maxiter=100)
    back = np.concatenate([[started.params[0] - np.sum(started.params[1:] * X.mean(axis=0) / X.std(axis=0))],
                           started.params[1:] / X.std(axis=0)])  # fmt: skip
    return sm.Logit(y, sm.add_constant(X)).fit(
        disp=0, tol=1e-14, maxiter=100, start_params=back, warn_convergence=False
    )


def test_equals_statsmodels(breast: Any) -> None:
    X = np.column_stack([breast.columns[name] for name in SEVEN])
    port = federation_of(breast.columns, {"y": breast.y}, breast.site)
    (fit,) = conclude(port, [logistic(COHORT, Recipe(), "y", SEVEN)])
    pooled = oracle(X, breast.y)
    spread = np.concatenate([[1.0], X.std(axis=0)])
    assert np.max(np.abs(fit.coef_[1:] - pooled.params[1:]) * spread[1:]) < 1e-9
    assert np.max(np.abs(fit.std_err_[1:] - pooled.bse[1:]) * spread[1:]) < 1e-9
    assert fit.coef_[0] == pytest.approx(pooled.params[0], rel=1e-9)
    assert fit.std_err_[0] == pytest.approx(pooled.bse[0], rel=1e-8)
    assert fit.log_likelihood_ == pytest.approx(pooled.llf, abs=1e-8)
    # statsmodels fits its null model to a looser tolerance, so it is fitted here to the same one.
    null = sm.Logit(breast.y, np.ones_like(breast.y)).fit(disp=0, tol=1e-14).llf
    assert fit.likelihood_ratio[0] == pytest.approx(2 * (pooled.llf - null), abs=1e-8)
    assert fit.aic == pytest.approx(pooled.aic, abs=1e-8)
    low, high = pooled.conf_int().T
    for i, row in enumerate(fit.summary):
        assert row["p"] == pytest.approx(pooled.pvalues[i], rel=1e-7, abs=1e-300)
        assert row["coef_low"] == pytest.approx(low[i], rel=1e-7, abs=1e-9)
        assert row["coef_high"] == pytest.approx(high[i], rel=1e-7, abs=1e-9)


def test_each_predictor_alone_in_lock_step_equals_statsmodels(breast: Any) -> None:
    port = federation_of(breast.columns, {"y": breast.y}, breast.site)
    fits = conclude(port, [logistic(COHORT, Recipe(), "y", (name,)) for name in breast.names])
    worst = 0.0
    for name, fit in zip(breast.names, fits, strict=True):
        x = breast.columns[name][:, None]
        pooled = oracle(x, breast.y)
        worst = max(
            worst, abs(fit.coef_[1] - pooled.params[1]) * x.std(), abs(fit.std_err_[1] - pooled.bse[1]) * x.std()
        )
    assert worst < 1e-9


@pytest.mark.parametrize("kind", ["complete", "quasi"])
def test_separation_is_detected_and_no_estimate_is_given(kind: str) -> None:
    rng = np.random.default_rng(3)
    x = np.sort(rng.normal(size=120))
    y = (np.arange(120) >= 60).astype(np.float64)
    if kind == "quasi":
        x = (x > np.median(x)).astype(np.float64)
        y[-20:] = 0.0  # one cell of the two by two table stays empty
    port = federation_of({"x": x, "z": rng.normal(size=120)}, {"y": y}, rng.integers(0, 3, 120))
    (fit,) = conclude(port, [logistic(COHORT, Recipe(), "y", ("x", "z"))])
    assert fit.separated_
    assert np.isnan(fit.coef_).all()


def test_a_strong_but_finite_effect_is_not_called_separated() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=600)
    y = (rng.random(600) < 1 / (1 + np.exp(-6 * x))).astype(np.float64)
    port = federation_of({"x": x}, {"y": y}, rng.integers(0, 3, 600))
    (fit,) = conclude(port, [logistic(COHORT, Recipe(), "y", ("x",))])
    assert not fit.separated_
    assert fit.coef_[1] == pytest.approx(oracle(x[:, None], y).params[1], rel=1e-9)


@pytest.mark.parametrize(("columns", "number"), [(("a", "a2"), 603), (("a", "one"), 603)])
def test_collinear_and_constant_predictors_are_named(columns: tuple[str, ...], number: int) -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=100)
    table = {"a": a, "a2": 3 * a + 1, "one": np.ones(100)}
    port = federation_of(table, {"y": (rng.random(100) < 0.5).astype(np.float64)}, rng.integers(0, 3, 100))
    with pytest.raises(FedmviError, match=str(number)):
        conclude(port, [logistic(COHORT, Recipe(), "y", columns)])


def test_one_class_only_is_an_error() -> None:
    rng = np.random.default_rng(1)
    port = federation_of({"a": rng.normal(size=60)}, {"y": np.ones(60)}, rng.integers(0, 3, 60))
    with pytest.raises(FedmviError, match="602"):
        conclude(port, [logistic(COHORT, Recipe(), "y", ("a",))])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 1.0, 1e6]))
def test_order_of_sites_splitting_a_site_and_scaling_a_column_change_nothing(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    n = 150
    X = rng.normal(size=(n, 3))
    y = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0]))).astype(np.float64)
    columns = {f"x{i}": X[:, i] for i in range(3)}
    names = tuple(columns)
    site = rng.integers(0, 3, n)
    fits = [
        conclude(federation_of(columns, {"y": y}, s), [logistic(COHORT, Recipe(), "y", names)])[0]
        for s in (site, 2 - site, site * 2 + rng.integers(0, 2, n))
    ]
    assert fits[0].coef_.tobytes() == fits[1].coef_.tobytes()
    assert np.max(np.abs(fits[0].coef_ - fits[2].coef_)) < 1e-12
    scaled = {**columns, "x1": columns["x1"] * scale}
    (other,) = conclude(federation_of(scaled, {"y": y}, site), [logistic(COHORT, Recipe(), "y", names)])
    assert abs(other.coef_[2] * scale - fits[0].coef_[2]) < 1e-9
    assert abs(other.coef_[1] - fits[0].coef_[1]) < 1e-9
