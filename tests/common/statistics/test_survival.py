"""common: Kaplan-Meier and log-rank equal lifelines on the pooled data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_rossi, load_waltons
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import median_survival_times

from common.errors import FedmviError
from common.federation.ports import SitesPort
from common.federation.runner import conclude
from common.statistics.survival import LifeTable, SurvivalResult, survival
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def federated(
    time: np.ndarray, event: np.ndarray, group: np.ndarray, site: np.ndarray, precision: float = 1.0
) -> SurvivalResult:
    port: SitesPort = federation_of(
        {"group": group.astype(float)}, {"os.time": time.astype(float), "os.event": event.astype(float)}, site
    )
    grid = int(np.nanmax(time) / precision) + 2
    groups = int(group.max()) + 1
    (fit,) = conclude(port, [survival(COHORT, Recipe(), "os", groups, precision, grid)])
    return fit


def compare(time: np.ndarray, event: np.ndarray, group: np.ndarray, fit: SurvivalResult) -> None:
    for i, curve in enumerate(fit.curves_):
        rows = group == i
        km = KaplanMeierFitter().fit(time[rows], event[rows])
        table = km.event_table.iloc[1:] if km.event_table.index[0] == 0 and 0 not in time[rows] else km.event_table
        assert curve.at_risk_.tolist() == table["at_risk"].tolist()
        assert curve.events_.tolist() == table["observed"].tolist()
        at = curve.at(curve.time_)
        band = km.confidence_interval_survival_function_.loc[curve.time_].to_numpy()
        assert np.max(np.abs(at[0] - km.survival_function_.loc[curve.time_].to_numpy()[:, 0])) < 1e-12
        inside = (curve.survival_ < 1) & (curve.survival_ > 0)
        assert np.nanmax(np.abs(at[1] - band[:, 0])[inside], initial=0) < 1e-12
        assert np.nanmax(np.abs(at[2] - band[:, 1])[inside], initial=0) < 1e-12
        if not np.isclose(curve.survival_, 0.5, rtol=0, atol=1e-9).any():  # there the last digit decides in lifelines
            assert curve.median[0] == km.median_survival_time_
    test = multivariate_logrank_test(time, group, event)
    if np.isfinite(fit.chi2_) and np.isfinite(test.test_statistic):
        assert fit.chi2_ == pytest.approx(test.test_statistic, abs=1e-9, rel=1e-9)
        assert fit.p_ == pytest.approx(test.p_value, rel=1e-7)


def test_two_groups_equal_lifelines() -> None:
    data = load_waltons()
    time, event = data["T"].to_numpy(), data["E"].to_numpy()
    group = (data["group"] == "control").to_numpy().astype(int)
    fit = federated(time, event, group, np.arange(len(time)) % 3)
    compare(time, event, group, fit)
    km = KaplanMeierFitter().fit(time[group == 1], event[group == 1])
    interval = median_survival_times(km.confidence_interval_survival_function_).to_numpy()[0]
    assert fit.curves_[1].median[1:] == pytest.approx(tuple(sorted(interval)))


def test_many_groups_equal_lifelines() -> None:
    data = load_rossi()
    group = np.minimum(data["prio"].to_numpy(), 4)
    time, event = data["week"].to_numpy(), data["arrest"].to_numpy()
    compare(time, event, group, federated(time, event, group, np.arange(len(time)) % 5))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 30))
def test_any_ties_any_sites_any_groups(seed: int, groups: int, span: int) -> None:
    rng = np.random.default_rng(seed)
    n = 90
    time = rng.integers(1, span + 1, n)
    event = rng.integers(0, 2, n)
    group = rng.integers(0, groups, n)
    group[:groups] = np.arange(groups)
    site = rng.integers(0, 4, n)
    fit = federated(time, event, group, site)
    compare(time, event, group, fit)
    other = federated(time, event, group, 3 - site)
    assert np.array_equal([fit.chi2_], [other.chi2_], equal_nan=True)


def test_months_recorded_to_a_tenth_keep_their_times() -> None:
    time = np.array([0.1, 0.3, 0.7, 1.1, 1.2, 2.0, 2.9])
    event = np.array([1, 0, 1, 1, 0, 1, 1])
    fit = federated(time, event, np.zeros(7, int), np.arange(7) % 3, precision=0.1)
    assert fit.curves_[0].time_ == pytest.approx(time)


def test_a_time_beyond_the_declared_maximum_is_refused() -> None:
    port = federation_of(
        {"group": np.zeros(3)}, {"os.time": np.array([1.0, 2.0, 99.0]), "os.event": np.ones(3)}, np.arange(3)
    )
    with pytest.raises(FedmviError, match="312"):
        conclude(port, [survival(COHORT, Recipe(), "os", 1, 1.0, 50)])


def test_a_curve_that_is_one_half_has_reached_it() -> None:
    exact = np.array([1.0, 2.0, 3.0, 4.0])
    fit = federated(exact, np.ones(4), np.zeros(4, int), np.arange(4) % 3)
    assert fit.curves_[0].median[0] == 2.0


def test_a_group_without_events_still_counts_at_risk() -> None:
    time = np.array([3, 5, 7, 9, 2, 4, 6, 8])
    event = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    group = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    fit = federated(time, event, group, np.arange(8) % 3)
    compare(time, event, group, fit)
    assert fit.curves_[1].median[0] == float("inf")


def test_a_horizon_gives_what_data_cut_at_it_give() -> None:
    data = load_rossi()
    time, event = data["week"].to_numpy(), data["arrest"].to_numpy()
    group, site = np.minimum(data["prio"].to_numpy(), 4), np.arange(len(time)) % 5
    port = federation_of(
        {"group": group.astype(float)}, {"os.time": time.astype(float), "os.event": event.astype(float)}, site
    )
    (cut,) = conclude(port, [survival(COHORT, Recipe(), "os", 5, 1.0, 53, horizon=24.0)])
    compare(np.minimum(time, 24), np.where(time > 24, 0, event), group, cut)


def test_a_group_that_is_gone_before_the_first_event_takes_no_degree_of_freedom() -> None:
    time = np.array([5, 6, 7, 8, 9, 10, 1, 2])
    event = np.array([1, 1, 0, 1, 1, 0, 0, 0])
    group = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    fit = federated(time, event, group, np.arange(8) % 3)
    two = federated(time[:6], event[:6], group[:6], np.arange(6) % 3)
    assert fit.degrees_ == two.degrees_ == 1
    assert fit.chi2_ == two.chi2_


def test_a_patient_without_a_time_is_refused() -> None:
    with pytest.raises(FedmviError, match="655"):
        federated(np.array([1.0, 2.0, np.nan, 3.0]), np.ones(4), np.zeros(4, int), np.arange(4) % 3)


def test_a_life_table_without_size_or_with_a_horizon_that_is_no_time_is_inconsistent() -> None:
    fine = LifeTable(COHORT, Recipe(), "os", 2, 1.0, 61, 24.0)
    assert fine.consistent()
    for wrong in ({"groups": 0}, {"grid_points": 0}, {"grid_points": 10**8}, {"horizon": 0.0}, {"horizon": -1.0}):
        assert not replace(fine, **wrong).consistent()


def test_a_horizon_is_a_time_that_the_protocol_must_have() -> None:
    assert LifeTable(COHORT, Recipe(), "os", 2, 1.0, 61, 24.0).times == (24.0,)
    assert LifeTable(COHORT, Recipe(), "os", 2, 1.0, 61).times == ()
