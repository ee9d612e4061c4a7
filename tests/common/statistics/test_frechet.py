"""common: the Frechet distance equals that of pooled rows by a matrix root, and its bias is that of the halves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.frechet import frechet, frechet_distance, frechets
from common.statistics.projection import Halves, halves
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.views import COHORT, federation_of

NAMES = ("a", "b", "c", "d")


def sums(rows: FloatArray) -> Halves:
    """The sums of a cohort over three sites, with halves dealt in turn."""
    columns = dict(zip(NAMES, rows.T, strict=False)) | {"fold": np.arange(len(rows)) % 10.0}
    port = federation_of(columns, {}, np.arange(len(rows)) % 3)
    return conclude(port, [halves(COHORT, Recipe(), NAMES[: rows.shape[1]])])[0]


def by_rows(one: FloatArray, other: FloatArray) -> float:
    covariances = [np.cov(rows.T) for rows in (one, other)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    apart = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    return float(apart + np.trace(covariances[0] + covariances[1] - 2.0 * root))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_it_is_the_distance_of_pooled_rows_by_a_matrix_root(seed: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(60, p)) @ rng.normal(size=(p, p)) + rng.normal(size=p)
    other = rng.normal(size=(45, p)) @ rng.normal(size=(p, p))
    found = frechet(sums(one), sums(other))
    assert found.distance_ == pytest.approx(by_rows(one, other), rel=1e-7, abs=1e-9)
    assert found.halves_[0] == pytest.approx(by_rows(one[0::2], one[1::2]), rel=1e-7, abs=1e-9)
    assert found.distance_ == pytest.approx(frechet(sums(other), sums(one)).distance_, rel=1e-9, abs=1e-9)
    assert frechets([sums(one), sums(other)])[0] == found


def test_two_normals_on_one_line_are_apart_by_their_means_and_deviations() -> None:
    found = frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[9.0]]))
    assert found == pytest.approx((1.0 - 3.0) ** 2 + (2.0 - 3.0) ** 2)


def test_singular_covariances_have_a_distance() -> None:
    flat = np.diag([1.0, 0.0])
    assert frechet_distance(np.zeros(2), flat, np.zeros(2), flat) == pytest.approx(0.0, abs=1e-12)
    assert frechet_distance(np.zeros(2), flat, np.zeros(2), np.diag([0.0, 4.0])) == pytest.approx(5.0)


def test_cohorts_that_do_not_differ_are_as_far_apart_as_their_halves_tell() -> None:
    """Over many draws the bias is met; with a difference of half a standard deviation along one axis it is exceeded."""
    rng = np.random.default_rng(11)
    alike, moved = [], []
    for _ in range(120):
        one, other = rng.normal(size=(160, 4)), rng.normal(size=(80, 4))
        alike.append(frechet(sums(one), sums(other)))
        moved.append(frechet(sums(one), sums(other + np.array([0.5, 0.0, 0.0, 0.0]))))
    distance, expected = (np.mean([getattr(f, name) for f in alike]) for name in ("distance_", "expected_"))
    assert distance > 0.08  # by chance alone
    assert expected == pytest.approx(distance, rel=0.1)
    assert np.mean([f.excess for f in moved]) == pytest.approx(0.25, rel=0.1)


def test_a_half_of_one_patient_has_no_covariance() -> None:
    few = Halves(("a",), np.array([1, 5]), np.zeros((2, 1)), np.ones((2, 1, 1)))
    with pytest.raises(FedmviError, match="601"):
        frechet(few, few)
