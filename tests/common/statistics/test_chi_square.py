"""common: chi-square and Fisher's tests equal SciPy on the pooled table; small cells are marked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.chi_square import ClassTable, CrossTable, chi_square, class_chi_square, fisher_exact
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 4))
def test_any_table_over_any_sites_equals_scipy(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    n = 90
    a = rng.integers(0, rows, n).astype(float)
    b = np.where(rng.random(n) < 0.3, a % columns, rng.integers(0, columns, n)).astype(float)
    a[rng.random(n) < 0.1], b[rng.random(n) < 0.1] = np.nan, np.nan
    site = rng.integers(0, 3, n)
    # A level more is declared than occurs.
    (fit,) = conclude(
        federation_of({"a": a, "b": b}, {}, site), [chi_square(COHORT, Recipe(), ("a", "b"), (rows + 1, columns), 5)]
    )
    known = ~np.isnan(a) & ~np.isnan(b)
    table = np.zeros((rows + 1, columns), dtype=int)
    np.add.at(table, (a[known].astype(int), b[known].astype(int)), 1)
    assert (fit.table_ == table).all()
    assert (fit.small_ == ((table > 0) & (table < 5))).all()
    used = table[table.any(axis=1)]
    pooled = stats.chi2_contingency(used, correction=False)
    assert fit.chi2_ == pytest.approx(pooled.statistic, rel=1e-12)
    assert fit.p_ == pytest.approx(pooled.pvalue, rel=1e-10)
    assert fit.degrees_ == pooled.dof
    if used.shape == (2, 2):
        yates, fisher = stats.chi2_contingency(used, correction=True), stats.fisher_exact(used)
        assert fit.chi2_yates_ == pytest.approx(yates.statistic, rel=1e-10, abs=1e-14)
        assert fit.p_fisher_ == pytest.approx(fisher.pvalue, rel=1e-9)
        assert fit.odds_ratio_ == pytest.approx(fisher.statistic, rel=1e-12, nan_ok=True)
        assert len(fit.summary) == 3
    else:
        assert np.isnan(fit.chi2_yates_)
        assert np.isnan(fit.p_fisher_)


@pytest.mark.parametrize(
    "table", [[[8, 2], [1, 5]], [[0, 7], [9, 0]], [[10, 10], [10, 10]], [[3000, 2900], [1000, 1100]], [[5, 0], [3, 4]]]
)
def test_fisher_equals_scipy_also_at_the_ends_and_with_many_patients(table: list[list[int]]) -> None:
    odds_ratio, p = fisher_exact(np.array(table))
    pooled = stats.fisher_exact(table)
    assert p == pytest.approx(pooled.pvalue, rel=1e-8)
    assert odds_ratio == pooled.statistic


def test_a_column_of_one_level_has_no_test_and_no_patients_are_an_error() -> None:
    y = (np.arange(60) % 2).astype(float)
    port = federation_of({"a": np.ones(60), "none": np.full(60, np.nan)}, {"y": y}, np.arange(60) % 3)
    (fit,) = conclude(port, [class_chi_square(COHORT, Recipe(), "y", "a", 2, 5)])
    assert fit.table_.tolist() == [[0, 0], [30, 30]]
    assert fit.degrees_ == 0
    assert np.isnan([fit.chi2_, fit.p_, fit.p_fisher_]).all()
    with pytest.raises(FedmviError, match="601"):
        conclude(port, [class_chi_square(COHORT, Recipe(), "y", "none", 2, 5)])


def test_fields_must_fit() -> None:
    assert CrossTable(COHORT, Recipe(), ("a", "b"), (2, 3)).consistent()
    for columns, levels in ((("a", "a"), (2, 2)), (("a",), (2,)), (("a", "b"), (2,)), (("a", "b"), (2, 0))):
        assert not CrossTable(COHORT, Recipe(), columns, levels).consistent()
    assert not ClassTable(COHORT, Recipe(), "y", "a", 0).consistent()
