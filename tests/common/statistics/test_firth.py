"""common: Firth's penalised likelihood is finite under separation and equals firthmodels on the pooled data."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from firthmodels import FirthLogisticRegression
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.firth import FirthResult, FirthSums, firth
from common.statistics.logistic import logistic
from common.statistics.logistic_stack import LogisticStack
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of


def fitted(columns: dict[str, np.ndarray], y: np.ndarray, site: np.ndarray, *, intervals: bool = False) -> FirthResult:
    port = federation_of(columns, {"y": y}, site)
    return conclude(port, [firth(COHORT, Recipe(), "y", tuple(columns), intervals=intervals)])[0]


def oracle(X: np.ndarray, y: np.ndarray, tolerance: float) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FirthLogisticRegression(backend="numpy", max_iter=200, gtol=tolerance, xtol=tolerance).fit(X, y)


def separated(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=90)
    y = (rng.random(90) < 1 / (1 + np.exp(-z))).astype(np.float64)
    return {"a": np.where(y == 1, rng.integers(0, 2, 90), 0.0), "z": z}, y, rng.integers(0, 3, 90)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_quasi_separated_data_have_the_fit_tests_and_intervals_of_firthmodels(seed: int) -> None:
    columns, y, site = separated(seed)
    fit = fitted(columns, y, site, intervals=True)
    X = np.column_stack(list(columns.values()))
    pooled, tested = oracle(X, y, 1e-8), oracle(X, y, 1e-5)
    tested.lrt()  # its refits stall at a stricter tolerance, and the statistic is quadratic in it
    assert fit.coef_[1:] == pytest.approx(pooled.coef_, abs=1e-7)
    assert fit.coef_[0] == pytest.approx(pooled.intercept_, abs=1e-7)
    assert fit.std_err_ == pytest.approx(np.roll(pooled.bse_, 1), abs=1e-7)
    assert fit.log_likelihood_ == pytest.approx(pooled.loglik_, abs=1e-8)
    assert [row["likelihood_ratio_p"] for row in fit.summary[1:]] == pytest.approx(tested.lrt_pvalues_[:-1], rel=1e-6)
    limits = tested.conf_int(method="pl", max_iter=500, tol=1e-8)[:-1]
    assert np.column_stack([fit.low_, fit.high_])[1:] == pytest.approx(limits, abs=1e-6)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-4, 1e4]))
def test_sites_and_scales_do_not_matter(seed: int, scale: float) -> None:
    columns, y, site = separated(seed)
    fit = fitted(columns, y, site)
    turned = fitted(columns, y, 2 - site)
    split = fitted(columns, y, site * 2 + np.arange(90) % 2)
    scaled = fitted({**columns, "z": columns["z"] * scale + 7}, y, site)
    assert fit.coef_.tobytes() == turned.coef_.tobytes()
    assert fit.chi2_.tobytes() == turned.chi2_.tobytes()
    assert fit.coef_ == pytest.approx(split.coef_, abs=1e-9)
    assert scaled.coef_[2] * scale == pytest.approx(fit.coef_[2], abs=1e-8)
    assert scaled.chi2_[1:] == pytest.approx(fit.chi2_[1:], abs=1e-8)


def test_the_correction_vanishes_in_large_samples() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-x))).astype(np.float64)
    port = federation_of({"x": x}, {"y": y}, np.arange(20_000) % 3)
    penalised, plain = conclude(port, [f(COHORT, Recipe(), "y", ("x",)) for f in (firth, logistic)])
    assert penalised.coef_ == pytest.approx(plain.coef_, abs=1e-3)
    assert penalised.std_err_ == pytest.approx(plain.std_err_, rel=1e-3)
    assert np.abs(penalised.coef_[1]) < np.abs(plain.coef_[1])


@pytest.mark.parametrize(
    ("columns", "y", "number"),
    [
        ({"a": np.arange(30.0), "b": 2 * np.arange(30.0)}, np.arange(30) % 2, 603),
        ({"a": np.ones(30)}, np.arange(30) % 2, 603),
        ({"a": np.arange(30.0)}, np.ones(30), 602),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(columns: dict[str, np.ndarray], y: np.ndarray, number: int) -> None:
    with pytest.raises(FedmviError, match=str(number)):
        fitted(columns, y.astype(np.float64), np.arange(30) % 3)


def test_an_inverse_that_would_give_weight_to_a_single_patient_is_refused() -> None:
    frame = Frame({"a": np.append(np.zeros(29), 9.0)}, {"y": np.arange(30) % 2.0}, 30)
    coefficients = np.zeros((1, 2))
    inverse = np.array([[[1e-3, 0.0], [0.0, 1e3]]])
    with pytest.raises(FedmviError, match="501"):
        FirthSums(COHORT, Recipe(), "y", ("a",), coefficients, inverse=inverse).answer(frame)
    FirthSums(COHORT, Recipe(), "y", ("a",), coefficients, inverse=inverse * 1e-6).answer(frame)


def test_questions_of_another_shape_are_refused() -> None:
    where = (COHORT, Recipe(), "y", ("a", "b"))
    assert LogisticStack(*where, np.zeros((4, 3))).consistent()
    for shape in ((3,), (0, 3), (4, 2), (4, 3, 1)):
        assert not LogisticStack(*where, np.zeros(shape)).consistent()
    assert FirthSums(*where, np.zeros((4, 3)), inverse=np.zeros((4, 3, 3))).consistent()
    for shape in ((4, 3), (3, 3, 3), (4, 2, 3)):
        assert not FirthSums(*where, np.zeros((4, 3)), inverse=np.zeros(shape)).consistent()
