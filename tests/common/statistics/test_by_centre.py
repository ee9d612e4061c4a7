"""common/statistics: decisions at a cut-off and areas of centres, against scikit-learn, statsmodels and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.proportion import proportion_confint

from common.federation.query import HIDDEN, each
from common.federation.runner import Conclusion, conclude
from common.statistics.by_centre import CentreAlone, combined_areas, decisions, extremes, majority_class
from common.study.recipe import Cut, Recipe
from simulation.views import COHORT, federation_of

CUTOFF = 0.4


def patients(n: int = 200, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(float)
    return np.round(np.clip(0.35 + 0.25 * y + 0.15 * rng.normal(size=n), 0, 1), 4), y


def table_of(score: np.ndarray, y: np.ndarray, cutoff: float = CUTOFF) -> np.ndarray:
    return np.array([[np.sum((y == k) & (score < cutoff)), np.sum((y == k) & (score >= cutoff))] for k in (0, 1)])


def test_shares_are_those_of_scikit_learn_with_wilson_s_limits():
    score, y = patients()
    found, positive = decisions(table_of(score, y), CUTOFF), score >= CUTOFF
    oracles = {
        "sensitivity": recall_score(y, positive),
        "specificity": recall_score(y, positive, pos_label=0),
        "accuracy": accuracy_score(y, positive),
        "balanced_accuracy": balanced_accuracy_score(y, positive),
        "net_benefit": np.mean(positive * y) - np.mean(positive * (1 - y)) * CUTOFF / (1 - CUTOFF),
    }
    for name, oracle in oracles.items():
        assert found[name].value == pytest.approx(oracle, abs=1e-12), name
    low, high = proportion_confint(int(np.sum(positive * y)), int(y.sum()), method="wilson")
    assert (found["sensitivity"].low, found["sensitivity"].high) == (pytest.approx(low), pytest.approx(high))
    most = majority_class(int(np.sum(y == 0)), int(np.sum(y == 1)))
    assert most.value == pytest.approx(max(np.mean(y), 1 - np.mean(y)))


def test_limits_of_balanced_accuracy_and_net_benefit_hold_their_level():
    """Of 95 %: in 600 draws of 150 patients between 92.5 and 98 %."""
    p = np.array([[0.45, 0.15], [0.1, 0.3]])
    balanced = (p[0, 0] / p[0].sum() + p[1, 1] / p[1].sum()) / 2
    benefit = p[1, 1] - p[0, 1] * CUTOFF / (1 - CUTOFF)
    rng, inside = np.random.default_rng(4), np.zeros(2)
    for _ in range(600):
        found = decisions(rng.multinomial(150, p.ravel()).reshape(2, 2), CUTOFF)
        for i, (name, truth) in enumerate((("balanced_accuracy", balanced), ("net_benefit", benefit))):
            inside[i] += found[name].low <= truth <= found[name].high  # type: ignore[operator]
    assert np.all((inside / 600 > 0.925) & (inside / 600 < 0.98)), inside / 600


def test_what_needs_a_hidden_count_is_hidden():
    table = np.array([[40, 20], [HIDDEN, HIDDEN]])
    found = decisions(table, CUTOFF)
    assert [name for name, share in found.items() if share.value is not None] == ["specificity"]
    assert decisions(np.array([[40, 20], [10, 30]]), 1.0)["net_benefit"].value is None


def test_areas_are_combined_as_statsmodels_does_on_the_logit_scale():
    areas = {"a": (0.72, 0.05), "b": (0.81, 0.04), "c": (0.66, 0.07), "d": (0.9, 0.03), "e": (0.78, 0.06)}
    found = combined_areas(areas)
    assert found is not None
    auc, error = np.array(list(areas.values())).T
    scale = auc * (1 - auc)
    oracle = combine_effects(
        np.log(auc / (1 - auc)), (error / scale) ** 2, method_re="iterated", use_t=True, atol=1e-14
    )
    # Statsmodels' own estimate of tau2 is another one: at ours the mean is the weighted one.
    weight = 1 / ((error / scale) ** 2 + found.tau2_)
    mean = np.sum(weight * np.log(auc / (1 - auc))) / weight.sum()
    assert found.mean_ == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-12)
    assert abs(found.mean_ - 1 / (1 + np.exp(-oracle.mean_effect_re))) < 0.01
    low, high = found.hartung_knapp_
    assert found.prediction_[0] < low < found.mean_ < high < found.prediction_[1]


def test_an_area_without_a_finite_logit_is_left_out():
    areas = {"a": (0.7, 0.05), "b": (1.0, 0.0), "c": (0.8, 0.05)}
    found = combined_areas(areas)
    assert found is not None and found.sites_ == ("a", "c") and np.isnan(found.prediction_[0])
    assert combined_areas({"a": (0.7, 0.05), "b": (1.0, 0.0)}) is None


def test_limits_of_the_worst_and_of_the_gap_hold_whichever_centre_looks_worst():
    """Of hospitals that do not differ the worst estimate lies low by chance, and its own limits miss too often."""
    rng, draws, errors = np.random.default_rng(11), 4000, np.array([0.03, 0.05, 0.04, 0.08, 0.06, 0.05])
    for true in (np.full(6, 0.75), np.array([0.7, 0.72, 0.8, 0.75, 0.68, 0.74])):
        held = own = gap = 0
        for estimates in true + rng.normal(size=(draws, 6)) * errors:
            found = extremes(
                {str(i): (float(a), float(e)) for i, (a, e) in enumerate(zip(estimates, errors, strict=True))}
            )
            held += found.worst_limits_[0] <= true.min() <= found.worst_limits_[1]
            gap += found.gap_limits_[0] <= np.ptp(true) <= found.gap_limits_[1]
            k = int(estimates.argmin())
            own += abs(estimates[k] - true.min()) <= 1.96 * errors[k]
        assert held / draws >= 0.945 and gap / draws >= 0.945
        if np.ptp(true) == 0:
            assert own / draws < 0.9, "DeLong's limits of the worst are none for the worst"


def test_the_worst_of_one_centre_is_that_centre():
    found = extremes({"a": (0.7, 0.05)})
    assert (found.worst_, found.auc_, found.gap_, found.gap_limits_[0]) == ("a", 0.7, 0.0, 0.0)
    assert found.worst_limits_ == pytest.approx((0.7 - 1.959964 * 0.05, 0.7 + 1.959964 * 0.05))


def asked(query: CentreAlone) -> Conclusion[dict]:
    return (yield each(query))


def of_sites(score: np.ndarray, y: np.ndarray, sites: int, cutoff: float = CUTOFF, min_class: int = 10) -> dict:
    site = np.arange(y.size) % sites
    port = federation_of({"score.m": score}, {"mvi": y}, site)
    recipe = Recipe((Cut("score.m", "positive.m", cutoff),))
    return conclude(port, [asked(CentreAlone(COHORT, recipe, "mvi", "score.m", min_class, min_cell=5))])[0]


def test_a_site_hides_a_row_of_its_table_with_a_small_count_and_shows_the_other():
    score, y = patients()
    told, seen = of_sites(score, y, 3), 0
    for i, part in enumerate(told.values()):
        rows = np.arange(y.size) % 3 == i
        for own, row in zip(part["table"].tolist(), table_of(score[rows], y[rows]).tolist(), strict=True):
            assert own == (row if min(row) >= 5 else [HIDDEN, HIDDEN])
            seen += own == row
    assert 0 < seen < 6, "some rows are shown and some hidden"
    high = np.where(y == 0, np.minimum(score, 0.3), score)  # nobody without the endpoint is above
    for part in of_sites(high, y, 3).values():
        assert part["table"][0].tolist() == [HIDDEN, HIDDEN]


def test_a_site_with_few_of_a_class_tells_nothing_but_hidden_counts():
    score, y = patients(60)
    y[:] = 0.0
    y[:3] = 1.0
    (part,) = of_sites(score, y, 1).values()
    assert int(part["estimable"]) == int(part["calibrated"]) == 0
    assert part["table"].tolist() == [[HIDDEN, HIDDEN]] * 2 and HIDDEN in part["classes"].tolist()
    assert not part["auc"].any() and not part["large"].any() and float(part["expected"]) == 0.0


def test_the_digits_of_a_line_are_not_those_of_the_one_patient_with_another_score():
    """With two scores for all others the exact intercept would be an equation in the third."""
    score, y = patients()
    score = np.where(score > CUTOFF, 0.7, 0.2)
    found = []
    for third in (0.9, 0.9004):
        score[7] = third
        (part,) = of_sites(score, y, 1).values()
        assert int(part["calibrated"]) == 1
        assert np.round(part["large"], 2).tolist() == part["large"].tolist()
        found.append((part["large"].tolist(), part["slope"].tolist(), float(part["expected"])))
    assert found[0] == found[1]


@given(st.lists(st.tuples(st.floats(0.51, 0.99), st.floats(0.01, 0.1)), min_size=3, max_size=9))
def test_the_summary_lies_between_the_areas(pairs: list[tuple[float, float]]):
    found = combined_areas({str(i): pair for i, pair in enumerate(pairs)})
    assert found is not None
    areas = [area for area, _ in pairs]
    assert min(areas) - 1e-9 <= found.mean_ <= max(areas) + 1e-9 and 0 <= found.i2_ <= 100
