"""common: exact quantiles equal numpy's bit for bit; guarded ones isolate nobody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import RobustScaler

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.quantiles import MAX_LEVEL, QUARTILES, GridCounts, Guard, Quantiles, quantiles
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def fitted(columns: dict[str, Any], site: Any, probabilities: tuple[float, ...], guard: Guard | None) -> Quantiles:
    (fit,) = conclude(
        federation_of(columns, {}, site), [quantiles(COHORT, Recipe(), tuple(columns), probabilities, guard)]
    )
    return fit


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1e300, 1e300) | st.just(float("nan")) | st.integers(-3, 3).map(float), min_size=3, max_size=40),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_any_values_ties_signs_and_sites_give_the_bits_of_numpy(
    values: list[float], probabilities: list[float], seed: int
) -> None:
    x = np.array([*values, 1.5])
    site = np.random.default_rng(seed).integers(0, 4, x.size)
    fit = fitted({"a": x, "b": -x}, site, tuple(probabilities), None)
    with np.errstate(over="ignore", invalid="ignore"):
        pooled = np.stack([np.nanquantile(part, probabilities) for part in (x, -x)])
    np.testing.assert_array_equal(fit.value_, pooled)
    assert fit.how_ == "exact"
    assert fit.rounds_ <= 8


def test_robust_scaling_equals_scikit_learn(breast: Any) -> None:
    columns = {**breast.columns, "flat": np.repeat([1.0, 2.0], [540, 29])}
    fit = fitted(columns, breast.site, QUARTILES, None)
    pooled = RobustScaler().fit(np.column_stack(list(columns.values())))
    step = fit.robust_scaling()
    assert step.mean == tuple(pooled.center_)
    np.testing.assert_allclose(step.scale, pooled.scale_, rtol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 5, 10]), st.integers(60, 300), st.sampled_from([10.0, 1.0, 1e-9]))
def test_where_the_outermost_patients_are_has_no_effect_on_a_guarded_quantile(
    seed: int, least: int, n: int, spacing: float
) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(np.round(rng.normal(50, 10, n) / spacing) * spacing)
    moved = x.copy()
    moved[: least - 1] = rng.uniform(-1000, x[0], least - 1)
    moved[n - least + 1 :] = rng.uniform(x[-1], 2000, least - 1)
    site = rng.integers(0, 3, n)
    guard = Guard((-1000.0,), (1000.0,), least)
    first, second = (fitted({"a": part}, site, (0.0, 0.02, 0.3, 1.0), guard) for part in (x, moved))
    assert first.value_.tobytes() == second.value_.tobytes()
    exact = fitted({"a": moved}, site, (0.0, 1.0), None).value_[0]
    assert exact.tolist() == [moved.min(), moved.max()]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 5, 10]), st.integers(40, 400))
def test_every_guarded_quantile_lies_in_a_cell_that_never_isolates_anyone(seed: int, least: int, n: int) -> None:
    """Rebuilt from the definition: halve what holds two times K, join a small half to the other."""
    rng = np.random.default_rng(seed)
    x = np.exp(rng.normal(0, 1.5, n))
    probabilities = (0.0, 0.1, 0.5, 0.9, 1.0)
    fit = fitted({"a": x}, rng.integers(0, 3, n), probabilities, Guard((0.0,), (128.0,), least))
    for probability, value in zip(probabilities, fit.value_[0], strict=True):
        rank = min(max((n - 1) * probability + 0.5, least), n - least)
        low, high, inside = 0.0, 128.0, (0, n)
        for _ in range(MAX_LEVEL):
            if inside[1] - inside[0] < 2 * least:
                break
            middle = (low + high) / 2
            cut = int(np.count_nonzero(x < middle))
            left, right = cut - inside[0], inside[1] - cut
            cut = inside[0] if left < least else inside[1] if right < least else cut
            low, high, inside = (middle, high, (cut, inside[1])) if rank > cut else (low, middle, (inside[0], cut))
        assert inside[1] - inside[0] >= least
        assert value == pytest.approx(low + (high - low) * (rank - inside[0]) / (inside[1] - inside[0]), rel=1e-12)


def test_guarded_quartiles_are_close_and_do_not_depend_on_the_sites(breast: Any) -> None:
    high = tuple(float(2 * values.max()) for values in breast.columns.values())
    guard = Guard((0.0,) * 30, high, 5)
    fit = fitted(breast.columns, breast.site, QUARTILES, guard)
    other = fitted(breast.columns, np.arange(569) % 7, QUARTILES, guard)
    assert fit.value_.tobytes() == other.value_.tobytes()
    apart = np.abs(fit.value_ - np.quantile(breast.X, QUARTILES, axis=0).T) / breast.X.std(axis=0)[:, None]
    assert 0 < np.median(apart) < 0.01
    assert np.max(apart) < 0.06


def test_too_few_values_are_refused() -> None:
    few = np.where(np.arange(60) < 9, np.arange(60.0), np.nan)
    with pytest.raises(FedmviError, match="610"):
        fitted({"a": few}, np.arange(60) % 3, (0.5,), Guard((0.0,), (60.0,), 5))
    with pytest.raises(FedmviError, match="601"):
        fitted({"a": few * np.nan}, np.arange(60) % 3, (0.5,), None)


def test_a_site_can_tell_points_of_the_public_grid_from_others() -> None:
    low, high = np.zeros(2), np.ones(2)
    sound = GridCounts(COHORT, Recipe(), ("a", "b"), low, high, 3, (0, 1), (1, 7))
    assert sound.consistent()
    fields = (COHORT, Recipe(), ("a", "b"))
    for bad in (
        GridCounts(*fields, low, high, MAX_LEVEL + 1, (0,), (1,)),
        GridCounts(*fields, low, high, 3, (0,), (8,)),
        GridCounts(*fields, low, high, 3, (2,), (1,)),
        GridCounts(*fields, low, high, 3, (0, 1), (1,)),
        GridCounts(*fields, low[:1], high, 3, (0,), (1,)),
        GridCounts(*fields, high, low, 3, (0,), (1,)),
    ):
        assert not bad.consistent()
