"""common/statistics: expected performance against its definition by pairs of patients, and against drawing patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.case_mix import BINS, CaseMixAlone, RiskCounts, case_mix, expected_performance, risks_of_bins
from common.study.recipe import Cut, Frame, Recipe
from common.study.table import FloatArray
from simulation.views import COHORT, federation_of

CUTOFF = 0.337
AT = Recipe((Cut("score.m", "positive.m", CUTOFF),))


def drawn(n: int = 400, seed: int = 3) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.round(1.0 / (1.0 + np.exp(-rng.normal(-0.4, 1.1, n))), 4)


def counts(risk: FloatArray, cutoff: float | None = CUTOFF) -> np.ndarray:
    recipe = Recipe() if cutoff is None else Recipe((Cut("score.m", "positive.m", cutoff),))
    return RiskCounts(COHORT, recipe, "score.m").answer(Frame({"score.m": risk}, {}, risk.size))["n"]


def in_bins(risk: FloatArray, cutoff: float = CUTOFF) -> FloatArray:
    """Each patient's risk as his bin has it."""
    bins = np.clip(np.floor(risk * BINS + 1e-9).astype(int), 0, BINS - 1)
    return risks_of_bins(cutoff)[(risk >= cutoff).astype(int), bins]


def concordance(risk: FloatArray) -> float:
    """van Klaveren et al. 2016, equation 4, patient by patient."""
    weight = risk[:, None] * (1.0 - risk[None, :])
    np.fill_diagonal(weight, 0.0)
    right = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return float((weight * right).sum() / weight.sum())


def test_the_expected_area_is_the_concordance_of_all_pairs_of_patients():
    risk = drawn()
    found = expected_performance(counts(risk), CUTOFF)
    assert found.auc_ == pytest.approx(concordance(in_bins(risk)), abs=1e-13)
    assert found.auc_ == pytest.approx(concordance(risk), abs=0.002), "bins of a hundredth lose little"
    assert (found.n_, found.prevalence_) == (400, pytest.approx(in_bins(risk).mean(), abs=1e-13))


def test_the_expected_balanced_accuracy_is_that_of_outcomes_with_these_risks():
    risk = drawn()
    whole, positive = in_bins(risk), risk >= CUTOFF
    sensitivity = whole[positive].sum() / whole.sum()
    specificity = (1 - whole[~positive]).sum() / (1 - whole).sum()
    found = expected_performance(counts(risk), CUTOFF)
    assert found.balanced_accuracy_ == pytest.approx((sensitivity + specificity) / 2, abs=1e-13)


def test_observed_areas_lie_around_the_expected_one_where_risks_are_right():
    risk = drawn(2000)
    rng = np.random.default_rng(8)
    seen = [roc_auc_score(rng.random(risk.size) < risk, risk) for _ in range(200)]
    expected = expected_performance(counts(risk), CUTOFF).auc_
    assert abs(np.mean(seen) - expected) < 4 * np.std(seen) / np.sqrt(len(seen)) + 0.001


@pytest.mark.parametrize("n", [60, 400])
def test_the_errors_are_those_of_drawing_patients(n: int):
    """Against a thousand bootstrap sets, whose own error is some two per cent."""
    risk, rng = drawn(n), np.random.default_rng(5)
    found = expected_performance(counts(risk), CUTOFF)
    again = [expected_performance(counts(rng.choice(risk, risk.size)), CUTOFF) for _ in range(1000)]
    assert found.auc_std_err_ == pytest.approx(np.std([one.auc_ for one in again]), rel=0.12)
    assert found.balanced_accuracy_std_err_ == pytest.approx(
        np.std([one.balanced_accuracy_ for one in again]), rel=0.12
    )


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_every_patient_is_counted_once_on_his_side_of_the_cut_off(values: list[float], cutoff: float):
    risk = np.round(np.array(values), 4)
    told = counts(risk, cutoff)
    assert told.sum() == risk.size and told[1].sum() == np.count_nonzero(risk >= cutoff)
    low, high = risks_of_bins(cutoff)
    assert np.all((low >= 0) & (low <= 1) & (high >= 0) & (high <= 1))
    assert np.all(np.abs(in_bins(risk, cutoff) - risk) <= 0.01 + 1e-9)


@given(st.lists(st.floats(0.01, 0.99), min_size=4, max_size=80))
def test_no_model_expects_less_than_chance_of_its_own_risks(values: list[float]):
    found = expected_performance(counts(np.round(np.array(values), 4), None))
    assert found.auc_ >= 0.5 - 1e-12 and np.isnan(found.balanced_accuracy_)


def test_patients_who_are_alike_are_expected_to_be_told_apart_less():
    wide, narrow = drawn(), np.clip(0.4 + (drawn() - 0.4) / 4, 0, 1)
    assert expected_performance(counts(narrow)).auc_ < expected_performance(counts(wide)).auc_ - 0.1


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_same_however_patients_are_spread_over_sites(masked: bool):
    risk = drawn(90)
    risk[7] = np.nan
    site = np.repeat([0, 1, 2], 30)
    port = federation_of({"score.m": risk, "positive.m": risk}, {"mvi": np.zeros(90)}, site, masked=masked)
    (found,) = conclude(port, [case_mix(COHORT, AT, "score.m")])
    assert found == expected_performance(counts(risk[~np.isnan(risk)]), CUTOFF)


def test_nobody_and_one_patient_expect_nothing():
    for n in (0, 1):
        with pytest.raises(FedmviError) as error:
            expected_performance(counts(drawn(n)))
        assert error.value.number == 601


def test_a_cut_off_between_hundredths_tells_of_ranks():
    for cutoff, coarse in ((0.33, True), (0.337, False)):
        recipe = Recipe((Cut("score.m", "positive.m", cutoff),))
        assert RiskCounts(COHORT, recipe, "score.m").coarse is coarse
        assert CaseMixAlone(COHORT, recipe, "score.m", 10, min_cell=5).coarse is coarse
    assert RiskCounts(COHORT, Recipe((Cut("score.other", "x", 0.337),)), "score.m").coarse
