"""common: follow-up equals lifelines with events and censorings exchanged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.utils import median_survival_times
from statsmodels.stats.proportion import proportion_confint

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.follow_up import FollowUp, follow_up
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def followed(time, event, site, horizon: float = 24.0, precision: float = 1.0) -> FollowUp:
    port = federation_of({}, {"os.time": np.array(time, float), "os.event": np.array(event, float)}, site)
    grid = (1, precision, round(float(np.max(time)) / precision) + 1)
    (fit,) = conclude(port, [follow_up(COHORT, Recipe(), "os", *grid, horizon)])
    return fit


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_median_and_interval_equal_lifelines(seed: int):
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, 60, 90), (rng.random(90) < 0.4).astype(int)
    (curve,) = followed(time, event, rng.integers(0, 3, 90)).curves_
    theirs = KaplanMeierFitter().fit(time, 1 - event)
    if np.isclose(theirs.survival_function_.to_numpy(), 0.5, rtol=0, atol=1e-9).any():
        return  # there the last digit decides in lifelines
    interval = median_survival_times(theirs.confidence_interval_survival_function_).to_numpy()[0]
    assert curve.median[0] == theirs.median_survival_time_
    assert list(curve.median[1:]) == sorted(interval)


def test_complete_is_who_died_by_the_horizon_or_was_followed_so_long():
    time = [3, 23, 23, 24, 25, 30]
    event = [1, 0, 1, 0, 0, 1]
    fit = followed(time, event, np.arange(6) % 3)
    assert fit.complete_.tolist() == [5]
    low, high = proportion_confint(5, 6, method="wilson")
    assert fit.interval[:, 0] == pytest.approx([low, high], abs=1e-9)
    row = fit.summary[0]
    assert (row["patients"], row["complete"], row["share"]) == (6, 5, 5 / 6)


def test_tenths_of_a_month_at_the_horizon_are_complete():
    assert followed([2.3, 2.4, 2.5], [0, 0, 0], np.arange(3), horizon=2.4, precision=0.1).complete_.tolist() == [2]


def test_a_horizon_that_is_no_time_is_refused():
    with pytest.raises(FedmviError, match="656"):
        followed([3, 4, 5], [1, 0, 1], np.arange(3), horizon=0.0)
