"""common: bootstrap sets are drawn alike in every order, and each replicate is that of the pooled rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.federation.runner import conclude
from common.federation.totals import check_summary
from common.statistics.bootstrap import bootstrap_areas, bootstrap_slope, bootstrap_thresholds
from common.statistics.resampling import ResampledLines, ResampledRuns
from common.study.drafting import drawn_times
from common.study.recipe import Frame, Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of, row_keys


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 30))
def test_draws_keep_the_classes_and_depend_on_keys_only(seed: int, n: int, sets: int) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 2**64, n, dtype=np.uint64)
    y = rng.choice([0.0, 1.0, np.nan], n)
    whole = drawn_times(keys, y, 0, sets + 1)
    assert (whole[:, np.isnan(y)] == 0).all()
    for label in (0, 1):
        assert (whole[:, y == label].sum(axis=1) == (y == label).sum()).all()
        assert (whole[0, y == label] == 1).all()
    order = rng.permutation(n)
    assert (drawn_times(keys[order], y[order], 0, sets + 1) == whole[:, order]).all()
    first = int(rng.integers(0, sets + 1))
    assert (drawn_times(keys, y, first, sets + 1 - first) == whole[first:]).all()


def test_every_patient_is_drawn_as_often_as_any_other() -> None:
    y = np.repeat([0.0, 1.0], [30, 10])
    weights = drawn_times(row_keys(40), y, 1, 4000)
    # A patient's mean weight over the sets has a standard error of about 0.016.
    assert np.abs(weights.mean(axis=0) - 1.0).max() < 0.07
    assert weights[:, :30].var() == pytest.approx(1 - 1 / 30, abs=0.02)


def case(seed: int = 0, n: int = 120) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(np.float64)
    risk = 1 / (1 + np.exp(-rng.normal(size=n) - y))
    columns = {"a": risk, "b": np.round(risk * 0.5 + 0.5 * rng.random(n), 1)}
    columns |= {f"w{i}": rng.poisson(1.0, n).astype(np.float64) for i in range(6)}
    return columns, y, rng.integers(0, 3, n)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_areas_of_given_weights_are_the_pooled_ones_with_ties(seed: int) -> None:
    columns, y, site = case(seed)
    names = tuple(f"w{i}" for i in range(6))
    port = federation_of(columns, {"y": y}, site)
    (fit,) = conclude(port, [bootstrap_areas(COHORT, Recipe(), "y", ("a", "b"), weights=names)])
    for i, score in enumerate(("a", "b")):
        assert fit.estimate_[i] == pytest.approx(roc_auc_score(y, columns[score]), abs=1e-14)
        for j, w in enumerate(names):
            pooled = roc_auc_score(y, columns[score], sample_weight=columns[w])
            assert fit.replicates_[i, j] == pytest.approx(pooled, abs=1e-12)


def test_replicates_are_the_same_in_several_questions_and_any_order_of_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, y, site = case(1)

    def run(site: np.ndarray) -> list[object]:
        port = federation_of(columns, {"y": y}, site)
        return conclude(
            port,
            [
                bootstrap_areas(COHORT, Recipe(), "y", ("a", "b"), replicates=50),
                bootstrap_thresholds(COHORT, Recipe(), "y", ("a", "b"), np.array([[0.5], [0.4]]), replicates=50),
            ],
        )

    whole = run(site)
    assert same(whole, run(5 - site))
    monkeypatch.setattr("common.statistics.bootstrap.MAX_CELLS", 1000)
    assert same(whole, run(site))


def test_intervals_are_percentiles_and_differences_are_paired() -> None:
    columns, y, site = case(2)
    columns["c"] = 2 * columns["a"]
    (fit,) = conclude(
        federation_of(columns, {"y": y}, site),
        [bootstrap_areas(COHORT, Recipe(), "y", ("a", "b", "c"), replicates=400)],
    )
    low, high = fit.interval
    assert low[0] == np.quantile(fit.replicates_[0], 0.025)
    assert (low < fit.estimate_).all()
    assert (fit.estimate_ < high).all()
    assert (fit.difference("a", "c").replicates_ == 0.0).all()
    assert fit.difference("a", "b").summary[0]["value"] == fit.estimate_[0] - fit.estimate_[1]


def test_a_separated_replicate_has_no_slope_and_the_others_keep_theirs() -> None:
    columns, y, site = case(3)
    apart = (y == 1) == (columns["a"] > 0.5)
    columns["w0"] = apart.astype(np.float64)
    port = federation_of(columns, {"y": y}, site)
    (fit,) = conclude(port, [bootstrap_slope(COHORT, Recipe(), "y", "a", weights=("w0", "w1"))])
    assert np.isnan(fit.replicates_[0, :, 0]).all()
    assert np.isfinite(fit.replicates_[0, :, 1]).all()
    assert fit.undefined_.tolist() == [[1, 1]]


def test_a_patient_without_a_score_is_an_error() -> None:
    columns, y, site = case(4)
    columns["a"][3] = np.nan
    port = federation_of(columns, {"y": y}, site)
    for conclusion in (
        bootstrap_areas(COHORT, Recipe(), "y", ("a", "b"), replicates=5),
        bootstrap_thresholds(COHORT, Recipe(), "y", ("a", "b"), np.array([[0.5], [0.4]]), replicates=5),
    ):
        with pytest.raises(FedmviError, match="640"):
            conclude(port, [conclusion])


def runs(**change: object) -> ResampledRuns:
    two = np.array([2], dtype=np.uint64)
    low, mixed = np.array([0, 2**63], dtype=np.uint64), np.array([0, 1], dtype=np.uint64)
    return replace(ResampledRuns(COHORT, Recipe(), ("a",), "y", 0, 3, (), two, low, mixed, 9), **change)


def test_runs_and_sets_that_do_not_fit_together_are_refused() -> None:
    assert runs().consistent()
    for change in (
        {"runs": np.array([1], dtype=np.uint64)},
        {"runs": np.array([2**63, 2**63 + 2], dtype=np.uint64), "columns": ("a", "b")},
        {"mixed": np.zeros(1, dtype=np.uint64)},
        {"largest": 0},
        {"sets": 0},
        {"first": -1},
        {"sets": 20_000},
        {"weights": ("w",)},
    ):
        assert not runs(**change).consistent()
        with pytest.raises(FedmviError, match="501"):
            runs(**change).blocks()
    assert not ResampledLines(COHORT, Recipe(), ("a",), "y", 0, 3, (), np.zeros((2, 2))).consistent()


def test_draws_need_keys_and_a_bound_that_is_too_small_is_not_refused() -> None:
    frame = Frame({"a": np.linspace(-1, 1, 50)}, {"y": np.arange(50) % 2.0}, 50)
    with pytest.raises(FedmviError, match="501"):
        runs().answer(frame)
    check_summary(runs(largest=1), runs(largest=1).answer(replace(frame, keys=row_keys(50))))
