"""common: mRMR selects what mrmr-selection selects on the pooled rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrmr import mrmr_classif
from sklearn.feature_selection import f_classif

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.mrmr import Criterion, rank, relevance
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def fitted(columns: dict[str, np.ndarray], y: np.ndarray, site: np.ndarray, *, within_site: bool) -> Any:
    port = federation_of(columns, {"y": y}, site)
    return conclude(port, [relevance(COHORT, Recipe(), "y", tuple(columns), within_site=within_site)])[0]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_equals_mrmr_selection_whatever_the_sites(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(120, 8)) @ rng.normal(size=(8, 8))
    y = (X[:, 0] + rng.normal(size=120) > 0).astype(np.float64)
    columns = {f"x{i}": X[:, i] for i in range(8)}
    site = rng.integers(0, 3, 120)
    fits = [fitted(columns, y, s, within_site=False) for s in (site, 2 - site, 2 * site + np.arange(120) % 2)]
    order = mrmr_classif(pd.DataFrame(columns), pd.Series(y), K=8, n_jobs=1, show_progress=False)
    assert [list(fit.select(8).selected_) for fit in fits] == [order] * 3
    assert fits[0].f_ == pytest.approx(f_classif(X, y)[0], rel=1e-9)
    assert fits[0].f_.tobytes() == fits[1].f_.tobytes()


def test_an_endpoint_that_only_differs_between_sites_has_no_relevance_within_them() -> None:
    rng = np.random.default_rng(1)
    site = np.repeat(np.arange(3), 80)
    y = (rng.random(240) < np.array([0.1, 0.5, 0.9])[site]).astype(np.float64)
    columns = {"scanner": rng.normal(size=240) + 3.0 * site, "disease": rng.normal(size=240) + 0.5 * y}
    assert fitted(columns, y, site, within_site=False).select(1).selected_ == ("scanner",)
    assert fitted(columns, y, site, within_site=True).select(1).selected_ == ("disease",)


def test_a_site_of_one_class_adds_nothing_and_all_of_one_class_is_an_error() -> None:
    rng = np.random.default_rng(2)
    site = np.repeat(np.arange(3), 30)
    y = np.where(site == 0, 0.0, np.arange(90) % 2)
    columns = {"a": rng.normal(size=90), "b": rng.normal(size=90)}
    both = fitted(columns, y, site, within_site=True)
    for s in (1, 2):
        columns["a"][site == s] -= columns["a"][site == s].mean()
    expected = float(columns["a"] @ (y - np.where(site == 0, 0, 0.5)))
    spread = np.square(columns["a"] - np.where(site == 0, columns["a"][site == 0].mean(), 0)).sum() * 15.0
    assert both.r_[0] == pytest.approx(expected / np.sqrt(spread), abs=1e-12)
    for constant, within in ((np.ones(90), False), (np.floor(site / 2), True)):
        with pytest.raises(FedmviError, match="602"):
            fitted(columns, constant, site, within_site=within)


def test_equal_scores_are_taken_in_declared_order_and_irrelevant_features_never() -> None:
    order, score, redundancy = rank(np.array([1.0, 2.0, 2.0, 0.0]), np.eye(4), 4, quotient=True)
    assert order == [1, 2, 0]
    assert np.isnan(redundancy[0])
    assert score.tolist() == [2.0, 2.0 / 0.001, 1.0 / 0.001]


def test_a_copy_comes_last_by_mutual_information() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(150) % 2.0
    best = rng.normal(size=150) + y
    columns = {"best": best, "copy": 2.0 * best, "weak": rng.normal(size=150) + 0.2 * y, "weaker": rng.normal(size=150)}
    fit = fitted(columns, y, np.arange(150) % 3, within_site=True)
    for criterion in (Criterion.MIQ, Criterion.MID):
        assert fit.select(4, criterion).selected_[-1] in ("best", "copy")
    assert fit.select(2).summary[0]["feature"] == "best"


def test_information_without_bound_still_gives_an_order() -> None:
    endless = np.where(np.eye(3) > 0, np.inf, np.array([[0, np.inf, 1], [np.inf, 0, 1], [1, 1, 0]]))
    assert rank(np.array([np.inf, np.inf, 1.0]), endless, 3, quotient=False)[0] == [0, 2, 1]
