"""common: means and standard deviations equal the pooled ones, whatever the offset."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from common.federation.runner import conclude
from common.statistics.moments import moments
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def test_equals_standard_scaler(breast: Any) -> None:
    (fit,) = conclude(federation_of(breast.columns, {}, breast.site), [moments(COHORT, Recipe(), breast.names)])
    scaler = StandardScaler().fit(breast.X)
    n = len(breast.y)
    assert np.max(np.abs(fit.mean_ / scaler.mean_ - 1)) < 1e-12
    assert np.max(np.abs(fit.std_ / (scaler.scale_ * np.sqrt(n / (n - 1))) - 1)) < 1e-12


def test_a_large_offset_loses_no_digits(breast: Any) -> None:
    shifted = {name: values + 1e6 for name, values in breast.columns.items()}
    (fit,) = conclude(federation_of(shifted, {}, breast.site), [moments(COHORT, Recipe(), breast.names)])
    pooled = np.array([np.std(v, ddof=1) for v in shifted.values()])
    assert np.max(np.abs(fit.std_ / pooled - 1)) < 1e-9


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_sites_order_scale_and_missing_values_do_not_matter(k: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(60) < 0.2, np.nan, rng.normal(size=60)) * scale
    site = rng.integers(0, k, 60)
    site[:k] = np.arange(k)
    values[0] = scale
    (fit,) = conclude(federation_of({"a": values}, {}, site), [moments(COHORT, Recipe(), ("a",))])
    (other,) = conclude(federation_of({"a": values}, {}, k - site), [moments(COHORT, Recipe(), ("a",))])
    assert fit.mean_.tobytes() == other.mean_.tobytes()
    assert np.isclose(fit.mean_[0], np.nanmean(values), rtol=1e-12, atol=1e-13 * scale)
    assert np.isclose(fit.std_[0], np.nanstd(values, ddof=1), rtol=1e-11)
