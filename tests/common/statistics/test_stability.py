"""common: stability selection counts what an elastic net keeps in halves that nobody can choose."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.stability import stability_selection
from common.statistics.training_sets import training_sets
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of, row_keys


def frame(y: np.ndarray, keys: np.ndarray) -> Frame:
    return Frame({}, {"y": y}, y.size, keys)


def test_half_of_each_class_is_drawn_whatever_the_order_of_patients() -> None:
    rng = np.random.default_rng(0)
    y, keys = (np.arange(41) < 13).astype(np.float64), row_keys(41)
    halves = training_sets(frame(y, keys), "y", "halves", 200)
    assert (halves[:, y == 1].sum(axis=1) == 6).all()
    assert (halves[:, y == 0].sum(axis=1) == 14).all()
    order = rng.permutation(41)
    assert np.array_equal(training_sets(frame(y[order], keys[order]), "y", "halves", 200), halves[:, order])
    # Each patient is in about half of them, and no two halves are alike.
    share = halves.mean(axis=0)
    assert np.all(np.abs(share - np.where(y == 1, 6 / 13, 0.5)) < 5 * 0.5 / np.sqrt(200))
    assert np.unique(halves, axis=0).shape[0] == 200
    together = np.corrcoef(halves[:, y == 0].T)
    assert np.abs(together[~np.eye(28, dtype=bool)]).max() < 0.4


def test_a_half_needs_keys() -> None:
    with pytest.raises(FedmviError, match="501"):
        training_sets(frame(np.zeros(4), np.empty(0, dtype=np.uint64)), "y", "halves", 2)


def test_effects_are_stable_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    n, p = 400, 20
    X = rng.normal(size=(n, p))
    y = (rng.random(n) < 1 / (1 + np.exp(-1.5 * X[:, 0] + 1.5 * X[:, 1]))).astype(np.float64)
    columns = {f"x{i}": X[:, i] for i in range(p)}
    site = rng.integers(0, 3, n)
    port = federation_of(columns, {"y": y}, site)
    (fit,) = conclude(port, [stability_selection(COHORT, Recipe(), "y", tuple(columns), (0.15, 0.1), replicates=50)])
    assert set(fit.stable) == {"x0", "x1"}
    assert fit.frequency_.shape == (2, p)
    assert fit.kkt_ < 1e-10
    assert fit.n_ == sum(int(np.sum((site == s) & (y == c))) // 2 for s in range(3) for c in (0, 1))
    assert fit.false_positives == pytest.approx(fit.kept_**2 / (0.5 * p))
    assert [row["term"] for row in fit.summary if row["stable"]] == list(fit.stable)
    assert fit.kept_ >= fit.frequency_.sum(axis=1).max()


def test_the_path_goes_as_far_down_as_false_positives_allow() -> None:
    rng = np.random.default_rng(2)
    n, p = 300, 25
    X = rng.normal(size=(n, p))
    y = (rng.random(n) < 1 / (1 + np.exp(-1.2 * X[:, 0]))).astype(np.float64)
    columns = {f"x{i}": X[:, i] for i in range(p)}
    port = federation_of(columns, {"y": y}, rng.integers(0, 3, n))
    few, many = (
        conclude(port, [stability_selection(COHORT, Recipe(), "y", tuple(columns), replicates=20, false_positives=v)])[
            0
        ]
        for v in (1.0, 4.0)
    )
    assert few.false_positives <= 1.0
    assert 1.0 < many.false_positives <= 4.0
    assert few.lambda_.size < many.lambda_.size < 30
    assert few.frequency_.tobytes() == many.frequency_[: few.lambda_.size].tobytes()
    assert few.stable == ("x0",)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"threshold": 0.5}, 633),
        ({"replicates": 0}, 633),
        ({"lambdas": (0.1, 0.1)}, 632),
        ({"false_positives": 0.0}, 633),
    ],
)
def test_unsound_choices_have_a_number(options: dict[str, object], number: int) -> None:
    port = federation_of({"a": np.arange(60.0)}, {"y": np.arange(60) % 2.0}, np.arange(60) % 3)
    with pytest.raises(FedmviError, match=str(number)):
        conclude(port, [stability_selection(COHORT, Recipe(), "y", ("a",), **{"lambdas": (0.1,), **options})])  # type: ignore[arg-type]
