"""simulation: learning: comparisons of trainings are those of the textbook."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from simulation.learning.comparison import Scored, compare


def drawn(strength: float, seed: int, labels: np.ndarray, seeds: int = 2) -> Scored:
    """Probabilities that lean on the truth; rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(seeds, labels.size, 3)) + strength * np.eye(3)[labels]
    odds = np.exp(np.round(logits, 1))
    return scored(odds / odds.sum(axis=2, keepdims=True))


def scored(probabilities: np.ndarray) -> Scored:
    return Scored(1 - probabilities[:, :, 0], probabilities.argmax(axis=2).astype(float))


def test_areas_accuracies_and_their_differences_are_those_of_scikit_learn_and_differences_are_paired() -> None:
    labels = np.random.default_rng(1).choice([0, 0, 1, 2], 90)
    better, worse = drawn(2.0, 2, labels), drawn(0.5, 3, labels)
    near = Scored(0.9 * better.present + 0.1 * worse.present, better.likeliest)
    rows = {row.way: row for row in compare("train", labels, {"a": better, "b": worse, "c": near}, "a", seed=1)}
    area = {
        way: np.mean([roc_auc_score(labels > 0, one) for one in each.present])
        for way, each in (("a", better), ("b", worse))
    }
    assert rows["a"].auc.value == pytest.approx(area["a"], abs=1e-12)
    assert rows["b"].auc_difference is not None and rows["c"].auc_difference is not None
    assert rows["b"].auc_difference.value == pytest.approx(area["b"] - area["a"], abs=1e-12)
    assert rows["b"].auc_difference.high < 0, "a clear difference is seen"
    assert rows["a"].accuracy.value == pytest.approx(np.mean([accuracy_score(labels, x) for x in better.likeliest]))
    always = accuracy_score(labels, np.full(90, np.bincount(labels).argmax()))
    assert {row.majority_class for row in rows.values()} == {always} and always > 1 / 3
    assert rows["a"].auc_difference is None
    width = rows["c"].auc_difference.high - rows["c"].auc_difference.low
    assert width < 0.5 * (rows["a"].auc.high - rows["a"].auc.low), "the same patients are resampled in both"


def test_the_interval_of_an_area_is_about_as_wide_as_hanley_and_mcneil_have_it() -> None:
    labels = np.repeat([0, 1], 60)
    (row,) = compare("train", labels, {"a": drawn(1.0, 5, labels, seeds=1)}, "a", seed=1)
    area = row.auc.value
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    error = np.sqrt((area * (1 - area) + 59 * (q1 - area**2) + 59 * (q2 - area**2)) / 3600)
    assert (row.auc.high - row.auc.low) / (2 * 1.96) == pytest.approx(error, rel=0.25)
    assert row.seed_sd is None
