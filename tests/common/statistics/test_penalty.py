"""common: the penalised quadratic solver meets the optimality conditions, whatever the curvature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.statistics.penalty import (
    BARRED,
    best_penalties,
    cross_validation_curve,
    elastic_weights,
    penalties,
    proximal_newton_step,
    working_sets,
)


def missed(H: np.ndarray, c: np.ndarray, b: np.ndarray, lasso: np.ndarray, ridge: np.ndarray) -> float:
    """The conditions of min b'Hb/2 - c'b + lasso |b| + ridge b^2/2, written out for one problem."""
    slope = c - H @ b - ridge * b
    worst = [
        abs(slope[j] - lasso[j] * np.sign(b[j])) if b[j] else max(abs(slope[j]) - lasso[j], 0) for j in range(b.size)
    ]
    return max(worst)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14), st.integers(1, 30), st.sampled_from([0.0, 1e-3, 0.4]))
def test_many_problems_at_once_all_meet_their_conditions(seed: int, q: int, rows: int, ridge: float) -> None:
    # With fewer rows than coefficients the curvature is singular, as with more predictors than patients.
    rng = np.random.default_rng(seed)
    problems = 7
    A = rng.normal(size=(problems, rows, q)) * rng.choice([0.1, 1.0, 3.0], size=(problems, 1, q))
    H = A.transpose(0, 2, 1) @ A / rows
    start = rng.normal(size=(problems, q)) * (rng.random((problems, q)) < 0.5)
    optimum = rng.normal(size=(problems, q))
    c = (H @ optimum[:, :, None])[:, :, 0]
    lasso = np.abs(c).max(axis=1, keepdims=True) * rng.uniform(0.001, 1.2, size=(problems, 1)) * np.ones(q)
    weights = np.full((problems, q), ridge)
    gradient = (H @ start[:, :, None])[:, :, 0] - c
    b = proximal_newton_step(gradient, H, start, lasso, weights)
    for r in range(problems):
        assert missed(H[r], c[r], b[r], lasso[r], weights[r]) < 1e-10 * max(1.0, np.abs(c[r]).max())


def test_a_free_coefficient_is_not_shrunk_and_a_barred_one_stays_out() -> None:
    H, c = np.array([[[2.0, 0.5, 0.3], [0.5, 1.0, 0.2], [0.3, 0.2, 1.5]]]), np.array([[1.0, 2.0, 3.0]])
    b = proximal_newton_step(-c, H, np.zeros((1, 3)), np.array([[0.0, 1e3, BARRED]]), np.zeros((1, 3)))
    assert b[0, 1] == b[0, 2] == 0.0
    assert b[0, 0] == pytest.approx(0.5, abs=1e-11)


def test_copies_of_a_predictor_do_no_harm() -> None:
    H, c = np.ones((1, 4, 4)), np.ones((1, 4))
    b = proximal_newton_step(-c, H, np.zeros((1, 4)), np.full((1, 4), 0.3), np.zeros((1, 4)))
    assert missed(H[0], c[0], b[0], np.full(4, 0.3), np.zeros(4)) < 1e-12


def test_a_working_set_takes_the_most_violated_first() -> None:
    gradient = np.array([[0.1, 0.5, 2.0, 1.5, 0.95]])
    beta, lasso = np.array([[0.0, 3.0, 0.0, 0.0, 0.0]]), np.ones((1, 5))
    chosen = [working_sets(gradient, beta, lasso, np.zeros((1, 5)), np.array([room]), 0.9)[0] for room in (1, 2, 9)]
    assert [np.flatnonzero(mask).tolist() for mask in chosen] == [[1, 2], [1, 2, 3], [1, 2, 3, 4]]


def test_penalties_fall_evenly_and_weights_split_by_alpha() -> None:
    path = penalties(2.0, 3, 0.01)
    assert path == pytest.approx([2.0, 0.2, 0.02])
    lasso, ridge = elastic_weights(path, 0.25, np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0]]))
    assert lasso[1].tolist() == pytest.approx([0.1, 0.05])
    assert ridge[1].tolist() == pytest.approx([0.6, 0.15])
    assert lasso[0, 1] == BARRED


def test_of_equal_losses_the_larger_penalty_is_taken() -> None:
    mean, std_err = cross_validation_curve(np.array([[3.0, 3.0], [1.0, 1.4], [1.4, 1.0], [2.0, 0.6]]), np.ones(2))
    assert mean.tolist() == pytest.approx([3.0, 1.2, 1.2, 1.3])
    assert std_err[1] == pytest.approx(0.2)
    assert best_penalties(np.array([3.0, 1.2, 1.2, 1.3]), np.array([0.1, 0.2, 0.2, 0.2])) == (1, 1)
    assert best_penalties(np.array([3.0, 1.3, 1.2, 1.3]), np.array([0.1, 0.2, 0.2, 0.2])) == (2, 1)
