"""common: Benjamini-Hochberg adjusted p values equal SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from common.statistics.multiplicity import benjamini_hochberg, holm


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.05, 0.0, 1.0]), min_size=1, max_size=30), st.integers(0, 99))
def test_equals_scipy_and_tests_without_p_are_not_counted(values: list[float], seed: int) -> None:
    p = np.array(values)
    adjusted = benjamini_hochberg(p)
    np.testing.assert_allclose(adjusted, stats.false_discovery_control(p), rtol=1e-13)
    order = np.random.default_rng(seed).permutation(p.size + 3)
    gaps = np.concatenate([p, np.full(3, np.nan)])[order]
    np.testing.assert_array_equal(benjamini_hochberg(gaps), np.concatenate([adjusted, np.full(3, np.nan)])[order])


@pytest.mark.parametrize("bad", [-0.01, 1.01])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg(np.array([0.5, bad]))


def test_holm_s_adjustment_is_that_of_statsmodels():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005, 0.9])
    known = ~np.isnan(p)
    assert holm(p)[known] == pytest.approx(multipletests(p[known], method="holm")[1], abs=1e-15)
    assert np.isnan(holm(p)[2])
