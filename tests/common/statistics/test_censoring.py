"""common: how a site reads a survival endpoint: causes, the horizon, the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FedmviError
from common.statistics.censoring import cause_specific, censor_at, group_of, on_grid, survival_outcome
from common.study.recipe import Frame


def frame(time, event, group=None) -> Frame:
    columns = {} if group is None else {"group": np.array(group, float)}
    return Frame(columns, {"os.time": np.array(time, float), "os.event": np.array(event, float)}, len(time))


def test_an_event_at_the_horizon_counts_and_a_later_one_is_censored_at_it():
    time, event = censor_at(np.array([5.0, 24.0, 24.1, 30.0]), np.array([1.0, 1.0, 1.0, 0.0]), 24.0)
    assert time.tolist() == [5.0, 24.0, 24.0, 24.0]
    assert event.tolist() == [1.0, 1.0, 0.0, 0.0]


@given(st.integers(1, 400), st.integers(1, 400))
def test_tenths_of_a_month_are_held_against_the_horizon_as_tenths(tenths: int, horizon: int):
    _, event = on_grid(frame([tenths * 0.1], [1]), "os", 0.1, 500, horizon / 10)
    assert event.tolist() == [1 if tenths <= horizon else 0]


def test_a_horizon_between_two_days_lies_on_the_day_before():
    point, event = on_grid(frame([730, 731, 900], [1, 1, 0]), "os", 1.0, 1000, 730.5)
    assert point.tolist() == [730, 730, 730]
    assert event.tolist() == [1, 0, 0]
    point, _ = on_grid(frame([732, 900], [1, 0]), "os", 1.0, 1000, 731.5)
    assert point.tolist() == [731, 731]


def test_the_other_cause_is_a_censoring():
    assert cause_specific(np.array([0.0, 1.0, 2.0]), 1).tolist() == [0.0, 1.0, 0.0]
    assert cause_specific(np.array([0.0, 1.0, 2.0]), 2).tolist() == [0.0, 0.0, 1.0]
    time, event = survival_outcome(frame([5, 6, 30], [2, 1, 2]), "os", horizon=24.0, cause=2)
    assert time.tolist() == [5.0, 6.0, 24.0]
    assert event.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("time", "event"), [([np.nan], [1]), ([3], [np.nan]), ([-1], [0]), ([3], [3]), ([3], [0.5]), ([np.inf], [1])]
)
def test_what_is_missing_or_has_no_meaning_is_refused_and_not_left_out(time, event):
    with pytest.raises(FedmviError, match="655"):
        on_grid(frame([5, *time], [0, *event]), "os", 1.0, 10)
    with pytest.raises(FedmviError, match="655"):
        survival_outcome(frame([5, *time], [0, *event]), "os")


@pytest.mark.parametrize("group", [np.nan, 2.0, -1.0, 0.5])
def test_a_patient_without_a_group_is_refused(group: float):
    with pytest.raises(FedmviError, match="655"):
        group_of(frame([1, 2], [0, 1], [0, group]), 2)


def test_one_group_needs_no_column():
    assert group_of(frame([1, 2], [0, 1]), 1).tolist() == [0, 0]


def test_a_time_beyond_the_grid_is_refused_even_where_the_horizon_cuts_it():
    with pytest.raises(FedmviError, match="312"):
        on_grid(frame([99], [1]), "os", 1.0, 50, 24.0)
