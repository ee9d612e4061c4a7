"""common: rank correlations equal SciPy's on pooled rows, ties across sites included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.quantiles import Guard
from common.statistics.ranks import PooledRanks, SiteRanks, binned_spearman, mid_ranks, spearman
from common.statistics.refinement import order_keys
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of


def fitted(columns: dict[str, np.ndarray], site: np.ndarray, *, within_site: bool) -> Any:
    return conclude(
        federation_of(columns, {}, site), [spearman(COHORT, Recipe(), tuple(columns), within_site=within_site)]
    )[0]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_mid_ranks_are_those_of_scipy(values: list[int]) -> None:
    assert mid_ranks(np.array(values, dtype=np.float64)).tolist() == stats.rankdata(values).tolist()


def test_missing_values_have_no_rank() -> None:
    ranks = mid_ranks(np.array([2.0, np.nan, 1.0, np.nan]))
    assert np.array_equal(ranks, [2.0, np.nan, 1.0, np.nan], equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_ties_across_sites_order_of_sites_and_splits(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    n = 90
    base = rng.normal(size=n)
    X = np.column_stack([np.round(levels * (base + rng.normal(size=n))) / 7 for _ in range(3)])
    X[:3] = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    columns = {f"x{i}": X[:, i] for i in range(3)}
    site = rng.integers(0, 3, n)
    fits = [fitted(columns, s, within_site=False) for s in (site, 2 - site, 2 * site + np.arange(n) % 2)]
    assert np.max(np.abs(fits[0].r_ - stats.spearmanr(X).statistic)) < 1e-12
    assert fits[0].r_.tobytes() == fits[1].r_.tobytes()
    assert np.max(np.abs(fits[0].r_ - fits[2].r_)) < 1e-13
    assert fits[0].how_ == "exact"


def test_copies_of_one_site_have_its_rank_correlation_whatever_their_scales(breast: Any) -> None:
    rows = breast.site == 1
    X = breast.X[rows][:, :5]
    columns = {f"x{i}": np.concatenate([X[:, i], 5 + 3 * X[:, i], np.exp(X[:, i] / X[:, i].max())]) for i in range(5)}
    fit = fitted(columns, np.repeat(np.arange(3), rows.sum()), within_site=True)
    assert np.max(np.abs(fit.r_ - stats.spearmanr(X).statistic)) < 1e-12


def test_a_constant_column_is_named_and_too_many_columns_are_refused() -> None:
    rng = np.random.default_rng(1)
    site = np.arange(60) % 3
    for within in (True, False):
        with pytest.raises(FedmviError, match="616"):
            fitted({"a": rng.normal(size=60), "b": np.ones(60)}, site, within_site=within)
        with pytest.raises(FedmviError, match="615"):
            fitted({f"x{i}": rng.normal(size=60) for i in range(21)}, site, within_site=within)


def test_bins_between_guarded_quantiles_come_near_and_are_labelled(breast: Any) -> None:
    names = breast.names[:6]
    highest = tuple(float(breast.columns[name].max()) * 1.1 for name in names)
    fit = conclude(
        federation_of(breast.columns, {}, breast.site),
        [binned_spearman(COHORT, Recipe(), names, 20, Guard((0.0,) * 6, highest, 5))],
    )[0]
    assert np.max(np.abs(fit.r_ - stats.spearmanr(breast.X[:, :6]).statistic)) < 0.02
    assert fit.how_ == "binned(20)"


def test_bins_of_a_column_with_few_levels_are_those_levels() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, 120).astype(np.float64), rng.integers(0, 4, 120) + rng.normal(size=120) / 9
    X = np.column_stack([a, b + a])
    fit = conclude(
        federation_of({"a": X[:, 0], "b": X[:, 1]}, {}, np.arange(120) % 3),
        [binned_spearman(COHORT, Recipe(), ("a", "b"), 12, Guard((-1.0, -2.0), (3.0, 8.0), 5))],
    )[0]
    assert abs(fit.r_[0, 1] - stats.spearmanr(X).statistic) < 0.02


def test_ranges_and_ranks_that_do_not_fit_are_refused() -> None:
    keys = order_keys(np.array([0.0, 1.0, 2.0]))
    sound = PooledRanks(
        COHORT, Recipe(), ("a",), False, np.array([3], dtype=np.uint64), keys, np.array([-0.4, 0.0, 0.4])
    )
    assert sound.consistent()
    assert not replace(sound, low=keys[::-1].copy()).consistent()
    assert not replace(sound, rank=np.array([0.4, 0.0, -0.4])).consistent()
    assert not replace(sound, rank=np.array([-4.0, 0.0, 4.0])).consistent()
    assert not replace(sound, ranges=np.array([2], dtype=np.uint64)).consistent()
    assert not replace(sound, within_site=True).consistent()
    assert not SiteRanks(COHORT, Recipe(), ("a",), within_site=False).consistent()


def test_told_ranks_that_single_out_one_patient_leave_him_all_the_influence() -> None:
    values = np.arange(50.0)
    frame = Frame({"a": values}, {}, 50)
    even = (np.arange(50) + 0.5) / 50 - 0.5
    ranges, low = np.array([50], dtype=np.uint64), order_keys(values)
    assert PooledRanks(COHORT, Recipe(), ("a",), False, ranges, low, even).influence(frame).sum() > 20
    one = np.append(np.zeros(49), 0.5)
    assert PooledRanks(COHORT, Recipe(), ("a",), False, ranges, low, one).influence(frame).sum() == 1.0
