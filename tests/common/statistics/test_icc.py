"""common: intraclass correlations equal their analysis of variance, and small sites are left out and counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.codec import pack, unpack
from common.federation.runner import conclude
from common.statistics.icc import (
    Agreement,
    Form,
    MeanSquares,
    SiteAgreement,
    agreement,
    pooled_agreement,
    table_sums,
)
from common.study.recipe import Frame, Recipe
from simulation.views import COHORT, federation_of

# Shrout & Fleiss 1979, table 2: six targets, four judges.
TARGETS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=np.float64
)
JUDGES = (("a",), ("b",), ("c",), ("d",))


def columns_of(readings: np.ndarray) -> dict[str, np.ndarray]:
    return {name: readings[:, i] for i, (name,) in enumerate(JUDGES[: readings.shape[1]])}


def pooled(readings: np.ndarray, site: np.ndarray, form: Form) -> Any:
    readers = JUDGES[: readings.shape[1]]
    fit = conclude(federation_of(columns_of(readings), {}, site), [pooled_agreement(COHORT, Recipe(), readers)])[0]
    return fit.agreement(form)


@pytest.mark.parametrize(("form", "published"), [(Form.ICC1, 0.17), (Form.ICC2, 0.29), (Form.ICC3, 0.71)])
def test_the_table_of_shrout_and_fleiss(form: Form, published: float) -> None:
    fit = pooled(TARGETS, np.arange(6) % 3, form)
    assert round(float(fit.icc_[0]), 2) == published
    assert fit.low_[0] < fit.icc_[0] < fit.high_[0]
    assert (fit.n_[0], fit.sites_[0], fit.left_out_[0]) == (6, 3, 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-5, 1.0, 1e5]))
def test_sites_order_splits_scale_and_missing_readings(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    readings = 7.0 + rng.normal(size=(80, 1)) + 0.4 * rng.normal(size=(80, 3))
    readings[rng.integers(0, 80, 6), 2] = np.nan
    site = rng.integers(0, 3, 80)
    complete = readings[~np.isnan(readings).any(axis=1)]
    for form in Form:
        fit = pooled(scale * readings, site, form)
        alone = MeanSquares.of(table_sums(Frame(columns_of(complete), {}, len(complete)), JUDGES[:3]))
        assert fit.icc_[0] == pytest.approx(alone.icc(form)[0], abs=1e-11)
        assert fit.n_[0] == len(complete)
        assert pooled(scale * readings, 2 - site, form).icc_[0] == fit.icc_[0]
        assert pooled(scale * readings, 2 * site + np.arange(80) % 2, form).icc_[0] == pytest.approx(
            fit.icc_[0], abs=1e-12
        )


def test_the_truncated_form_ignores_readers_who_differ_less_than_chance() -> None:
    rng = np.random.default_rng(0)
    readings = rng.normal(size=(60, 1)) + rng.normal(size=(60, 2))
    readings -= readings.mean(axis=0)  # no difference between readers at all
    site = np.arange(60) % 3
    plain, cut = pooled(readings, site, Form.ICC2), pooled(readings, site, Form.ICC2_TRUNCATED)
    assert plain.icc_[0] > cut.icc_[0]
    assert cut.icc_[0] == pytest.approx(pooled(readings, site, Form.ICC3).icc_[0], abs=1e-12)
    readings[:, 1] += 2.0
    assert pooled(readings, site, Form.ICC2).icc_[0] == pooled(readings, site, Form.ICC2_TRUNCATED).icc_[0]


def by_site(readings: np.ndarray, site: np.ndarray, form: Form = Form.ICC2) -> Any:
    readers = JUDGES[: readings.shape[1]]
    return conclude(federation_of(columns_of(readings), {}, site), [agreement(COHORT, Recipe(), readers, form)])[0]


def test_a_site_of_fewer_than_thirty_lesions_is_left_out_and_counted() -> None:
    rng = np.random.default_rng(1)
    readings = rng.normal(size=(129, 1)) + 0.3 * rng.normal(size=(129, 2))
    site = np.repeat(np.arange(3), [29, 40, 60])
    fit = by_site(readings, site)
    assert (fit.n_[0], fit.sites_[0], fit.left_out_[0]) == (100, 2, 1)
    large = [MeanSquares.of(table_sums(Frame(columns_of(readings[site == s]), {}, n), JUDGES[:2])) for s, n in
             ((1, 40), (2, 60))]  # fmt: skip
    z = [np.arctanh(table.icc(Form.ICC2)[0]) for table in large]
    assert fit.icc_[0] == pytest.approx(np.tanh((38 * z[0] + 58 * z[1]) / 96), abs=1e-12)
    assert by_site(readings, 2 - site).icc_[0] == fit.icc_[0]


def test_no_site_large_enough_is_an_error() -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(FedmviError, match="618"):
        by_site(rng.normal(size=(60, 2)), np.arange(60) % 3)


def test_a_feature_that_is_constant_at_a_site_is_left_out_there_and_equal_readings_agree_fully() -> None:
    rng = np.random.default_rng(3)
    site = np.repeat(np.arange(3), 40)
    same = np.where(site == 0, 0.1, rng.normal(size=120))
    fit = by_site(np.column_stack([same, same]), site)
    assert (fit.sites_[0], fit.left_out_[0]) == (2, 1)
    assert fit.icc_[0] > 1 - 1e-8
    whole = pooled(np.column_stack([same, same]), site, Form.ICC2)
    assert (whole.icc_[0], whole.low_[0], whole.high_[0]) == (1.0, 1.0, 1.0)


def test_features_are_called_reproducible_by_coefficient_or_by_its_lower_end() -> None:
    numbers = (np.array([0.75, 0.8, np.nan]), np.array([0.6, 0.76, np.nan]), np.array([0.9, 0.9, np.nan]))
    fit = Agreement(("a", "b", "c"), Form.ICC2, *numbers, np.ones(3), np.ones(3), np.zeros(3))
    assert fit.reproducible() == ("a", "b")
    assert fit.reproducible(lower=True) == ("b",)
    assert [row["feature"] for row in fit.summary] == ["a", "b", "c"]


def test_readers_that_do_not_match_are_refused() -> None:
    sound = SiteAgreement(COHORT, Recipe(), (("a@1", "b@1"), ("a@2", "b@2")), Form.ICC3)
    assert sound.consistent()
    assert unpack(pack(sound, SiteAgreement), SiteAgreement) == sound
    for readers in ((("a@1",),), (("a@1", "b@1"), ("a@2",)), (("a@1",), ("a@1",)), ((), ())):
        assert not replace(sound, readers=readers).consistent()
