"""common: correlations equal the pooled or residualised ones, and filters keep what their rules say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.correlation import Correlation, CrossProducts, Keep, correlation
from common.study.recipe import Complete, Recipe
from simulation.views import COHORT, federation_of


def fitted(columns: dict[str, np.ndarray], site: np.ndarray, recipe: Recipe | None = None, **options: bool) -> Any:
    port = federation_of(columns, {}, site)
    return conclude(port, [correlation(COHORT, recipe or Recipe(), tuple(columns), **options)])[0]


def of_matrix(r: np.ndarray) -> Correlation:
    return Correlation(tuple("abcdefgh"[: len(r)]), r, np.ones(len(r)), 50, 3, 46)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 1.0, 1e6]), st.booleans())
def test_sites_scale_and_offset(seed: int, scale: float, within: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(90, 4)) @ rng.normal(size=(4, 4))
    site = rng.integers(0, 3, 90)
    X += 3.0 * site[:, None] * rng.normal(size=4)
    columns = {f"x{i}": X[:, i] for i in range(4)}
    fit = fitted(columns, site, within_site=within)
    centred = X.copy()
    for s in range(3) if within else []:
        centred[site == s] -= X[site == s].mean(axis=0)
    assert np.max(np.abs(fit.r_ - np.corrcoef(centred, rowvar=False))) < 1e-12
    assert fit.degrees_ == (90 - 3 - 1 if within else 88)
    assert fitted(columns, 2 - site, within_site=within).r_.tobytes() == fit.r_.tobytes()
    moved = fitted({**columns, "x1": columns["x1"] * scale + 10 * scale}, site, within_site=within)
    assert np.max(np.abs(moved.r_ - fit.r_)) < 1e-11


def test_splitting_a_site_changes_only_the_correlation_within_sites(breast: Any) -> None:
    split = breast.site * 2 + np.arange(breast.site.size) % 2
    columns = {name: breast.columns[name] for name in breast.names[:5]}
    pooled = [fitted(columns, site, within_site=False).r_ for site in (breast.site, split)]
    assert np.max(np.abs(pooled[0] - pooled[1])) < 1e-13
    within = [fitted(columns, site).r_ for site in (breast.site, split)]
    assert np.max(np.abs(within[0] - within[1])) > 1e-6


def test_a_difference_between_sites_is_no_correlation_within_them() -> None:
    rng = np.random.default_rng(2)
    site = np.repeat(np.arange(3), 60)
    columns = {name: rng.normal(size=180) + 10.0 * site for name in "ab"}
    assert fitted(columns, site, within_site=False).r_[0, 1] > 0.9
    assert abs(fitted(columns, site).r_[0, 1]) < 0.2


def test_incomplete_patients_are_left_out_by_the_recipe() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 2))
    X[::7, 1] = np.nan
    columns = {"a": X[:, 0], "b": X[:, 1]}
    fit = fitted(columns, np.arange(80) % 3, Recipe((Complete(("a", "b"), ()),)), within_site=False)
    complete = X[~np.isnan(X[:, 1])]
    assert fit.n_ == len(complete)
    assert fit.r_[0, 1] == pytest.approx(np.corrcoef(complete, rowvar=False)[0, 1], abs=1e-13)


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1])
def test_a_constant_column_is_named_and_so_is_one_that_is_constant_within_sites(value: float) -> None:
    rng = np.random.default_rng(4)
    site = np.arange(90) % 3
    for constant in (np.full(90, value), value + site):
        with pytest.raises(FedmviError, match="616") as caught:
            fitted({"a": rng.normal(size=90), "b": constant}, site)
        assert caught.value.facts["column"] == "b"
    assert fitted({"a": rng.normal(size=90), "b": value + site}, site, within_site=False).r_.shape == (2, 2)


def test_more_columns_than_a_third_of_the_patients_are_refused() -> None:
    rng = np.random.default_rng(5)
    columns = {f"x{i}": rng.normal(size=60) for i in range(20)}
    with pytest.raises(FedmviError, match="615"):
        fitted(columns, np.arange(60) % 3)
    assert CrossProducts(COHORT, Recipe(), tuple(columns), within_site=True).parameters == 20


def test_the_first_of_a_correlated_pair_is_kept_or_the_one_of_higher_priority() -> None:
    r = np.array([[1.0, 0.95, 0.0], [0.95, 1.0, -0.92], [0.0, -0.92, 1.0]])
    assert of_matrix(r).kept(0.9) == ("a", "c")
    assert of_matrix(r).kept(0.9, priority=[0.5, 0.01, 0.5]) == ("b",)
    assert of_matrix(r).kept(0.9, priority=[0.2, 0.2, 0.1]) == ("a", "c")
    assert of_matrix(r).kept(0.92) == ("a", "c")
    assert of_matrix(r).kept(0.95) == ("a", "b", "c")


def test_the_column_that_is_more_correlated_on_average_is_dropped() -> None:
    r = np.array([[1.0, 0.95, 0.1], [0.95, 1.0, 0.8], [0.1, 0.8, 1.0]])
    assert of_matrix(r).kept(0.9, Keep.LESS_CORRELATED) == ("a", "c")
    assert of_matrix(r[::-1, ::-1]).kept(0.9, Keep.LESS_CORRELATED) == ("a", "c")
    with pytest.raises(FedmviError, match="501"):
        of_matrix(r).kept(0.9, Keep.LESS_CORRELATED, priority=[1, 2, 3])


def test_no_kept_pair_is_above_the_threshold_and_every_dropped_column_is_near_a_kept_one(breast: Any) -> None:
    fit = fitted(breast.columns, breast.site)
    for rule in Keep:
        kept = [breast.names.index(name) for name in fit.kept(0.6, rule)]
        size = np.abs(fit.r_)
        assert np.max(size[np.ix_(kept, kept)] - np.eye(len(kept))) <= 0.6
        dropped = [i for i in range(30) if i not in kept]
        if rule is Keep.FIRST:
            assert np.all(size[np.ix_(dropped, kept)].max(axis=1) > 0.6)


def test_summary_has_every_pair_once(breast: Any) -> None:
    rows = fitted({name: breast.columns[name] for name in breast.names[:4]}, breast.site).summary
    assert len({(row["first"], row["second"]) for row in rows}) == 6
    assert all(0 <= row["p"] <= 1 for row in rows)
