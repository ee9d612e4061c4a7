"""common: log-rank tests: weighted ones equal lifelines, those stratified by site are sums of what is within sites."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines.statistics import multivariate_logrank_test

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.life_table import LifeTable
from common.statistics.log_rank import LogRankSums, StratifiedLogRank, log_rank, log_rank_sums, stratified_log_rank
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of

SPAN = 20


def patients(seed: int, n: int = 80, groups: int = 3):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n)
    return rng.integers(1, SPAN, n), rng.integers(0, 2, n), group, rng.integers(0, 4, n)


def stratified(time, event, group, site, **options) -> StratifiedLogRank:
    port = federation_of(
        {"group": group.astype(float)}, {"os.time": time.astype(float), "os.event": event.astype(float)}, site
    )
    (fit,) = conclude(port, [stratified_log_rank(COHORT, Recipe(), "os", 3, 1.0, SPAN, **options)])
    return fit


def table(time, event, group):
    frame = Frame({"group": group.astype(float)}, {"os.time": time * 1.0, "os.event": event * 1.0}, time.size)
    summary = LifeTable(COHORT, Recipe(), "os", 3, 1.0, SPAN).answer(frame)
    return summary["events"], summary["censored"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_weighted_test_equals_lifelines(seed: int, rho: float):
    time, event, group, _ = patients(seed)
    _, _, chi2, _, p = log_rank(*table(time, event, group), rho)
    # lifelines' curve of all groups steps at censorings too, where it stays level: the weights are the same.
    theirs = multivariate_logrank_test(time, group, event, weightings="fleming-harrington", p=rho, q=0)
    assert chi2 == pytest.approx(theirs.test_statistic, rel=1e-8)
    assert p == pytest.approx(theirs.p_value, rel=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_stratified_sums_are_those_within_each_site(seed: int):
    time, event, group, site = patients(seed)
    fit = stratified(time, event, group, site)
    parts = [log_rank_sums(*table(time[site == k], event[site == k], group[site == k])) for k in range(4)]
    for ours, theirs in zip((fit.observed_, fit.expected_, fit.covariance_), zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(ours, np.sum(theirs, axis=0), atol=1e-12)
    assert fit.observed_.sum() == event.sum() == pytest.approx(fit.expected_.sum())


def test_the_order_of_sites_changes_no_bit_but_another_cut_into_sites_is_another_test():
    time, event, group, site = patients(1)
    fit, other = stratified(time, event, group, site), stratified(time, event, group, 3 - site)
    assert fit.covariance_.tobytes() == other.covariance_.tobytes()
    assert fit.chi2_ == other.chi2_
    assert stratified(time, event, group, np.where(np.arange(80) % 2, site, 4)).chi2_ != fit.chi2_


def test_a_site_without_events_or_with_one_group_adds_nothing_to_the_difference():
    time, event, group, site = patients(2)
    without = stratified(time, event, group, site)
    more = [np.append(x, y) for x, y in ((time, [3, 4, 5]), (event, [0, 0, 0]), (group, [0, 1, 2]), (site, [9, 9, 9]))]
    assert stratified(*more).chi2_ == without.chi2_
    alone = [np.append(x, y) for x, y in ((time, [3, 4, 5]), (event, [1, 1, 1]), (group, [1, 1, 1]), (site, [9, 9, 9]))]
    assert stratified(*alone).chi2_ == without.chi2_
    assert stratified(*alone).observed_[1] == without.observed_[1] + 3


def test_with_one_group_there_is_a_table_and_no_test():
    time, event, group, site = patients(3)
    fit = stratified(time, event, 0 * group, site)
    assert np.isnan(fit.chi2_) and np.isnan(fit.p_) and fit.degrees_ == 0
    assert [row["patients"] for row in fit.summary] == [80, 0, 0]


def test_without_patients_there_is_nothing():
    query = LogRankSums(COHORT, Recipe(), "os", 2, 1.0, 10)
    empty = query.answer(Frame({"group": np.empty(0)}, {"os.time": np.empty(0), "os.event": np.empty(0)}, 0))
    assert empty["patients"].sum() == 0
    conclusion = stratified_log_rank(COHORT, Recipe(), "os", 2, 1.0, 10)
    next(conclusion)
    with pytest.raises(FedmviError, match="601"):
        conclusion.send(empty)


def test_weights_and_tables_that_no_test_has_are_inconsistent():
    fine = LogRankSums(COHORT, Recipe(), "os", 2, 1.0, 61)
    assert fine.consistent()
    for wrong in ({"rho": -1.0}, {"rho": 1e6}, {"groups": 0}, {"grid_points": 10**8}, {"horizon": 0.0}):
        assert not replace(fine, **wrong).consistent()
