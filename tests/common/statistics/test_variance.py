"""common: columns that hardly vary are found, in any unit; levels of few patients are not told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.variance import LevelCounts, frequency_filter, variance_filter
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def test_constant_columns_are_left_out_in_any_unit(breast: Any) -> None:
    flat = {f"flat{value:g}": np.full(569, value) for value in (0.0, 0.1, 1e6 + 0.1, -3e-4)}
    scaled = {f"texture{unit:g}": breast.columns["mean_texture"] * unit for unit in (1e-6, 1.0, 1e6)}
    columns = {**flat, **scaled, "gap": np.where(np.arange(569) % 3, 3.7, np.nan)}
    (fit,) = conclude(federation_of(columns, {}, breast.site), [variance_filter(COHORT, Recipe(), tuple(columns))])
    assert fit.kept_ == tuple(scaled)
    pooled = np.var(np.column_stack(list(scaled.values())), axis=0)
    np.testing.assert_allclose(fit.variance_[4:7], pooled, rtol=1e-6)
    np.testing.assert_allclose(fit.relative_[4:7], fit.relative_[5], rtol=1e-6)


def test_a_threshold_is_relative_to_the_mean_square() -> None:
    x = np.tile([9.0, 11.0], 30)
    port = federation_of({"a": x}, {}, np.arange(60) % 3)
    for threshold, kept in ((1 / 101 - 1e-12, ("a",)), (1 / 101 + 1e-12, ())):
        (fit,) = conclude(port, [variance_filter(COHORT, Recipe(), ("a",), threshold)])
        assert fit.kept_ == kept


def test_frequencies_follow_nearzerovar_and_rare_levels_are_not_told() -> None:
    n = 400
    columns = {
        "even": np.arange(n) % 2.0,
        "poor": (np.arange(n) < 19).astype(float),  # 381 to 19: more than 95 to 5
        "just": (np.arange(n) < 20).astype(float),  # 380 to 20: exactly 95 to 5 is not above it
        "one": np.full(n, 2.0),
        "rare": (np.arange(n) < 4) * 2.0 + (np.arange(n) > 200),
        "gap": np.where(np.arange(n) < 100, np.nan, np.arange(n) % 2.0),
    }
    levels = (2, 2, 2, 3, 3, 2)
    port = federation_of(columns, {}, np.arange(n) % 3)
    (fit,) = conclude(port, [frequency_filter(COHORT, Recipe(), tuple(columns), levels, 5)])
    assert fit.kept_ == ("even", "just", "gap")
    assert fit.frequency_ratio_[:3].tolist() == [1.0, 381 / 19, 19.0]
    assert np.isinf(fit.frequency_ratio_[3])
    assert fit.rare_.tolist() == [False, False, False, False, True, False]
    assert np.isnan(fit.frequency_ratio_[4])
    assert np.isnan(fit.percent_unique_[4])
    assert fit.percent_unique_[5] == pytest.approx(100 * 2 / 300)


@pytest.mark.parametrize("value", [2.0, -1.0, 0.5])
def test_a_value_that_is_no_level_is_an_error(value: float) -> None:
    port = federation_of({"a": np.array([0.0, 1.0, value] * 5)}, {}, np.arange(15) % 3)
    with pytest.raises(FedmviError, match="501"):
        conclude(port, [frequency_filter(COHORT, Recipe(), ("a",), (2,), 5)])


def test_columns_and_levels_must_fit() -> None:
    assert LevelCounts(COHORT, Recipe(), ("a", "b"), (2, 3)).consistent()
    for levels in ((2,), (2, 0), (2, 10_000)):
        assert not LevelCounts(COHORT, Recipe(), ("a", "b"), levels).consistent()


def test_a_column_that_is_too_narrow_for_its_public_range_is_left_out():
    """By its standard deviation a plausible value would be standardised beyond what a site may be asked."""
    rng = np.random.default_rng(3)
    columns = {"wide": rng.normal(size=90), "narrow": 1e-9 * rng.normal(size=90)}
    port = federation_of(columns, {}, np.repeat([0, 1, 2], 30))
    asked = [variance_filter(COHORT, Recipe(), tuple(columns), narrowest=least) for least in ((), (1e-3, 1e-6))]
    unlimited, limited = conclude(port, asked)
    assert unlimited.kept_ == ("wide", "narrow")
    assert limited.kept_ == ("wide",)
