"""common: net benefit is that of the pooled patients, of a case-control study, and of survival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.decision_curve import ThresholdLifeTable, decision_curve, survival_decision_curve
from common.study.recipe import Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of

GRID = np.array([0.0, 0.1, 0.25, 0.5, 0.9])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_net_benefit_by_its_definition_whatever_the_sites(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random(80) < 0.3).astype(np.float64)
    y[:2] = [0, 1]
    columns = {"a": rng.random(80), "b": np.round(rng.random(80), 1)}
    fits = [
        conclude(federation_of(columns, {"y": y}, site), [decision_curve(COHORT, Recipe(), "y", ("a", "b"), GRID)])[0]
        for site in (np.arange(80) % 3, np.arange(80) // 25)
    ]
    assert same(fits[0], fits[1])
    for i, risk in enumerate(columns.values()):
        for j, t in enumerate(GRID):
            direct = np.mean((risk >= t) * (y - (1 - y) * t / (1 - t)))
            assert fits[0].net_benefit_[i, j] == pytest.approx(direct, abs=1e-14)
            everybody = np.mean(y - (1 - y) * t / (1 - t))
            assert fits[0].treat_all_[j] == pytest.approx(everybody, abs=1e-13)
            if t > 0:
                avoided = ((risk < t) * (1 - y)).mean() - ((risk < t) * y).mean() * (1 - t) / t
                assert fits[0].interventions_avoided_[i, j] == pytest.approx(avoided, abs=1e-12)
    assert np.isnan(fits[0].interventions_avoided_[:, 0]).all()


def test_a_given_prevalence_reweighs_a_case_control_study() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(200) % 2.0
    risk = np.clip(rng.random(200) * 0.6 + 0.3 * y, 0, 1)
    port = federation_of({"a": risk}, {"y": y}, np.arange(200) % 3)
    (fit,) = conclude(port, [decision_curve(COHORT, Recipe(), "y", ("a",), GRID, prevalence=0.1, harm=(0.02,))])
    weight = np.where(y == 1, 0.1 / y.mean(), 0.9 / (1 - y.mean()))
    for j, t in enumerate(GRID):
        direct = np.mean(weight * (risk >= t) * (y - (1 - y) * t / (1 - t))) - 0.02
        assert fit.net_benefit_[0, j] == pytest.approx(direct, abs=1e-14)
    assert fit.risk_ == 0.1


def test_without_censoring_the_survival_curve_is_the_binary_one() -> None:
    rng = np.random.default_rng(4)
    time, risk = rng.integers(0, 30, 150).astype(np.float64), np.round(rng.random(150), 2)
    endpoints = {"os.time": time, "os.event": np.ones(150), "y": (time <= 12).astype(np.float64)}
    port = federation_of({"a": risk}, endpoints, np.arange(150) % 4)
    binary, survival = conclude(
        port,
        [
            decision_curve(COHORT, Recipe(), "y", ("a",), GRID),
            survival_decision_curve(COHORT, Recipe(), "os", ("a",), GRID, precision=1.0, grid_points=30, time=12.0),
        ],
    )
    assert np.abs(binary.net_benefit_ - survival.net_benefit_).max() < 1e-14
    assert np.abs(binary.treat_all_ - survival.treat_all_).max() < 1e-13


def test_survival_is_unknown_where_nobody_is_followed_to_the_time() -> None:
    time = np.array([1.0, 2, 3, 4, 9, 9, 9, 9, 9])
    risk = np.array([0.8, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    event = np.array([1.0, 0, 0, 1, 0, 0, 0, 0, 0])
    port = federation_of({"a": risk}, {"os.time": time, "os.event": event}, np.arange(9) % 3)
    question = survival_decision_curve(
        COHORT, Recipe(), "os", ("a",), np.array([0.05, 0.5, 0.9]), precision=1.0, grid_points=10, time=5.0
    )
    (fit,) = conclude(port, [question])
    assert np.isnan(fit.net_benefit_[0]).tolist() == [False, True, False]
    assert fit.net_benefit_[0, 2] == 0.0


def test_models_are_compared_on_the_same_patients_of_both_classes() -> None:
    risk = np.linspace(0, 1, 30)
    partly = np.where(np.arange(30) == 4, np.nan, risk)
    port = federation_of({"a": risk, "b": partly}, {"y": np.arange(30) % 2.0, "z": np.zeros(30)}, np.arange(30) % 3)
    with pytest.raises(FedmviError, match="640"):
        conclude(port, [decision_curve(COHORT, Recipe(), "y", ("a", "b"), GRID)])
    with pytest.raises(FedmviError, match="602"):
        conclude(port, [decision_curve(COHORT, Recipe(), "z", ("a",), GRID)])


def test_a_life_table_by_threshold_has_ascending_thresholds_and_a_horizon_on_its_grid() -> None:
    def table(thresholds: np.ndarray, horizon: int, grid_points: int = 10) -> ThresholdLifeTable:
        return ThresholdLifeTable(COHORT, Recipe(), ("a",), "os", thresholds, 1.0, grid_points, horizon)

    assert table(GRID, 9).consistent()
    for bad in (table(GRID[::-1], 5), table(GRID, 10), table(GRID, -1), table(np.zeros((2, 2)), 5)):
        assert not bad.consistent()
