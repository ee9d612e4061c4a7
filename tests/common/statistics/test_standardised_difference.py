"""common/statistics: standardised differences against their definitions on rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from common.statistics.standardised_difference import of_means, of_shares


def test_differences_of_levels_are_mahalanobis_distances() -> None:
    first, second = np.array([30, 20, 10]), np.array([20, 25, 30])
    p, q = first / first.sum(), second / second.sum()
    spread = [np.cov(np.repeat(np.eye(3)[:, 1:], counts, axis=0).T, bias=True) for counts in (first, second)]
    wanted = mahalanobis(p[1:], q[1:], np.linalg.inv((spread[0] + spread[1]) / 2))
    assert of_shares(first, second) == pytest.approx(wanted, rel=1e-12)
    assert of_shares(first[::-1], second[::-1]) == pytest.approx(wanted, rel=1e-12), "whichever level is the reference"
    assert of_shares(np.array([30, 0, 20]), np.array([10, 0, 40])) == pytest.approx(
        of_shares(np.array([30, 20]), np.array([10, 40])), rel=1e-12
    ), "a level that nobody has does not count"
    assert of_shares(first, first) == 0.0
    assert math.isnan(of_shares(np.array([10, 0]), np.array([0, 10]))), "all of one against all of the other"
    assert math.isnan(of_shares(np.array([0, 0]), np.array([5, 5])))
    assert math.isnan(of_means((1.0, 0.0), (1.0, 0.0)))
