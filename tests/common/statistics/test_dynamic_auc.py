"""common: time-dependent areas equal scikit-survival with any ties, and what could single out patients is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.metrics import cumulative_dynamic_auc
from sksurv.util import Surv

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.dynamic_auc import DynamicAuc, DynamicControls, DynamicPlacements, dynamic_auc
from common.statistics.refinement import order_keys
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of

SPAN = 30


def patients(seed: int, n: int = 90):
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, SPAN, n).astype(float), (rng.random(n) < 0.6).astype(float)
    time[0], event[0], time[1], event[1] = SPAN, 0.0, 1.0, 1.0
    score = np.round(rng.normal(size=n) - time / SPAN, 1)
    return time, event, score, rng.integers(0, 3, n)


def areas(time, event, scores: dict[str, np.ndarray], site, times) -> tuple[DynamicAuc, ...]:
    port = federation_of(scores, {"os.time": time, "os.event": event}, site)
    conclusion = dynamic_auc(COHORT, Recipe(), "os", tuple(scores), 1.0, SPAN + 1, times)
    (fits,) = conclude(port, [conclusion])
    return fits


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_tied_scores_and_tied_times_across_sites_equal_scikit_survival(seed: int):
    time, event, score, site = patients(seed)
    times = (5.0, 10.0, 20.0)
    outcome = Surv.from_arrays(event == 1, time)
    for fit, values in zip(areas(time, event, {"a": score, "b": -score}, site, times), (score, -score), strict=True):
        theirs, mean = cumulative_dynamic_auc(outcome, outcome, values, np.array(times))
        assert np.max(np.abs(fit.auc_ - theirs)) < 1e-12
        assert fit.mean_auc_ == pytest.approx(mean, abs=1e-12)
        assert fit.cases_.tolist() == [np.count_nonzero((time <= t) & (event == 1)) for t in times]
        assert fit.controls_.tolist() == [np.count_nonzero(time > t) for t in times]


def test_the_order_of_sites_changes_no_bit():
    time, event, score, site = patients(1)
    (fit,), (other,) = (areas(time, event, {"a": score}, at, (10.0,)) for at in (site, 2 - site))
    assert fit.auc_.tobytes() == other.auc_.tobytes()
    assert fit.mean_auc_ == fit.auc_[0]


def test_a_constant_score_is_one_half_and_the_time_itself_is_perfect():
    time, event, _, site = patients(2)
    constant, perfect = areas(time, event, {"a": np.full(time.size, 3.0), "b": -time}, site, (10.0, 20.0))
    assert constant.auc_.tolist() == [0.5, 0.5]
    assert perfect.auc_ == pytest.approx([1.0, 1.0], abs=1e-12)


def test_a_time_before_the_first_event_has_no_area():
    time, event, score, site = patients(3)
    event[time <= 3] = 0.0
    fit = areas(time, event, {"a": score}, site, (2.0, 10.0))[0]
    assert np.isnan(fit.auc_[0]) and np.isfinite(fit.auc_[1])
    assert [row["cases"] for row in fit.summary] == fit.cases_.tolist() and fit.cases_[0] == 0


@pytest.mark.parametrize("times", [(), (10.0, 5.0), (5.0, 5.0), (-1.0,), (float(SPAN),), (float(SPAN) + 5,)])
def test_times_that_do_not_ascend_or_lie_beyond_follow_up_are_refused(times):
    time, event, score, site = patients(4)
    with pytest.raises(FedmviError, match="656"):
        areas(time, event, {"a": score}, site, times)


def test_a_missing_score_is_refused_and_not_left_out():
    time, event, score, site = patients(5)
    score[3] = np.nan
    with pytest.raises(FedmviError, match="655"):
        areas(time, event, {"a": score}, site, (10.0,))


LOW = order_keys(np.array([-1.0, 0.0, 1.0]))
QUERY = DynamicPlacements(
    COHORT, Recipe(), "os", "a", 1.0, SPAN, (1.0, 2.0), LOW, np.array([1.0, 1.0, 1.5]), np.tile([0.1, 0.5, 0.9], (2, 1))
)


def test_weights_that_censoring_cannot_give_and_places_that_do_not_ascend_are_inconsistent():
    assert QUERY.consistent()
    controls = DynamicControls(COHORT, Recipe(), "os", "a", 1.0, SPAN, (1.0, 2.0), LOW)
    assert controls.consistent()
    for wrong in ({"low": LOW[::-1]}, {"low": LOW[:0]}, {"times": (2.0, 1.0)}, {"times": (1.0, 99.0)}, {"times": ()}):
        assert not replace(QUERY, **wrong).consistent()
        assert not replace(controls, **wrong).consistent()
    for weights in ([1.0, 2.0, 1.5], [0.5, 1.0, 1.5], [1.0, 1.5], [1.0, 1.0, 1.5, 2.0]):
        assert not replace(QUERY, weights=np.array(weights)).consistent()
    for places in ([[0.1, 0.9, 0.5]] * 2, [[0.1, 0.5, 1.1]] * 2, [[-0.1, 0.5, 0.9]] * 2, [[0.1, 0.5, 0.9]]):
        assert not replace(QUERY, placements=np.array(places)).consistent()
    with pytest.raises(FedmviError, match="501"):
        replace(QUERY, weights=np.ones(2)).answer(Frame({}, {}, 0))


def test_influence_shows_places_or_weights_that_single_out_few_patients():
    time, event, score, _ = patients(6)
    frame = Frame({"a": score}, {"os.time": time, "os.event": event}, time.size)
    low, levels = order_keys(np.unique(score)), np.unique(score).size
    weights = np.linspace(1.0, 1.6, 21)
    fair = DynamicPlacements(
        COHORT,
        Recipe(),
        "os",
        "a",
        1.0,
        SPAN + 1,
        (10.0, 20.0),
        low,
        weights,
        np.tile(np.linspace(0, 1, levels), (2, 1)),
    )
    assert fair.consistent()
    assert np.min(fair.influence(frame).sum(axis=-1)) > 0.2 * time.size
    assert np.max(fair.influence(frame)) <= 1.0
    top = replace(fair, placements=np.tile(np.arange(levels) == levels - 1, (2, 1)).astype(float))
    assert top.consistent()
    assert np.min(top.influence(frame).sum(axis=-1)) < 5
    late = replace(fair, weights=np.where(np.arange(21) == 20, 1e6, 1.0))
    assert late.consistent()
    assert late.influence(frame)[1].sum() < np.count_nonzero(time >= 20) + 1e-3
