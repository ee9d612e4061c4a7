"""common: Brier scores of predicted survival equal scikit-survival with any ties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.metrics import brier_score, integrated_brier_score
from sksurv.util import Surv

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.survival_brier import SurvivalBrier, SurvivalErrors, survival_brier
from common.study.recipe import Complete, Frame, Recipe
from simulation.views import COHORT, federation_of

SPAN = 30
TIMES = (5.0, 10.0, 20.0)
NAMES = ("at5", "at10", "at20")


def patients(seed: int, n: int = 90):
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, SPAN, n).astype(float), (rng.random(n) < 0.6).astype(float)
    time[:6], event[:6] = SPAN, 0.0
    predicted = np.exp(-np.outer(rng.gamma(2.0, 0.02, n), TIMES))
    return time, event, predicted, rng.integers(0, 3, n)


def scores(time, event, predicted, site, times=TIMES, **more) -> SurvivalBrier:
    columns = {name: predicted[:, i] for i, name in enumerate(NAMES)} | more
    port = federation_of(columns, {"os.time": time, "os.event": event}, site)
    reference = (COHORT, Recipe((Complete(("earlier",), ()),))) if more else None
    conclusion = survival_brier(COHORT, Recipe(), "os", NAMES[: len(times)], 1.0, SPAN + 1, times, reference)
    (fit,) = conclude(port, [conclusion])
    return fit


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_equal_scikit_survival_also_with_censoring_of_other_patients(seed: int):
    time, event, predicted, site = patients(seed)
    earlier = np.where(np.arange(time.size) % 3 == 1, np.nan, 1.0)
    outcome, some = (Surv.from_arrays(event[r] == 1, time[r]) for r in (slice(None), ~np.isnan(earlier)))
    for fit, known in (
        (scores(time, event, predicted, site), outcome),
        (scores(time, event, predicted, site, earlier=earlier), some),
    ):
        assert fit.brier_ == pytest.approx(brier_score(known, outcome, predicted, TIMES)[1], abs=1e-12)
        assert fit.integrated_ == pytest.approx(integrated_brier_score(known, outcome, predicted, TIMES), abs=1e-12)


def test_the_order_of_sites_changes_no_bit():
    time, event, predicted, site = patients(1)
    assert (
        scores(time, event, predicted, site).brier_.tobytes()
        == scores(time, event, predicted, 2 - site).brier_.tobytes()
    )


def test_predicting_the_curve_itself_explains_nothing_and_the_truth_all():
    time, event, predicted, site = patients(2)
    null = scores(time, event, predicted, site).null_
    times = np.array(TIMES)
    from lifelines import KaplanMeierFitter

    survival = KaplanMeierFitter().fit(time, event).predict(times).to_numpy()
    same = scores(time, event, np.tile(survival, (time.size, 1)), site)
    assert same.brier_ == pytest.approx(null, abs=1e-14)
    assert same.scaled_ == pytest.approx(np.zeros(3), abs=1e-12)
    true = scores(time, event, (time[:, np.newaxis] > times).astype(float), site)
    assert true.brier_.tolist() == [0.0, 0.0, 0.0]
    assert true.scaled_.tolist() == [1.0, 1.0, 1.0]


def test_one_time_has_no_integral():
    time, event, predicted, site = patients(3)
    fit = scores(time, event, predicted, site, (5.0,))
    assert np.isnan(fit.integrated_)
    assert fit.summary[0]["brier"] == fit.brier_[0]


def test_without_censoring_the_score_is_the_mean_square():
    time, _, predicted, site = patients(4)
    fit = scores(time, np.ones(time.size), predicted, site)
    assert fit.censoring_survival_.tolist() == [1.0, 1.0, 1.0]
    assert fit.brier_ == pytest.approx(np.mean(((time[:, np.newaxis] > TIMES) - predicted) ** 2, axis=0))


def test_a_missing_prediction_and_a_time_that_cannot_be_told_are_refused():
    time, event, predicted, site = patients(5)
    with pytest.raises(FedmviError, match="656"):
        scores(time, event, predicted, site, (5.0, float(SPAN)))
    predicted[4, 1] = np.nan
    with pytest.raises(FedmviError, match="655"):
        scores(time, event, predicted, site)


def test_predictions_times_and_weights_must_fit_together():
    fine = SurvivalErrors(COHORT, Recipe(), "os", ("a", "b"), 1.0, SPAN, (1.0, 2.0), np.array([1.0, 1.2, 1.5]))
    assert fine.consistent()
    for wrong in (
        {"columns": ("a",)},
        {"times": (2.0, 1.0)},
        {"weights": np.ones(2)},
        {"weights": np.array([1.0, 2.0, 1.0])},
    ):
        assert not replace(fine, **wrong).consistent()
        with pytest.raises(FedmviError, match="501"):
            replace(fine, **wrong).answer(Frame({}, {}, 0))


def test_influence_is_the_weight_relative_to_the_largest():
    frame = Frame({}, {"os.time": np.array([0.0, 1.0, 2.0, 9.0]), "os.event": np.array([1.0, 1.0, 0.0, 0.0])}, 4)
    query = SurvivalErrors(COHORT, Recipe(), "os", ("a", "b"), 1.0, SPAN, (1.0, 2.0), np.array([1.0, 2.0, 4.0]))
    assert query.influence(frame).tolist() == [[0.5, 1.0, 1.0, 1.0], [0.25, 0.5, 1.0, 1.0]]
