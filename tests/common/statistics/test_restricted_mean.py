"""common: restricted mean survival times equal lifelines, and their errors the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.restricted_mean import RestrictedMeans, restricted_means
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def means(time, event, group, site, horizon: float, groups: int = 2, precision: float = 1.0) -> RestrictedMeans:
    port = federation_of(
        {"group": np.array(group, float)}, {"os.time": np.array(time, float), "os.event": np.array(event, float)}, site
    )
    grid = (groups, precision, round(float(np.max(time)) / precision) + 1)
    (fit,) = conclude(port, [restricted_means(COHORT, Recipe(), "os", *grid, horizon)])
    return fit


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 15.0))
def test_any_horizon_equals_lifelines(seed: int, horizon: float):
    rng = np.random.default_rng(seed)
    time, event, group = rng.integers(1, 30, 80), rng.integers(0, 2, 80), np.arange(80) % 2
    time[:2], event[:2] = 30, 0
    fit = means(time, event, group, rng.integers(0, 3, 80), horizon)
    for i in range(2):
        curve = KaplanMeierFitter().fit(time[group == i], event[group == i])
        assert fit.mean_[i] == pytest.approx(restricted_mean_survival_time(curve, t=horizon), abs=1e-10)


def test_everybody_followed_to_death_is_the_plain_mean():
    time = np.array([1.0, 2.0, 3.0, 4.0, 10.0, 20.0])
    fit = means(time, np.ones(6), [0, 0, 0, 0, 1, 1], np.arange(6) % 3, 20.0)
    assert fit.mean_ == pytest.approx([2.5, 15.0])
    # Without censoring the error is that of a mean, with n below the line.
    assert fit.std_err_ == pytest.approx([np.std([1, 2, 3, 4]) / 2, np.std([10, 20]) / np.sqrt(2)])
    assert fit.difference_ == pytest.approx([12.5])
    assert fit.ratio_ == pytest.approx([6.0])
    assert fit.events_.tolist() == [4, 2]


def test_without_events_the_mean_is_the_horizon_and_has_no_error():
    fit = means([30, 40, 50, 60], np.zeros(4), [0, 0, 1, 1], np.arange(4) % 3, 24.0)
    assert fit.mean_.tolist() == [24.0, 24.0]
    assert fit.std_err_.tolist() == [0.0, 0.0]
    first, second = fit.summary
    assert (first["low"], first["high"]) == (24.0, 24.0)
    assert np.isnan(second["difference_p"])


def test_a_group_that_is_not_followed_to_the_horizon_is_an_error_and_an_empty_one_is_not():
    time, event, group, site = [30, 40, 10, 12], [0, 0, 1, 0], [0, 0, 1, 1], np.arange(4) % 3
    with pytest.raises(FedmviError, match="656"):
        means(time, event, group, site, 24.0)
    assert means(time, [0, 0, 1, 1], group, site, 24.0).mean_ == pytest.approx([24.0, 11.0])
    empty = means(time[:2], event[:2], group[:2], site[:2], 24.0)
    assert empty.mean_[0] == 24.0 and np.isnan(empty.mean_[1])
    with pytest.raises(FedmviError, match="656"):
        means(time, event, group, site, 0.0)


def test_an_interval_of_the_ratio_holds_the_ratio_and_mirrors_when_groups_change_places():
    rng = np.random.default_rng(0)
    time, event, group = rng.integers(1, 60, 200), rng.integers(0, 2, 200), np.arange(200) % 2
    site = np.arange(200) % 4
    row = means(time, event, group, site, 40.0).summary[1]
    other = means(time, event, 1 - group, site, 40.0).summary[1]
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"]
    assert row["ratio_low"] == pytest.approx(1 / other["ratio_high"])
    assert row["difference_low"] == pytest.approx(-other["difference_high"])
    assert row["difference_p"] == pytest.approx(other["difference_p"])
