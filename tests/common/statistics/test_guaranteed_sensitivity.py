"""common: a guaranteed cut-off keeps its promise in 95 % of cohorts, and promises no more than the patients allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.errors import FedmviError
from common.federation.query import each
from common.federation.runner import conclude
from common.statistics.guaranteed_sensitivity import (
    GuaranteedAlone,
    GuaranteedSensitivity,
    guaranteed_sensitivity,
    lower_limit,
    most_guaranteed,
)
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def chosen(score: np.ndarray, y: np.ndarray, target: float) -> GuaranteedSensitivity:
    port = federation_of({"p": score}, {"y": y}, np.arange(len(y)) % 3)
    found: GuaranteedSensitivity = conclude(port, [guaranteed_sensitivity(COHORT, Recipe(), "y", "p", target)])[0]
    return found


def patients(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Half have the endpoint, and scores Beta(4, 2); the others' are Beta(2, 4)."""
    y = (np.arange(n) % 2).astype(np.float64)
    score = np.where(y == 1, rng.beta(4, 2, n), rng.beta(2, 4, n))
    return np.round(score, 4), y


@given(st.integers(1, 500), st.data())
@settings(max_examples=60, deadline=None)
def test_the_limit_is_that_of_clopper_and_pearson(positives: int, data: st.DataObject):
    found = data.draw(st.integers(0, positives))
    exact = stats.binomtest(found, positives, alternative="greater").proportion_ci(0.95, method="exact").low
    assert lower_limit(found, positives) == pytest.approx(exact, abs=1e-9)
    assert lower_limit(positives, positives) == pytest.approx(most_guaranteed(positives), rel=1e-9)


def test_the_sensitivity_at_the_cut_off_is_as_promised_in_95_of_100_cohorts():
    """2,000 cohorts of known truth: the share that misses is at most 5 %, within a Monte-Carlo limit of 99.9 %.

    The cut-off is no lower than it must be: at the next hundredth the promise would be broken in more.
    """
    rng, target, missed = np.random.default_rng(20260114), 0.85, 0
    for _ in range(2000):
        score, y = patients(120, rng)
        found = np.array([np.sum(score[y == 1] >= c) for c in np.arange(1, 100) / 100])
        reached = [c for c, k in zip(np.arange(1, 100) / 100, found, strict=True) if lower_limit(int(k), 60) >= target]
        missed += stats.beta.sf(reached[-1] - 0.5e-4, 4, 2) < target
    assert missed <= stats.binom.ppf(0.999, 2000, 0.05)
    score, y = patients(120, np.random.default_rng(7))
    fit = chosen(score, y, target)
    found = [int(np.sum(score[y == 1] >= c)) for c in (fit.cutoff_, round(fit.cutoff_ + 0.01, 2))]
    assert lower_limit(found[0], 60) >= target > lower_limit(found[1], 60)
    assert (fit.positives_, fit.lower_) == (60, pytest.approx(lower_limit(found[0], 60)))


def test_no_more_is_promised_than_all_of_m_patients_can():
    score, y = patients(40, np.random.default_rng(1))
    assert most_guaranteed(20) == pytest.approx(0.8609, abs=1e-4)
    with pytest.raises(FedmviError, match="639") as met:
        chosen(score, y, 0.87)
    assert met.value.facts["most"] == 0.86
    assert most_guaranteed(0) == 0.0


def test_a_score_that_misses_patients_everywhere_promises_nothing():
    score, y = patients(200, np.random.default_rng(1))
    score[y == 1] = np.where(np.arange(100) % 2 == 0, 0.0, 0.9)
    with pytest.raises(FedmviError, match="641"):
        chosen(score, y, 0.8)
    with pytest.raises(FedmviError, match="602"):
        chosen(score, np.zeros(200), 0.8)


def test_one_site_tells_what_it_chose_or_why_not():
    for n, target, number in ((400, 0.8, 0), (40, 0.9, 639), (16, 0.6, 405)):
        score, y = patients(n, np.random.default_rng(3))
        port = federation_of({"p": score}, {"y": y}, np.zeros(n, dtype=int))
        query = GuaranteedAlone(COHORT, Recipe(), "y", "p", target, 10, min_cell=5)
        (part,) = port.ask([each(query)])[0].values()
        if number:
            with pytest.raises(FedmviError, match=str(number)) as met:
                query.read(part)
            assert met.value.facts.get("most", 0.86) == 0.86
        else:
            fit = chosen(score, y, target)
            told = query.read(part)
            assert (told.cutoff_, told.positives_) == (fit.cutoff_, None)
            assert fit.lower_ - 0.01 < told.lower_ <= fit.lower_
