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
from common.statistics.logistic import LogisticSums, logistic
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of
from tests.common.statistics.weighing import weighing

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


def table_of(seed: int, n: int = 240, p: int = 3) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = (rng.random(n) < 1 / (1 + np.exp(-X[:, 0] - 0.5))).astype(np.float64)
    return {f"x{i}": X[:, i] for i in range(p)}, y, rng.integers(0, 3, n)


def test_class_weights_equal_patients_counted_twice() -> None:
    columns, y, site = table_of(1)
    (weighted,) = conclude(
        federation_of(columns, {"y": y}, site), [logistic(COHORT, Recipe(), "y", tuple(columns), class_weights=(1, 2))]
    )
    twice = np.concatenate([np.arange(y.size), np.flatnonzero(y == 1)])
    doubled = {name: values[twice] for name, values in columns.items()}
    (plain,) = conclude(
        federation_of(doubled, {"y": y[twice]}, site[twice]), [logistic(COHORT, Recipe(), "y", tuple(columns))]
    )
    assert weighted.coef_ == pytest.approx(plain.coef_, abs=1e-9)
    assert weighted.std_err_ == pytest.approx(plain.std_err_, abs=1e-9)
    assert weighted.likelihood_ratio[0] == pytest.approx(plain.likelihood_ratio[0], abs=1e-8)
    assert (weighted.n_, weighted.events_) == (y.size, int(y.sum()))


def test_balanced_weights_come_from_the_pooled_classes() -> None:
    columns, y, site = table_of(2)
    port = federation_of(columns, {"y": y}, site)
    half = y.size / 2
    (fit, given) = conclude(
        port,
        [
            logistic(COHORT, Recipe(), "y", ("x0",), class_weights="balanced"),
            logistic(COHORT, Recipe(), "y", ("x0",), class_weights=(half / (y == 0).sum(), half / (y == 1).sum())),
        ],
    )
    assert fit.class_weights_ == given.class_weights_
    assert fit.coef_.tobytes() == given.coef_.tobytes()
    assert fit.null_log_likelihood_ == pytest.approx(y.size * np.log(0.5))


def test_an_offset_with_the_fitted_slope_leaves_a_slope_of_zero() -> None:
    columns, y, site = table_of(3)
    (free,) = conclude(federation_of(columns, {"y": y}, site), [logistic(COHORT, Recipe(), "y", ("x0",))])
    columns["shift"] = free.coef_[1] * columns["x0"]
    (held,) = conclude(
        federation_of(columns, {"y": y}, site), [logistic(COHORT, Recipe(), "y", ("x0",), offset="shift")]
    )
    assert held.coef_[0] == pytest.approx(free.coef_[0], abs=1e-9)
    assert held.coef_[1] == pytest.approx(0, abs=1e-9)
    assert held.null_log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-9)


def test_a_penalty_gives_finite_slopes_where_the_classes_are_separated() -> None:
    x = np.arange(60.0)
    port = federation_of({"x": x}, {"y": (x >= 30).astype(np.float64)}, np.arange(60) % 3)
    fits = conclude(port, [logistic(COHORT, Recipe(), "y", ("x",), ridge=lam) for lam in (0.1, 10.0, 1e6)])
    slopes = [fit.coef_[1] * x.std(ddof=1) for fit in fits]
    assert not any(fit.separated_ for fit in fits)
    assert slopes[0] > slopes[1] > slopes[2] > 0
    assert fits[2].effective_parameters_ == pytest.approx(1, abs=1e-3)
    assert np.isnan(fits[0].likelihood_ratio[2])


def test_nested_fits_are_compared_and_others_are_refused() -> None:
    columns, y, site = table_of(4)
    port = federation_of(columns, {"y": y}, site)
    full, one, other, ridge, empty = conclude(
        port,
        [
            logistic(COHORT, Recipe(), "y", ("x0", "x1", "x2")),
            logistic(COHORT, Recipe(), "y", ("x0",)),
            logistic(COHORT, Recipe(), "y", ("x1",)),
            logistic(COHORT, Recipe(), "y", ("x0",), ridge=1.0),
            logistic(COHORT, Recipe(), "y", ()),
        ],
    )
    X = np.column_stack([np.ones(y.size), *columns.values()])
    llf = [sm.Logit(y, X[:, use]).fit(disp=0, tol=1e-14).llf for use in ([0, 1, 2, 3], [0, 1])]
    chi2, degrees, p = full.against(one)
    assert chi2 == pytest.approx(2 * (llf[0] - llf[1]), abs=1e-8)
    assert degrees == 2
    assert 0 < p < 1
    assert full.against(empty) == pytest.approx(full.likelihood_ratio)
    for refused in (ridge, full):
        with pytest.raises(FedmviError, match="620"):
            full.against(refused)
    with pytest.raises(FedmviError, match="620"):
        one.against(other)


@pytest.mark.parametrize(
    ("coefficients", "offset", "weights"),
    [
        (np.zeros(2), "", (1.0, 1.0)),
        (np.zeros((3, 1)), "", (1.0, 1.0)),
        (np.zeros(3), "a", (1.0, 1.0)),
        (np.zeros(3), "", (0.0, 1.0)),
        (np.zeros(3), "", (1.0, -1.0)),
        (np.zeros(3), "", (1.0, 1e9)),
    ],
)
def test_a_question_whose_parts_do_not_fit_is_refused(
    coefficients: np.ndarray, offset: str, weights: tuple[float, float]
) -> None:
    assert LogisticSums(COHORT, Recipe(), "y", ("a", "b"), np.zeros(3)).consistent()
    assert not LogisticSums(COHORT, Recipe(), "y", ("a", "b"), coefficients, offset, weights).consistent()


def test_a_site_that_refuses_for_separation_makes_a_separated_fit() -> None:
    x = np.arange(900.0)
    port = weighing({"x": x}, {"y": (x >= 450).astype(np.float64)}, np.arange(900) % 3)
    (fit,) = conclude(port, [logistic(COHORT, Recipe(), "y", ("x",))])
    assert port.refused == 1
    assert fit.separated_
