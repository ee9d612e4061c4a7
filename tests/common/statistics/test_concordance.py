"""common: Harrell's C counts pairs, inside sites or across them, whatever is tied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sksurv.metrics import concordance_index_censored

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.concordance import (
    Concordance,
    LeafTimes,
    PairCounts,
    concordance,
    concordance_pooled,
    pair_counts,
)
from common.study.recipe import Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of

Patients = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def patients(seed: int, n: int = 60, span: int = 9, scores: int = 12) -> Patients:
    rng = np.random.default_rng(seed)
    time, event = rng.integers(1, span + 1, n).astype(float), rng.integers(0, 2, n).astype(float)
    event[:2], time[0] = 1.0, 1.0
    score = rng.integers(0, scores, n) / 7.0 - 0.5
    return time, event, score, rng.integers(0, 4, n)


def run(time: np.ndarray, event: np.ndarray, score: np.ndarray, site: np.ndarray, *, pooled: bool) -> Concordance:
    port = federation_of({"score": score}, {"os.time": time, "os.event": event}, site)
    job = (
        concordance_pooled(COHORT, Recipe(), "os", "score", 1.0, 20)
        if pooled
        else concordance(COHORT, Recipe(), "os", ("score",))
    )
    fit: Concordance = conclude(port, [job])[0]
    return fit


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 15), st.integers(1, 200))
def test_pooled_equals_scikit_survival_and_one_site_alone(seed: int, span: int, scores: int) -> None:
    time, event, score, site = patients(seed, span=span, scores=scores)
    try:
        fit = run(time, event, score, site, pooled=True)
    except FedmviError as error:
        assert error.number == 650
        return
    theirs = concordance_index_censored(event == 1, time, score, tied_tol=0.0)
    assert fit.concordance_[0] == pytest.approx(theirs[0], abs=1e-13)
    assert fit.pairs_[0, :3].tolist() == list(theirs[1:4])
    assert same(fit, run(time, event, score, 3 - site, pooled=True))
    assert same(fit, run(time, event, score, np.zeros(60, dtype=int), pooled=False))


def test_inside_sites_only_pairs_of_a_site_count() -> None:
    time, event, score, site = patients(3)
    fit = run(time, event, score, site, pooled=False)
    each = [pair_counts(time[site == s], event[site == s], score[site == s])[0] for s in range(4)]
    assert fit.pairs_[0].tolist() == np.sum(each, axis=0).tolist()
    assert fit.pairs_.sum() < run(time, event, score, site, pooled=True).pairs_.sum()
    assert same(fit, run(time, event, score, 3 - site, pooled=False))


def test_pairs_are_counted_alike_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    time, event, score, _ = patients(4)
    whole = pair_counts(time, event, score)
    monkeypatch.setattr("common.statistics.concordance._BLOCK", 130)
    for one, other in zip(whole, pair_counts(time, event, score), strict=True):
        assert one.tolist() == other.tolist()


def test_a_perfect_score_is_one_its_reverse_zero_and_none_a_half() -> None:
    time, event = np.arange(1.0, 13.0), np.ones(12)
    site = np.arange(12) % 3
    for pooled in (True, False):
        assert run(time, event, -time, site, pooled=pooled).concordance_[0] == 1.0
        assert run(time, event, time, site, pooled=pooled).concordance_[0] == 0.0
        fit = run(time, event, 0.0 * time, site, pooled=pooled)
        assert fit.concordance_[0] == 0.5
        assert fit.std_err_[0] == 0.0


def test_the_difference_of_two_scores_knows_of_their_correlation() -> None:
    time, event, score, site = patients(5)
    columns = {"one": score, "two": score + 0.01 * np.arange(60), "three": -score}
    port = federation_of(columns, {"os.time": time, "os.event": event}, site)
    (fit,) = conclude(port, [concordance(COHORT, Recipe(), "os", tuple(columns))])
    apart, error, p = fit.difference(0, 1)
    assert error < fit.std_err_[0]
    assert 0 < p <= 1
    assert apart == fit.concordance_[0] - fit.concordance_[1]
    assert fit.difference(0, 2)[1] == pytest.approx(2 * fit.std_err_[0], rel=1e-12)
    low, high = fit.summary[0]["concordance_low"], fit.summary[0]["concordance_high"]
    assert low < fit.concordance_[0] < high


def test_a_patient_without_a_score_is_left_out_of_all_pairs() -> None:
    time, event, score, site = patients(6)
    missing = np.where(np.arange(60) % 5 == 0, np.nan, score)
    known = ~np.isnan(missing)
    fit = run(time, event, missing, site, pooled=True)
    assert same(fit, run(time[known], event[known], score[known], site[known], pooled=True))


@pytest.mark.parametrize("pooled", [True, False])
def test_without_a_pair_there_is_no_c(pooled: bool) -> None:
    time, event, score, site = patients(7)
    with pytest.raises(FedmviError, match="650"):
        run(time, 0.0 * event, score, site, pooled=pooled)


def test_a_patient_a_site_leaves_nothing_inside_sites() -> None:
    time, event, score, _ = patients(8)
    with pytest.raises(FedmviError, match="650"):
        run(time, event, score, np.arange(60), pooled=False)


def test_fields_that_do_not_fit_together_are_refused() -> None:
    def keys(*values: int) -> np.ndarray:
        return np.array(values, dtype=np.uint64)

    query = LeafTimes(COHORT, Recipe(), "os", "score", 1.0, 9, keys(1, 4), keys(0, 7, 9), keys(2))
    assert query.consistent()
    assert replace(query, shared=keys()).consistent()
    for wrong in (
        {"points": keys()},
        {"points": keys(4, 1)},
        {"points": keys(1, 9)},
        {"low": keys()},
        {"low": keys(0, 0, 9)},
        {"shared": keys(3)},
        {"shared": keys(1, 0)},
    ):
        assert not replace(query, **wrong).consistent()
    assert not PairCounts(COHORT, Recipe(), "os", ()).consistent()
