"""common: frozen imputers equal scikit-learn on the pooled data, at the sites and on rows they never saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LinearRegression

from common.errors import FedmviError
from common.federation.codec import pack, unpack
from common.federation.runner import conclude
from common.statistics.imputation import ChainedImputer, ObservedGram, chained_imputer, mean_imputer, median_imputer
from common.statistics.quantiles import Guard
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of

NAMES = ("a", "b", "c", "d")
WIDE = ((-1e4,) * 4, (1e4,) * 4)


def incomplete(n: int = 300, seed: int = 0) -> np.ndarray:
    """Correlated columns in unlike units; the last is complete."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 4)) * [1.0, 1e-3, 30.0, 1.0] + [0.0, 0.01, 100.0, 5.0]
    X[:, :3][rng.random((n, 3)) < 0.25] = np.nan
    return X


def columns_of(X: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, X.T.copy(), strict=True))


def fitted(
    X: np.ndarray, site: np.ndarray, low: Any = WIDE[0], high: Any = WIDE[1], sweeps: int = 10
) -> ChainedImputer:
    port = federation_of(columns_of(X), {}, site)
    (fit,) = conclude(port, [chained_imputer(COHORT, Recipe(), NAMES, low, high, sweeps)])
    return fit


def filled(fit: Any, X: np.ndarray) -> np.ndarray:
    return Recipe((fit.step_,)).apply_to(Frame(columns_of(X), {}, len(X))).matrix(NAMES)


@pytest.mark.filterwarnings(f"ignore::{ConvergenceWarning.__module__}.ConvergenceWarning")
@pytest.mark.parametrize("limits", [WIDE, ((-1.0, 0.009, 80.0, 0.0), (1.0, 0.011, 120.0, 10.0))])
def test_chained_regressions_equal_iterative_imputer_limits_included(limits: Any) -> None:
    X = incomplete()
    fit = fitted(X, np.random.default_rng(1).integers(0, 4, len(X)), *limits)
    pooled = IterativeImputer(
        LinearRegression(),
        tol=0,
        max_iter=10,
        imputation_order="roman",
        min_value=limits[0],
        max_value=limits[1],
        skip_complete=True,
    )
    spread = np.nanstd(X, axis=0)
    apart = (filled(fit, X) - pooled.fit_transform(X)) / spread
    assert np.max(np.abs(apart)) < 1e-9
    # Rows of nobody in the fit, with a value missing that all of them had, and one with nothing at all.
    unseen = incomplete(60, seed=5)
    unseen[:20, 3] = np.nan
    unseen[20] = np.nan
    apart = (filled(fit, unseen) - pooled.transform(unseen)) / spread
    assert np.max(np.abs(apart)) < 1e-9
    known = ~np.isnan(X)
    assert (filled(fit, X)[known] == X[known]).all()
    assert fit.missing_.tolist() == np.isnan(X).sum(axis=0).tolist()
    assert limits is not WIDE or fit.change_ < 1e-3


def test_sites_do_not_matter_neither_does_one_that_never_measured_a_column() -> None:
    X = incomplete()
    site = np.arange(300) % 3
    X[site == 2, 0] = np.nan
    fits = [fitted(X, s, sweeps=4) for s in (site, 2 - site, site * 2 + (np.arange(300) % 2))]
    assert fits[0].step_ == fits[1].step_
    first, split = (np.array(fit.step_.coefficients) for fit in (fits[0], fits[2]))
    assert np.max(np.abs(first - split)) < 1e-12


def test_collinear_columns_fill_each_other_without_an_error() -> None:
    X = incomplete()
    X[:, 2] = np.where(np.isnan(X[:, 2]), np.nan, 2.0 * X[:, 3])
    fit = fitted(X, np.arange(300) % 3)
    rows = np.isnan(X[:, 2])
    np.testing.assert_allclose(filled(fit, X)[rows, 2], 2.0 * X[rows, 3], rtol=1e-8)


def test_mean_and_median_steps() -> None:
    X = incomplete()
    port = federation_of(columns_of(X), {}, np.arange(300) % 3)
    guard = Guard((-20.0, -0.05, -200.0, -20.0), (20.0, 0.05, 400.0, 40.0), 5)
    exact, guarded, mean = conclude(
        port,
        [
            median_imputer(COHORT, Recipe(), NAMES, None),
            median_imputer(COHORT, Recipe(), NAMES, guard),
            mean_imputer(COHORT, Recipe(), NAMES),
        ],
    )
    rows = np.isnan(X[:, 0])
    assert (filled(exact, X)[rows, 0] == np.nanmedian(X[:, 0])).all()
    np.testing.assert_allclose(filled(mean, X)[rows, 0], np.nanmean(X[:, 0]), rtol=1e-12)
    apart = np.abs(np.array(guarded.step_.values) - np.nanmedian(X, axis=0)) / np.nanstd(X, axis=0)
    assert 0 < np.max(apart) < 0.06
    assert (exact.how_, guarded.how_) == ("exact", "guarded(5)")
    assert exact.known_.tolist() == mean.known_.tolist() == (~np.isnan(X)).sum(axis=0).tolist()


def test_constant_columns_and_too_few_known_values_are_refused() -> None:
    X = incomplete()
    with pytest.raises(FedmviError, match="603"):
        fitted(np.where(np.arange(4) == 1, 3.0, X), np.arange(300) % 3)
    X[4:, 0], X[:4, 0] = np.nan, [1.0, 2.0, 3.0, 5.0]
    with pytest.raises(FedmviError, match="611"):
        fitted(X, np.arange(300) % 3)


def test_the_step_travels_and_says_whether_its_fields_fit() -> None:
    step = fitted(incomplete(), np.arange(300) % 3, sweeps=2).step_
    recipe = Recipe((step,))
    assert unpack(pack(recipe, Recipe), Recipe) == recipe
    assert step.consistent()
    rows = step.coefficients
    for bad in (
        {"mean": step.mean[:3]},
        {"low": (1e3,) * 4},
        {"scale": (0.0,) * 4},
        {"targets": (*step.targets[:-1], 4)},
        {"targets": step.targets[:-1]},
        {"coefficients": (rows[0][:-1], *rows[1:])},
        {"coefficients": ((0.0, 1.0, 0.0, 0.0, 0.0), *rows[1:])},
        {"names": ("a", "a", "b", "c")},
    ):
        assert not replace(step, **bad).consistent()


def test_a_gram_matrix_needs_a_target_and_filled_values() -> None:
    assert ObservedGram(COHORT, Recipe(), ("a", "b"), 1).consistent()
    assert not ObservedGram(COHORT, Recipe(), ("a", "b"), 2).consistent()
    with pytest.raises(FedmviError, match="501"):
        ObservedGram(COHORT, Recipe(), ("a",), 0).answer(Frame({"a": np.ones(3)}, {}, 3))
