"""common/statistics: what is said to be found with a power of 80 % is found in about 80 % of draws."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import chi2, fisher_exact, norm

from common.statistics.detectable import detectable_frequency, detectable_odds_ratio, smallest_detectable

LEVEL = 0.05 / 15


def test_a_difference_of_one_column_is_found_in_four_of_five_draws() -> None:
    rng, critical, found = np.random.default_rng(1), float(norm.isf(LEVEL / 2)), 0
    d = smallest_detectable(critical, 80, 400)
    for _ in range(2000):
        apart = rng.normal(d, 1, 80).mean() - rng.normal(0, 1, 400).mean()
        found += abs(apart) / np.sqrt(1 / 80 + 1 / 400) > critical
    assert 0.77 < found / 2000 < 0.83


def test_odds_that_differ_by_so_much_are_found_in_four_of_five_draws() -> None:
    rng, n = np.random.default_rng(2), 400
    linear = rng.normal(-0.3, 1.2, n)
    design = sm.add_constant(linear)
    weight = 1 / (1 + np.exp(-linear)) * (1 - 1 / (1 + np.exp(-linear)))
    covariance = np.linalg.inv(design.T @ (design * weight[:, None]))
    ratio = detectable_odds_ratio(covariance, LEVEL)
    found = 0
    for _ in range(400):
        y = (rng.random(n) < 1 / (1 + np.exp(-linear - np.log(ratio)))).astype(float)
        fit = sm.GLM(y, design, sm.families.Binomial()).fit()
        off = fit.params - [0.0, 1.0]
        found += off @ np.linalg.solve(fit.cov_params(), off) > chi2.isf(LEVEL, 2)
    assert 1.2 < ratio < 2.0 and 0.73 < found / 400 < 0.87


def test_a_frequency_that_is_higher_by_so_much_is_found_in_about_four_of_five_draws() -> None:
    rng, found = np.random.default_rng(3), 0
    more = detectable_frequency(100, 240, 600, LEVEL)
    assert more is not None and 0.15 < more < 0.3
    for _ in range(500):
        here, there = rng.binomial(100, 0.4 + more), rng.binomial(600, 0.4)
        found += fisher_exact([[here, 100 - here], [there, 600 - there]])[1] < LEVEL
    assert 0.7 < found / 500 < 0.86, "Fisher's exact test is a little less powerful than the arcsine says"


def test_where_no_frequency_would_be_found_none_is_told_and_fewer_patients_find_less() -> None:
    assert detectable_frequency(5, 380, 400, LEVEL) is None
    few, many = (detectable_frequency(n, 160, 400, LEVEL) for n in (40, 400))
    assert few is not None and many is not None and few > many
    wide, narrow = (detectable_odds_ratio(np.diag([v, v]), LEVEL) for v in (0.4, 0.1))
    assert np.log(wide) == pytest.approx(2.0 * np.log(narrow))
