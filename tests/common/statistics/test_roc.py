"""common: AUC and DeLong's error equal the pooled ones, ties included, from counts only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.refinement import order_keys, refine
from common.statistics.roc import compare_areas, placements, roc, rocs
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def delong_by_pairs(score: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """DeLong et al. 1988 by their definition: the mean over all pairs and the variances of its components."""
    positive, negative = score[y == 1], score[y == 0]
    psi = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return float(psi.mean()), float(np.sqrt(v10.var(ddof=1) / len(positive) + v01.var(ddof=1) / len(negative)))


@pytest.mark.parametrize("rounding", [None, 2, 1, 0])
def test_equals_scikit_learn_and_delong_by_definition(breast: Any, rounding: int | None) -> None:
    score = breast.columns["mean_texture"]
    score = score if rounding is None else np.round(score, rounding)
    port = federation_of({"s": score}, {"y": breast.y}, breast.site)
    (fit,) = conclude(port, [roc(COHORT, Recipe(), "y", "s")])
    auc, error = delong_by_pairs(score, breast.y)
    assert fit.auc_ == pytest.approx(roc_auc_score(breast.y, score), abs=1e-12)
    assert fit.auc_ == pytest.approx(auc, abs=1e-12)
    assert fit.std_err_ == pytest.approx(error, abs=1e-12)
    u = stats.mannwhitneyu(score[breast.y == 1], score[breast.y == 0]).statistic
    assert fit.auc_ * fit.events_ * (fit.n_ - fit.events_) == pytest.approx(u, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_any_ties_any_sites_any_order(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    n = 80
    y = (rng.random(n) < 0.4).astype(np.float64)
    y[:4] = [0, 1, 0, 1]
    score = rng.integers(-levels, levels + 1, n) / 7.0
    score[rng.random(n) < 0.1] = -0.0
    site = rng.integers(0, 4, n)
    fits = [
        conclude(federation_of({"s": score}, {"y": y}, s), [roc(COHORT, Recipe(), "y", "s")])[0]
        for s in (site, 3 - site)
    ]
    auc, error = delong_by_pairs(score, y)
    assert fits[0].auc_ == pytest.approx(auc, abs=1e-12)
    assert fits[0].std_err_ == pytest.approx(error, abs=1e-12)
    assert fits[0].auc_ == fits[1].auc_
    assert fits[0].rounds_ <= 8


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=30))
def test_keys_are_in_the_order_of_the_scores(values: list[float]) -> None:
    scores = np.array(values)
    keys = order_keys(scores)
    for i in range(len(values)):
        assert ((keys < keys[i]) == (scores < scores[i])).all()
        assert ((keys == keys[i]) == (scores == scores[i])).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(40, 300), st.sampled_from([5, 10]))
def test_no_step_of_a_published_curve_holds_fewer_patients_than_the_limit(seed: int, n: int, cell: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.zeros(n)
    y[: max(cell, n // 3)] = 1
    score = np.round(rng.normal(size=n) + y, 1)
    port = federation_of({"s": score}, {"y": y}, rng.integers(0, 3, n))
    (fit,) = conclude(port, [roc(COHORT, Recipe(), "y", "s")])
    x, t = fit.curve(cell)
    negatives, positives = fit.n_ - fit.events_, fit.events_
    assert (np.diff(np.rint(x * negatives)) >= min(cell, negatives)).all()
    assert (np.diff(np.rint(t * positives)) >= min(cell, positives)).all()
    assert (x[0], t[0], x[-1], t[-1]) == (0, 0, 1, 1)
    assert x.size <= 51


def test_one_class_only_is_an_error() -> None:
    port = federation_of({"s": np.arange(9.0)}, {"y": np.ones(9)}, np.arange(9) % 3)
    with pytest.raises(FedmviError, match="602"):
        conclude(port, [roc(COHORT, Recipe(), "y", "s")])


def covariance_by_pairs(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """DeLong et al. 1988, eq. 5 to 8, by all pairs."""
    psi = 0.5 * (1.0 + np.sign(scores[y == 1][:, None, :] - scores[y == 0][None, :, :]))
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return np.cov(v10.T) / len(v10) + np.cov(v01.T) / len(v01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_covariance_of_areas_is_that_of_all_pairs_whatever_the_ties_and_sites(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 90
    y = (rng.random(n) < 0.3).astype(np.float64)
    y[:4] = [0, 1, 0, 1]
    columns = {"a": rng.normal(size=n) + y, "b": np.round(rng.normal(size=n) + y), "c": rng.normal(size=n)}
    fits = [
        conclude(federation_of(columns, {"y": y}, site), [compare_areas(COHORT, Recipe(), "y", tuple(columns))])[0]
        for site in (np.arange(n) % 3, np.arange(n) // 15)
    ]
    assert np.abs(fits[0].covariance_ - covariance_by_pairs(np.column_stack(list(columns.values())), y)).max() < 1e-14
    assert np.abs(fits[0].covariance_ - fits[1].covariance_).max() < 1e-15
    assert [r["difference"] for r in fits[0].summary] == [r["difference"] for r in fits[1].summary]
    for fit, error in zip(fits[0].rocs_, np.sqrt(np.diag(fits[0].covariance_)), strict=True):
        assert fit.std_err_ == pytest.approx(error, abs=1e-14)


def test_scores_that_order_patients_alike_have_no_test(breast: Any) -> None:
    columns = {"a": breast.columns["mean_radius"], "b": 2 * breast.columns["mean_radius"] + 1}
    port = federation_of(columns, {"y": breast.y}, breast.site)
    (fit,) = conclude(port, [compare_areas(COHORT, Recipe(), "y", ("a", "b"))])
    test = fit.difference("a", "b")
    assert test.difference_ == 0.0
    assert np.isnan(test.p_)


def test_a_patient_without_a_score_cannot_be_compared_but_has_single_areas(breast: Any) -> None:
    columns = {"a": breast.columns["mean_radius"], "b": breast.columns["mean_texture"].copy()}
    columns["b"][5] = np.nan
    port = federation_of(columns, {"y": breast.y}, breast.site)
    with pytest.raises(FedmviError, match="640"):
        conclude(port, [compare_areas(COHORT, Recipe(), "y", ("a", "b"))])
    (fits,) = conclude(port, [rocs(COHORT, Recipe(), "y", ("a", "b"))])
    assert [fit.n_ for fit in fits] == [569, 568]
    known = ~np.isnan(columns["b"])
    assert fits[1].auc_ == pytest.approx(roc_auc_score(breast.y[known], columns["b"][known]), abs=1e-12)


def test_placements_need_leaves_of_both_classes_for_every_score() -> None:
    port = federation_of({"a": np.arange(9.0)}, {"y": np.arange(9) % 2.0}, np.arange(9) % 3)
    (leaves,) = conclude(port, [refine(COHORT, Recipe(), ("a",), "y")])
    sound = placements(COHORT, Recipe(), "y", ("a",), leaves)
    assert sound.consistent()
    for change in (
        {"columns": ("a", "b")},
        {"leaves": sound.leaves + np.uint64(1)},
        {"leaves": np.array([2**63 + 5], dtype=np.uint64)},
        {"counts": sound.counts[1:]},
        {"counts": np.where(np.arange(sound.counts.size) % 2, sound.counts, np.uint64(0))},
    ):
        assert not replace(sound, **change).consistent()
