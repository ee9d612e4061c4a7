"""common: multiple imputations are drawn alike whatever the sites, and combined by Rubin's rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from common.errors import FedmviError
from common.federation.runner import Conclusion, conclude
from common.statistics.multiple_imputation import (
    ImputedLogistic,
    MultipleImputation,
    imputed_logistic,
    multiple_imputation,
    rubin,
)
from common.study.chain import standard_normals
from common.study.recipe import Complete, Frame, Recipe
from simulation.views import COHORT, federation_of, row_keys

NAMES = ("a", "b", "c")
WIDE = ((-1e3,) * 3, (1e3,) * 3)
N = 500


def incomplete(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`a` is missing more often where `c`, which is known, is large."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 3)) @ np.array([[1.0, 0.5, 0.3], [0.0, 1.0, 0.4], [0.0, 0.0, 1.0]])
    y = (rng.random(N) < 1 / (1 + np.exp(-X @ [1.0, -0.5, 0.5]))).astype(float)
    X[rng.random(N) < 1 / (1 + np.exp(1.0 - X[:, 2])), 0] = np.nan
    X[rng.random(N) < 0.1, 1] = np.nan
    return X, y


def both(recipe: Recipe, imputations: int, sweeps: int) -> Conclusion[tuple[MultipleImputation, ImputedLogistic]]:
    rng = np.random.default_rng(3)
    drawn = yield from multiple_imputation(COHORT, recipe, "y", NAMES, *WIDE, imputations, rng, sweeps)
    return drawn, (yield from imputed_logistic(COHORT, recipe, NAMES, drawn))


NO_STEPS = Recipe()


def fitted(X: np.ndarray, y: np.ndarray, site: np.ndarray, recipe: Recipe = NO_STEPS, imputations: int = 5,
           sweeps: int = 3, keys: Any = None) -> tuple[MultipleImputation, ImputedLogistic]:  # fmt: skip
    columns = dict(zip(NAMES, X.T.copy(), strict=True))
    port = federation_of(columns, {"y": y}, site, keys=keys)
    return conclude(port, [both(recipe, imputations, sweeps)])[0]


def test_sites_and_the_order_of_patients_do_not_matter() -> None:
    X, y = incomplete()
    site = np.arange(N) % 3
    first, whole = fitted(X, y, site)
    turned, same = fitted(X, y, 2 - site)
    assert first.steps_ == turned.steps_
    assert whole.combined_.coef_.tobytes() == same.combined_.coef_.tobytes()
    order = np.random.default_rng(8).permutation(N)
    for s, rows in ((site * 2 + (np.arange(N) % 2), slice(None)), (site, order)):
        _, other = fitted(X[rows], y[rows], s[rows], keys=row_keys(N)[rows])
        assert np.max(np.abs(other.combined_.coef_ - whole.combined_.coef_)) < 1e-10
    _, reseeded = fitted(X, y, site, keys=row_keys(N)[::-1])
    assert np.max(np.abs(reseeded.combined_.coef_ - whole.combined_.coef_)) > 1e-4


def test_the_missing_part_is_recovered_and_what_is_known_is_kept() -> None:
    X, y = incomplete()
    drawn, fit = fitted(X, y, np.arange(N) % 3, imputations=10)
    truth = np.array([1.0, -0.5, 0.5])
    assert np.all(np.abs(fit.combined_.coef_[1:] - truth) < 3 * fit.combined_.std_err_[1:])
    assert np.argmax(fit.combined_.missing_information_) == 1
    assert np.all(fit.combined_.std_err_ > np.sqrt(np.diag(fit.combined_.within_)))
    frame = Frame(dict(zip(NAMES, X.T, strict=True)), {"y": y}, N, row_keys(N))
    sets = np.array([Recipe((step,)).apply_to(frame).matrix(NAMES) for step in drawn.steps_])
    known = ~np.isnan(X)
    assert (sets[:, known] == X[known]).all()
    assert np.min(sets[:, ~known].std(axis=0)) > 0.01
    # `a` is missing where `c` is large, so its mean over all is above the mean of what is known.
    assert sets[:, :, 0].mean() > np.nanmean(X[:, 0]) + 0.05
    assert drawn.trace_.shape == (3, 10, 3)


def test_patients_without_the_outcome_take_no_part() -> None:
    X, y = incomplete()
    gaps = np.where(np.arange(N) % 10 == 0, np.nan, y)
    known = ~np.isnan(gaps)
    recipe = Recipe((Complete((), ("y",)),))
    drawn, fit = fitted(X, gaps, np.arange(N) % 3, recipe)
    _, without = fitted(X[known], y[known], (np.arange(N) % 3)[known], keys=row_keys(N)[known])
    assert fit.combined_.coef_.tobytes() == without.combined_.coef_.tobytes()
    frame = Frame(dict(zip(NAMES, X.T, strict=True)), {"y": gaps}, N, row_keys(N))
    after = Recipe((drawn.steps_[0],)).apply_to(frame).matrix(NAMES)
    assert (np.isnan(after) == (np.isnan(X) & ~known[:, None])).all()


def test_without_missing_values_the_combined_fit_is_the_fit() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 3))
    y = (rng.random(200) < 1 / (1 + np.exp(-X[:, 0]))).astype(float)
    drawn, fit = fitted(X, y, np.arange(200) % 3)
    pooled = sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-14)
    np.testing.assert_allclose(fit.combined_.coef_, pooled.params, rtol=1e-8)
    np.testing.assert_allclose(fit.combined_.std_err_, pooled.bse, rtol=1e-8)
    assert drawn.missing_.tolist() == [0, 0, 0]
    # Barnard and Rubin's degrees for no variance between imputations: (v + 1) / (v + 3) v with v = 196.
    np.testing.assert_allclose(fit.combined_.degrees_, 197 / 199 * 196, rtol=1e-12)


def test_rubins_rules_on_the_printed_formulas() -> None:
    coef = np.array([[1.0], [2.0], [4.0]])
    combined = rubin(("x",), coef, np.full((3, 1, 1), 0.5), 100.0)
    between = np.var([1.0, 2.0, 4.0], ddof=1)
    t = 0.5 + 4 / 3 * between
    share = 4 / 3 * between / t
    old, observed = 2 / share**2, 101 / 103 * 100 * (1 - share)
    degrees = old * observed / (old + observed)
    assert combined.total_[0, 0] == pytest.approx(t)
    assert combined.degrees_[0] == pytest.approx(degrees)
    r = 4 / 3 * between / 0.5
    assert combined.missing_information_[0] == pytest.approx((r + 2 / (degrees + 3)) / (r + 1))
    row = combined.summary[0]
    assert row["p"] == pytest.approx(2 * stats.t.sf((7 / 3) / np.sqrt(t), degrees))
    low, high = stats.t.interval(0.95, degrees, 7 / 3, np.sqrt(t))
    assert (row["coef_low"], row["coef_high"]) == pytest.approx((low, high))
    with pytest.raises(ValueError, match="two imputations"):
        rubin(("x",), coef[:1], np.ones((1, 1, 1)), 100.0)


def test_collinear_predictors_and_too_few_values_are_refused() -> None:
    X, y = incomplete()
    twin = X.copy()
    twin[:, 1] = twin[:, 2]
    with pytest.raises(FedmviError, match="603"):
        fitted(twin, y, np.arange(N) % 3)
    X[4:, 0], X[:4, 0] = np.nan, [1.0, 2.0, 3.0, 5.0]
    with pytest.raises(FedmviError, match="611"):
        fitted(X, y, np.arange(N) % 3)


def test_noise_is_standard_normal_and_its_streams_are_unrelated() -> None:
    keys = row_keys(20_000)
    noise = np.stack([standard_normals(keys, draw, step, 1) for draw in range(3) for step in range(3)])
    assert np.array_equal(noise[:, ::-1], np.stack(
        [standard_normals(keys[::-1], draw, step, 1) for draw in range(3) for step in range(3)]))  # fmt: skip
    assert min(stats.kstest(row, "norm").pvalue for row in noise) > 1e-3
    assert np.max(np.abs(np.corrcoef(noise) - np.eye(9))) < 0.03
    # Keys that follow one another give unrelated noise too.
    close = standard_normals(np.arange(20_000, dtype=np.uint64), 0, 0, 0)
    assert stats.kstest(close, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(close[1:], close[:-1])[0, 1]) < 0.03


def test_a_drawn_step_says_whether_its_fields_fit_and_needs_keys() -> None:
    X, y = incomplete()
    step = fitted(X, y, np.arange(N) % 3)[0].steps_[1]
    assert step.consistent()
    for bad in ({"residual": step.residual[1:]}, {"residual": tuple(-r for r in step.residual)}, {"draw": -1},
                {"draw": 10_000}, {"coefficients": tuple(row[:-1] for row in step.coefficients)}):  # fmt: skip
        assert not replace(step, **bad).consistent()
    with pytest.raises(FedmviError, match="501"):
        Recipe((step,)).apply_to(Frame(dict(zip(NAMES, X.T, strict=True)), {"y": y}, N))
