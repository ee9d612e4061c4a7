"""common: reclassification counts the pooled patients' moves, and a model gains nothing over itself."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.reclassification import Reclassification, RiskChanges, reclassification
from common.study.recipe import Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of

CUTS = np.array([0.25, 0.5])


def fitted(old: np.ndarray, new: np.ndarray, y: np.ndarray, site: np.ndarray) -> Reclassification:
    port = federation_of({"old": old, "new": new}, {"y": y}, site)
    return conclude(port, [reclassification(COHORT, Recipe(), "y", "old", "new", CUTS)])[0]


def test_a_small_table_by_hand() -> None:
    y = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0.0])
    old = np.array([0.1, 0.3, 0.6, 0.6, 0.3, 0.6, 0.1, 0.1, np.nan])
    new = np.array([0.3, 0.6, 0.6, 0.3, 0.1, 0.3, 0.1, 0.5, 0.5])
    fit = fitted(old, new, y, np.arange(9) % 3)
    assert fit.table_.tolist() == [[[1, 0, 1], [1, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 0, 1], [0, 1, 1]]]
    assert fit.categorical_.value_ == pytest.approx((2 - 1) / 4 + (2 - 1) / 4)
    assert fit.categorical_.std_err_ == pytest.approx(np.sqrt(2 * (3 / 16 - 1 / 64)))
    assert fit.idi_.value_ == pytest.approx((new - old)[:4].mean() - (new - old)[4:8].mean())
    assert "Not recommended" in fit.note


def test_sites_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    old, new, y = np.round(rng.random(90), 2), np.round(rng.random(90), 2), np.arange(90) % 2.0
    first, second = fitted(old, new, y, np.arange(90) % 3), fitted(old, new, y, np.arange(90) // 40)
    assert same(first.continuous_, second.continuous_)
    assert same(first.table_, second.table_)
    assert first.idi_.value_ == pytest.approx(second.idi_.value_, abs=1e-15)


def test_a_model_gains_nothing_over_itself() -> None:
    risk = np.linspace(0, 1, 30)
    for row in fitted(risk, risk, np.arange(30) % 2.0, np.arange(30) % 3).summary:
        assert row["value"] == 0.0
        assert np.isnan(row["p"])


def test_a_class_of_one_is_an_error() -> None:
    with pytest.raises(FedmviError, match="602"):
        fitted(np.zeros(9), np.ones(9), (np.arange(9) == 0).astype(np.float64), np.arange(9) % 3)


def test_two_models_and_ascending_cuts_are_needed() -> None:
    assert RiskChanges(COHORT, Recipe(), ("a", "b"), "y", CUTS).consistent()
    assert not RiskChanges(COHORT, Recipe(), ("a",), "y", CUTS).consistent()
    for cuts in (CUTS[::-1], np.zeros((2, 2)), np.linspace(0, 1, 20)):
        assert not RiskChanges(COHORT, Recipe(), ("a", "b"), "y", cuts).consistent()
