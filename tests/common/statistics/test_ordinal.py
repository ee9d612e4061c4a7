"""common: proportional-odds regression equals statsmodels on the pooled data, and its test sees slopes that differ."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2 as chi2_distribution
from statsmodels.miscmodels.ordinal_model import OrderedModel

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.logistic import logistic
from common.statistics.ordinal import OrdinalResult, OrdinalSums, ParallelSums, ordinal
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of


def table_of(seed: int, n: int = 200, levels: int = 3) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    latent = X @ [1.0, -0.5] + rng.logistic(size=n)
    y = np.digitize(latent, np.linspace(-1, 1, levels - 1)).astype(np.float64)
    return {"a": X[:, 0], "b": X[:, 1]}, y, rng.integers(0, 3, n)


def fitted(columns: dict[str, np.ndarray], y: np.ndarray, site: np.ndarray, levels: int = 3) -> OrdinalResult:
    port = federation_of(columns, {"grade": y}, site)
    return conclude(port, [ordinal(COHORT, Recipe(), "grade", levels, tuple(columns))])[0]


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 6))
def test_equals_statsmodels_whatever_the_sites(seed: int, levels: int) -> None:
    columns, y, site = table_of(seed, levels=levels)
    fit = fitted(columns, y, site, levels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = OrderedModel(y.astype(int), np.column_stack(list(columns.values())), distr="logit")
        pooled = model.fit(method="newton", disp=0, tol=1e-14, maxiter=100)
    thresholds = model.transform_threshold_params(pooled.params)[1:-1]
    assert fit.coef_ == pytest.approx(pooled.params[:2], abs=1e-7)
    assert fit.thresholds_ == pytest.approx(thresholds, abs=1e-7)
    assert fit.std_err_[levels - 1 :] == pytest.approx(pooled.bse[:2], abs=1e-6)  # its derivatives are numerical
    assert fit.log_likelihood_ == pytest.approx(pooled.llf, abs=1e-8)
    assert fit.null_log_likelihood_ == pytest.approx(pooled.llnull, abs=1e-6)
    turned, split = fitted(columns, y, 2 - site, levels), fitted(columns, y, site * 2 + np.arange(200) % 2, levels)
    assert turned.coef_.tobytes() == fit.coef_.tobytes()
    assert turned.parallel_chi2_ == fit.parallel_chi2_
    assert split.coef_ == pytest.approx(fit.coef_, abs=1e-11)


def test_two_levels_are_a_logistic_regression() -> None:
    columns, y, site = table_of(1, levels=2)
    fit = fitted(columns, y, site, 2)
    (binary,) = conclude(federation_of(columns, {"y": y}, site), [logistic(COHORT, Recipe(), "y", tuple(columns))])
    assert fit.coef_ == pytest.approx(binary.coef_[1:], abs=1e-10)
    assert fit.thresholds_[0] == pytest.approx(-binary.coef_[0], abs=1e-10)
    assert fit.std_err_ == pytest.approx(binary.std_err_, abs=1e-10)
    assert fit.likelihood_ratio == pytest.approx(binary.likelihood_ratio)
    assert fit.aic == pytest.approx(binary.aic)
    assert np.isnan(fit.parallel_chi2_)


def test_turning_the_levels_round_turns_the_slopes_round() -> None:
    columns, y, site = table_of(2, levels=4)
    fit, turned = fitted(columns, y, site, 4), fitted(columns, 3 - y, site, 4)
    assert turned.coef_ == pytest.approx(-fit.coef_, abs=1e-10)
    assert turned.thresholds_ == pytest.approx(-fit.thresholds_[::-1], abs=1e-10)
    assert turned.parallel_chi2_ == pytest.approx(fit.parallel_chi2_, rel=1e-8)


def test_the_assumption_holds_where_it_is_true_and_is_rejected_where_it_is_not() -> None:
    chi2 = [fitted(*table_of(seed, 400)).parallel_chi2_ for seed in range(40)]
    assert 0.5 < np.mean(chi2) / 2 < 1.6  # two degrees of freedom
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    y = (rng.random(600) < 1 / (1 + np.exp(-2 * x))).astype(np.float64)
    y += (y == 1) & (rng.random(600) < 0.5)  # beyond the first cut the predictor says nothing
    fit = fitted({"x": x}, y, np.arange(600) % 3)
    assert fit.parallel_degrees_ == 1
    assert fit.parallel_p < 1e-6
    assert fit.parallel_p == pytest.approx(chi2_distribution.sf(fit.parallel_chi2_, 1), rel=1e-9)


def test_separation_empty_levels_and_constant_columns() -> None:
    x, site = np.arange(90.0), np.arange(90) % 3
    y = np.repeat([0.0, 1.0, 2.0], 30)
    assert fitted({"x": x}, y, site).separated_
    assert np.isnan(fitted({"x": x}, y, site).coef_).all()
    with pytest.raises(FedmviError, match="621"):
        fitted({"x": x}, y, site, 4)
    with pytest.raises(FedmviError, match="603"):
        fitted({"x": np.ones(90)}, y, site)
    with pytest.raises(FedmviError, match="501"):
        fitted({"x": x}, y, site, 2)


@pytest.mark.parametrize(
    ("levels", "coefficients", "sound"),
    [
        (3, [-1.0, 1.0, 0.0], True),
        (3, [1.0, 1.0, 0.0], False),
        (3, [1.0, -1.0, 0.0], False),
        (3, [-1.0, 1.0], False),
        (2, [0.0, 0.0], True),
        (1, [0.0], False),
        (50, list(np.arange(50.0)), False),
    ],
)
def test_thresholds_must_ascend_and_shapes_must_fit(levels: int, coefficients: list[float], sound: bool) -> None:
    for kind in (OrdinalSums, ParallelSums):
        assert kind(COHORT, Recipe(), "grade", ("a",), levels, np.array(coefficients)).consistent() == sound


def test_patients_whose_level_the_model_is_sure_of_have_no_weight() -> None:
    frame = Frame({"a": np.array([0.0, 900.0, -900.0])}, {"grade": np.array([1.0, 2.0, 0.0])}, 3)
    weight = OrdinalSums(COHORT, Recipe(), "grade", ("a",), 3, np.array([-0.01, 0.01, 1.0])).influence(frame)
    assert weight[0] == pytest.approx(1, abs=1e-3)
    assert weight[1:].max() < 1e-12
