"""common: axes within groups, regions of means and two-sample areas equal those of the pooled rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.federation.query import Ask, Summary
from common.federation.runner import conclude
from common.statistics.projection import Group, Halves, halves, level_groups, project
from common.statistics.two_sample import BINS, TwoSample, crossed, discriminant, two_sample
from common.study.recipe import Fold, Frame, Recipe
from simulation.views import COHORT, federation_of, row_keys

COLUMNS = ("a", "b", "c")
DEALT = Recipe((Fold(10, "y"),))


class Cohort:
    """Rows of one cohort at three uneven sites, and a port to them."""

    def __init__(self, n: int, shift: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.X = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.4, 0.0], [0.0, 2.0, 0.3], [0.0, 0.0, 0.5]]) + 3.0
        self.X[:, 0] += shift
        self.y = (rng.random(n) < 0.4).astype(np.float64)
        self.X[self.y == 1.0, 1] += 1.0
        site = np.minimum(rng.integers(0, 4, n), 2)
        columns = dict(zip(COLUMNS, self.X.T, strict=True))
        self.port = federation_of(columns, {"y": self.y}, site, masked=True)
        self.half = np.empty(n, dtype=np.int64)
        for one in range(3):
            rows = site == one
            frame = Frame({}, {"y": self.y[rows]}, int(rows.sum()), row_keys(n)[rows])
            self.half[rows] = DEALT.apply_to(frame).columns["fold"].astype(np.int64) % 2

    @property
    def halves(self) -> Halves:
        found: Halves = conclude(self.port, [halves(COHORT, DEALT, COLUMNS)])[0]
        return found

    @property
    def groups(self) -> tuple[Group, ...]:
        found: tuple[Group, ...] = conclude(self.port, [level_groups(COHORT, Recipe(), COLUMNS, "y", ("no", "yes"))])[0]
        return found


class Both:
    """Questions of cohorts are put to the port of each."""

    def __init__(self, **cohorts: Cohort) -> None:
        self.cohorts = cohorts

    def ask(self, asks: Sequence[Ask]) -> list[Summary | FedmviError]:
        from dataclasses import replace

        return [
            self.cohorts[ask.cohort].port.ask([Ask(ask.mode, replace(ask.question, cohort=COHORT))])[0]  # type: ignore[misc, type-var, arg-type]
            for ask in asks
        ]  # fmt: skip


def area_of(scores: Sequence[np.ndarray]) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [s.size for s in scores]), np.concatenate(scores)))


def told_apart(first: Cohort, second: Cohort) -> TwoSample:
    port = Both(first=first, second=second)
    sums = [first.halves, second.halves]
    asked = two_sample(("first", "second"), (DEALT, DEALT), COLUMNS, sums, "y", 2)
    found: TwoSample = conclude(port, [asked])[0][0]  # type: ignore[arg-type]
    return found


def test_axes_and_centres_are_those_of_the_pooled_rows_less_the_means_of_their_groups() -> None:
    first, second = Cohort(150, 0.0, 1), Cohort(90, 1.5, 2)
    found = project([(one.halves, one.groups) for one in (first, second)])
    rows, residual = np.vstack([first.X, second.X]), []
    for one in (first, second):
        residual += [one.X[one.y == level] - one.X[one.y == level].mean(axis=0) for level in (0, 1)]
    oracle = PCA(2).fit(np.vstack(residual))
    degrees = len(rows) - 4
    assert found.degrees_ == degrees
    assert found.variance_ == pytest.approx(oracle.explained_variance_ * (len(rows) - 1) / degrees, rel=1e-9)
    assert found.share_ == pytest.approx(oracle.explained_variance_ratio_, rel=1e-3)
    assert np.abs(found.axes_.T @ oracle.components_.T) == pytest.approx(np.eye(2), abs=1e-7)
    means = [one.X[one.y == level].mean(axis=0) for one in (first, second) for level in (0, 1)]
    assert found.centres_ == pytest.approx((np.array(means) - rows.mean(axis=0)) @ found.axes_, abs=1e-9)
    assert [group.n for group in found.groups] == [int((one.y == v).sum()) for one in (first, second) for v in (0, 1)]


def test_a_region_holds_the_true_mean_in_95_of_100_draws() -> None:
    rng = np.random.default_rng(5)
    draws, n, inside = 2000, 12, 0
    for _ in range(draws):
        x = rng.normal(size=(n, 2)) * (1.0, 3.0)
        cross = np.array([x.T @ x, np.zeros((2, 2))])
        sums = Halves(("a", "b"), np.array([n, 0]), np.array([x.mean(axis=0), np.zeros(2)]), cross)
        found = project([(sums, (Group("all", n, x.mean(axis=0)),))])
        off = (found.groups[0].mean - 0.0) @ found.axes_
        inside += float(np.sum(np.square(off / found.region(n)))) <= 1.0
    # With one group the region is Hotelling's, and the coverage exact: its error is binomial.
    assert abs(inside - 0.95 * draws) < 4.0 * np.sqrt(0.95 * 0.05 * draws)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.35, 0.65), (1.0, 0.65, 0.9), (30.0, 1.0, 1.0)])
def test_two_cohorts_are_told_apart_as_by_a_discriminant_on_the_rows_of_the_other_half(
    shift: float, low: float, high: float
) -> None:
    first, second = Cohort(120, 0.0, 3), Cohort(80, shift, 4)
    found = told_apart(first, second)
    areas, by_level = [], []
    for half in (0, 1):
        train = np.vstack([one.X[one.half != half] for one in (first, second)])
        label = np.repeat([0, 1], [int((one.half != half).sum()) for one in (first, second)])
        lda = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5]).fit(train, label)
        scores = [lda.decision_function(one.X[one.half == half]) for one in (first, second)]
        areas.append(area_of(scores))
        levels = [one.y[one.half == half] for one in (first, second)]
        by_level.append([area_of([s[y == v] for s, y in zip(scores, levels, strict=True)]) for v in (0, 1)])
    # Fifty bins tie few patients; the area moves by no more than half of the pairs that are tied.
    assert found.areas_ == pytest.approx(areas, abs=0.02)
    assert found.n_.tolist() == [120, 80]
    for level, within in enumerate(found.levels_):
        assert within is not None and within.n_.tolist() == [int((one.y == level).sum()) for one in (first, second)]
        assert within.areas_ == pytest.approx([part[level] for part in by_level], abs=0.03)
    assert low <= found.auc_ <= high
    assert found.interval[0] <= found.auc_ <= found.interval[1]
    assert found.std_err_ > 0 or shift == 30.0


def test_the_classifier_of_a_half_never_saw_its_patients() -> None:
    first, second = (Cohort(100, shift, seed).halves for shift, seed in ((0.0, 6), (0.5, 7)))
    made = crossed(first, second)
    for half in (0, 1):
        other = [Halves(COLUMNS, p.n_, p.mean_ + 0.0, p.cross_ + 0.0) for p in (first, second)]
        for part in other:
            part.mean_[half] = np.nan
            part.cross_[half] = np.nan
        assert np.array_equal(made[half], discriminant(other[0], other[1], 1 - half))


def test_alike_cohorts_are_not_told_apart_more_often_than_the_interval_says() -> None:
    misses = sum(
        not found.interval[0] <= 0.5 <= found.interval[1]
        for found in (told_apart(Cohort(60, 0.0, 2 * seed), Cohort(60, 0.0, 2 * seed + 1)) for seed in range(20, 80))
    )
    # 60 draws: with a true level of 5 per cent more than 8 have a probability of 0.003, with 20 per cent of 0.9.
    assert misses <= 8


def test_patients_who_do_not_differ_have_no_axes() -> None:
    flat = Halves(("a", "b"), np.array([20, 20]), np.ones((2, 2)), np.full((2, 2, 2), 20.0))
    with pytest.raises(FedmviError, match="690"):
        project([(flat, (flat.whole,))])
    with pytest.raises(FedmviError, match="690"):
        discriminant(flat, flat, 0)
    assert BINS == 50
