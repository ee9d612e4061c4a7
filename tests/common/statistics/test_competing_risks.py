"""common: cumulative incidences equal scikit-survival on pooled rows, and Gray's test keeps what it must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from sksurv.nonparametric import cumulative_incidence_competing_risks

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.competing_risks import CompetingRisks, CompetingTable, competing_risks
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of

SPAN = 25


def federated(time, event, group, site, **options) -> CompetingRisks:
    port = federation_of(
        {"group": np.array(group, float)},
        {"ttr.time": np.array(time, float), "ttr.event": np.array(event, float)},
        site,
    )
    groups = int(np.max(group)) + 1
    (fit,) = conclude(port, [competing_risks(COHORT, Recipe(), "ttr", groups, 1.0, SPAN, **options)])
    return fit


def patients(seed: int, n: int = 120):
    rng = np.random.default_rng(seed)
    return rng.integers(1, SPAN, n), rng.integers(0, 3, n), rng.integers(0, 3, n), rng.integers(0, 4, n)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_incidences_equal_scikit_survival_with_ties_across_sites(seed: int):
    time, event, group, site = patients(seed)
    for i, curve in enumerate(federated(time, event, group, site).curves_):
        rows = group == i
        if event[rows].max(initial=0) < 2:
            continue
        at, theirs = cumulative_incidence_competing_risks(event[rows], time[rows].astype(float))
        assert curve.time_.tolist() == at.tolist()
        assert np.max(np.abs(curve.incidence_ - theirs[1:])) < 1e-13
        assert np.all((curve.low_ <= curve.incidence_) & (curve.incidence_ <= curve.high_))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.permutations([0, 1, 2]))
def test_the_names_of_groups_and_the_order_of_sites_do_not_matter(seed: int, names: list[int]):
    time, event, group, site = patients(seed)
    fit = federated(time, event, group, site)
    other = federated(time, event, np.array(names)[group], 3 - site)
    assert fit.degrees_ == other.degrees_ == 2
    assert other.chi2_ == pytest.approx(fit.chi2_, rel=1e-9)
    for i, name in enumerate(names):
        assert fit.curves_[i].std_err_.tobytes() == other.curves_[name].std_err_.tobytes()


def test_without_a_competing_event_the_incidence_is_one_less_survival():
    time, event, group, site = patients(1)
    event = np.where(event == 2, 0, event)
    fit = federated(time, event, group, site)
    for i, curve in enumerate(fit.curves_):
        km = KaplanMeierFitter().fit(time[group == i], event[group == i])
        assert curve.incidence_[0] == pytest.approx(1 - km.survival_function_.loc[curve.time_].to_numpy()[:, 0])
        assert not curve.incidence_[1].any()
        assert not curve.std_err_[1].any()
    assert np.isfinite(fit.chi2_[0]) and np.isnan(fit.chi2_[1]) and np.isnan(fit.p_[1])


def test_the_two_causes_change_places():
    time, event, group, site = patients(2)
    fit = federated(time, event, group, site)
    other = federated(time, np.array([0, 2, 1])[event], group, site)
    assert fit.chi2_.tolist() == other.chi2_[::-1].tolist()
    assert fit.curves_[0].incidence_.tobytes() == other.curves_[0].incidence_[::-1].tobytes()


def test_a_cause_specific_curve_takes_the_other_cause_for_a_censoring():
    time, event, group, site = patients(3)
    for i, curve in enumerate(federated(time, event, group, site).curves_):
        for cause, specific in zip((1, 2), curve.cause_specific_, strict=True):
            km = KaplanMeierFitter().fit(time[group == i], event[group == i] == cause)
            assert specific.survival_ == pytest.approx(km.survival_function_.loc[specific.time_].to_numpy()[:, 0])


def test_without_censoring_the_error_is_nearly_binomial():
    rng = np.random.default_rng(0)
    n = 4000
    time, event = rng.integers(1, SPAN, n), rng.integers(1, 3, n)
    (curve,) = federated(time, event, np.zeros(n), np.arange(n) % 4).curves_
    share = curve.incidence_[:, :-1]
    assert curve.std_err_[:, :-1] == pytest.approx(np.sqrt(share * (1 - share) / n), rel=0.03)


def test_a_group_without_patients_takes_no_degree_of_freedom():
    time, event, group, site = patients(4)
    two = federated(time[group < 2], event[group < 2], group[group < 2], site[group < 2])
    gap = federated(time[group < 2], event[group < 2], 2 * group[group < 2], site[group < 2])
    assert gap.degrees_ == two.degrees_ == 1
    assert gap.chi2_.tolist() == two.chi2_.tolist()
    assert gap.curves_[1].n_ == 0
    assert gap.curves_[1].at(np.array([5.0])).tolist() == [[[0.0]] * 4] * 2


def test_the_horizon_cuts_both_causes():
    time, event, group, site = patients(5)
    cut = federated(time, event, group, site, horizon=10.0)
    fit = federated(np.minimum(time, 10), np.where(time > 10, 0, event), group, site)
    assert cut.chi2_.tolist() == fit.chi2_.tolist()
    assert cut.curves_[0].events_.tolist() == fit.curves_[0].events_.tolist()


def test_what_is_published_is_the_curve_at_given_times():
    time, event, group, site = patients(6)
    fit = federated(time, event, group, site)
    middle = float(fit.curves_[1].time_[12])
    rows = fit.at(np.array([0.0, middle]))
    assert len(rows) == 3 * 2 * 2
    begin = [row for row in rows if row["time"] == 0.0]
    assert all((row["incidence"], row["low"], row["high"]) == (0.0, 0.0, 0.0) for row in begin)
    later = next(row for row in rows if (row["group"], row["cause"], row["time"]) == (1, 2, middle))
    curve = fit.curves_[1]
    assert later["incidence"] == curve.incidence_[1][12]
    assert later["at_risk"] == np.count_nonzero((group == 1) & (time >= middle))
    assert curve.std_err_at(np.array([middle]))[1] == curve.std_err_[1][12]


def test_a_code_that_means_nothing_is_refused():
    frame = Frame({"group": np.zeros(2)}, {"ttr.time": np.array([1.0, 2.0]), "ttr.event": np.array([1.0, 3.0])}, 2)
    with pytest.raises(FedmviError, match="655"):
        CompetingTable(COHORT, Recipe(), "ttr", 1, 1.0, 5).answer(frame)


def test_a_table_without_size_is_inconsistent():
    fine = CompetingTable(COHORT, Recipe(), "ttr", 2, 1.0, 61)
    assert fine.consistent()
    for wrong in ({"groups": 0}, {"grid_points": 0}, {"grid_points": 10**8}, {"horizon": 0.0}):
        assert not replace(fine, **wrong).consistent()
