"""common: Cohen's kappa of the sites' tables equals scikit-learn and statsmodels; small cells are not told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.kappa import Kappa, ReaderTable, reader_kappa
from common.study.features import second_reading
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def fit(first: np.ndarray, second: np.ndarray, site: np.ndarray, levels: int = 2, min_sites: int = 3) -> Kappa:
    port = federation_of({"x": first, second_reading("x"): second}, {}, site)
    query = ReaderTable(COHORT, Recipe(), "x", levels, 5)
    (found,) = conclude(port, [reader_kappa(query, min_sites=min_sites)])
    assert isinstance(found, Kappa)
    return found


def readings(seed: int, levels: int, agree: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, guessed = rng.integers(0, levels, (2, n)).astype(float)
    return first, np.where(rng.random(n) < agree, first, guessed)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.floats(0.0, 0.7))
def test_kappa_interval_and_agreement_over_any_sites_equal_the_libraries(seed: int, levels: int, agree: float) -> None:
    first, second = readings(seed, levels, agree, 3000)
    first[:200], second[2500:] = np.nan, np.nan
    site = np.random.default_rng(seed).integers(0, 3, 3000)
    ours, both = fit(first, second, site, levels), ~np.isnan(first) & ~np.isnan(second)
    table = np.zeros((levels, levels))
    np.add.at(table, (first[both].astype(int), second[both].astype(int)), 1)
    theirs = cohens_kappa(table)
    assert (ours.table_ == table).all()
    assert ours.kappa_ == pytest.approx(cohen_kappa_score(first[both], second[both]), abs=1e-9)
    assert ours.kappa_ == pytest.approx(theirs.kappa, abs=1e-9)
    assert ours.std_err_ == pytest.approx(theirs.std_kappa, abs=1e-9)
    assert ours.interval == pytest.approx((theirs.kappa_low, theirs.kappa_upp), abs=1e-9)
    assert ours.agreement_ == pytest.approx((first[both] == second[both]).mean(), abs=1e-12)
    assert (ours.n_, ours.sites_, ours.left_out_) == (int(both.sum()), 3, 0)
    again = fit(first, second, 2 - site, levels)
    assert again.summary == ours.summary, "the order of sites changes nothing"


def test_a_site_with_few_second_readings_or_a_rare_level_is_left_out_and_counted() -> None:
    first, second = readings(1, 2, 0.7, 600)
    site = np.arange(600) % 5
    second[(site == 3) & (np.arange(600) > 100)] = np.nan  # 20 patients
    rare = np.flatnonzero(site == 4)
    first[rare], second[rare] = 0.0, 0.0
    first[rare[:3]] = 1.0
    found = fit(first, second, site)
    assert (found.sites_, found.left_out_) == (3, 2)
    left = site < 3
    assert found.n_ == 360
    assert found.kappa_ == pytest.approx(cohen_kappa_score(first[left], second[left]), abs=1e-12)
    with pytest.raises(FedmviError, match="652"):
        fit(first, second, site, min_sites=4)


def test_a_table_with_few_disagreements_is_not_told_nor_one_that_leaves_few_patients() -> None:
    first, site = np.arange(300) % 2.0, np.arange(300) // 2 % 3
    second = first.copy()
    assert fit(first, second, site).kappa_ == 1.0  # none is not few
    second[:8] = 1.0 - second[:8]
    with pytest.raises(FedmviError, match="653"):  # four of each kind
        fit(first, second, site)
    second[8:12] = 1.0 - second[8:12]
    assert fit(first, second, site).agreement_ == pytest.approx(0.96)
    second[20:24] = np.nan  # two of each level, of whom only the first reading is known
    with pytest.raises(FedmviError, match="653"):
        fit(first, second, site)


def test_full_agreement_has_no_interval_and_one_level_no_kappa() -> None:
    site, first = np.arange(300) % 3, np.arange(300) // 3 % 2.0
    alike = fit(first, first, site)
    assert (alike.kappa_, alike.agreement_) == (1.0, 1.0)
    assert np.isnan(alike.interval).all()
    one = fit(np.zeros(300), np.zeros(300), site)
    assert one.agreement_ == 1.0
    assert np.isnan([one.kappa_, one.std_err_, *one.interval]).all()
    assert one.summary[0]["patients"] == 300


def test_a_site_may_only_be_stricter_and_fields_must_fit() -> None:
    query = ReaderTable(COHORT, Recipe(), "x", 2, 5)
    assert query.consistent()
    assert (query.stricter(9).min_cell, query.stricter(3).min_cell) == (9, 5)
    assert not ReaderTable(COHORT, Recipe(), "x", 1, 5).consistent()
    assert not ReaderTable(COHORT, Recipe(), "x", 2, 0).consistent()
