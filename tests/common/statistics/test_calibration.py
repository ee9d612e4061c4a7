"""common: calibration is that of the pooled patients, finite at risks of 0 and 1, and refuses what has no fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

from common.errors import FedmviError
from common.federation.query import Ask
from common.federation.runner import conclude
from common.statistics.calibration import (
    BinnedRisks,
    Calibration,
    RecalibrationSums,
    calibration,
    calibration_as_far,
    logit,
    spline,
)
from common.statistics.calibration_curve import calibration_curve
from common.statistics.hosmer_lemeshow import hosmer_lemeshow
from common.statistics.refinement import order_keys
from common.study.recipe import SCORE_DECIMALS, Recipe, logistic_function
from simulation.views import COHORT, federation_of


def cohort(n: int = 300, slope: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted risks, outcomes whose log odds are `slope` times the predicted ones, sites."""
    rng = np.random.default_rng(seed)
    linear = rng.normal(-0.5, 1.5, n)
    y = (rng.random(n) < logistic_function(slope * linear)).astype(np.float64)
    return logistic_function(linear), y, rng.integers(0, 3, n)


def fit_of(risk: np.ndarray, y: np.ndarray, site: np.ndarray) -> Any:
    port = federation_of({"p": risk}, {"y": y}, site)
    return conclude(port, [calibration(COHORT, Recipe(), "y", "p")])[0]


def test_the_fit_of_the_pooled_patients_themselves_is_calibrated_and_sites_do_not_matter() -> None:
    risk, y, site = cohort(slope=0.6)
    pooled = sm.Logit(y, sm.add_constant(logit(risk))).fit(disp=0, tol=1e-14)
    fit, other = fit_of(pooled.predict(), y, site), fit_of(pooled.predict(), y, np.arange(300) // 90)
    assert fit.slope_ == pytest.approx(1.0, abs=1e-9)
    assert fit.intercept_ == pytest.approx(0.0, abs=1e-9)
    assert fit.in_the_large_ == pytest.approx(0.0, abs=1e-9)
    assert fit.observed_to_expected[0] == pytest.approx(1.0, abs=1e-9)
    assert fit.slope_ == pytest.approx(other.slope_, abs=1e-12)
    assert fit_of(risk, y, site).slope_ == pytest.approx(pooled.params[1], abs=1e-10)


def test_missing_risks_are_left_out() -> None:
    risk, y, site = cohort()
    known = np.arange(300) % 10 != 0
    fit, only = fit_of(np.where(known, risk, np.nan), y, site), fit_of(risk[known], y[known], site[known])
    assert fit.n_ == known.sum()
    assert fit.slope_ == pytest.approx(only.slope_, abs=1e-12)
    assert fit.brier_ == pytest.approx(only.brier_, abs=1e-15)


def test_risks_of_0_and_1_keep_everything_finite() -> None:
    risk, y, site = cohort()
    risk[:6], y[:6] = [0, 1, 0, 1, 0, 1], [0, 1, 1, 0, 0, 1]
    fit = fit_of(risk, y, site)
    assert np.isfinite([fit.slope_, fit.intercept_, fit.in_the_large_, fit.expected_error]).all()
    assert fit.bin_n_.sum() == 300


def test_a_score_of_nought_lies_half_a_unit_of_its_last_decimal_away_and_is_not_the_whole_slope() -> None:
    """Two of 300 patients of whom the model was sure have the endpoint all the same."""
    risk, y, site = cohort(n=300, seed=8)
    risk, y[:2] = np.round(risk, SCORE_DECIMALS), 1.0
    slopes = []
    for score in (0.001, 0.0):
        risk[:2] = score
        kept = np.clip(risk, 5e-5, 1.0 - 5e-5)
        oracle = sm.Logit(y, sm.add_constant(np.log(kept / (1.0 - kept)))).fit(disp=0, tol=1e-14)
        fit = fit_of(risk, y, site)
        assert fit.slope_ == pytest.approx(oracle.params[1], rel=1e-9)
        slopes.append(fit.slope_)
    far = np.clip(risk, 1e-12, None)
    before = sm.Logit(y, sm.add_constant(np.log(far / (1.0 - far)))).fit(disp=0, tol=1e-14).params[1]
    assert abs(slopes[1] - slopes[0]) < 0.5 * abs(before - slopes[0])


def test_a_risk_on_an_edge_is_in_the_bin_below() -> None:
    risk = np.array([0.0, 0.1, 0.1, 0.2, np.nextafter(0.2, 1), 1.0, 0.9, 0.95, 0.5])
    fit = fit_of(np.tile(risk, 4), np.arange(36) % 2.0, np.arange(36) % 3)
    assert (fit.bin_n_ // 4).tolist() == [3, 1, 1, 0, 1, 0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("risk", "y", "number"),
    [
        (np.full(60, 0.3), np.arange(60) % 2.0, 603),
        (np.linspace(0.1, 0.9, 60), np.zeros(60), 602),
        (np.linspace(0.1, 0.9, 60), (np.arange(60) >= 30).astype(np.float64), 642),
    ],
)
def test_what_has_no_fit_is_refused(risk: np.ndarray, y: np.ndarray, number: int) -> None:
    with pytest.raises(FedmviError, match=str(number)):
        fit_of(risk, y, np.arange(60) % 3)


class Met:
    """Sites of which the question about a regression meets an error from some round on."""

    def __init__(self, port: Any, number: int, first: int) -> None:
        self.port, self.number, self.first, self.rounds = port, number, first, 0

    def ask(self, asks: Sequence[Ask]) -> list[Any]:
        self.rounds += 1
        replies = self.port.ask(asks)
        fits = [isinstance(one.question, RecalibrationSums) and self.rounds >= self.first for one in asks]
        error = FedmviError(self.number, cohort=COHORT, limit=5)
        return [error if bad else reply for bad, reply in zip(fits, replies, strict=True)]


def test_without_a_regression_the_table_of_risks_is_told_and_why_but_a_lost_site_is_an_error_of_all() -> None:
    risk, y, site = cohort()
    whole = fit_of(risk, y, site)

    def met(number: int, first: int, fit: Any = calibration_as_far) -> Any:
        port = Met(federation_of({"p": risk}, {"y": y}, site), number, first)
        return conclude(port, [fit(COHORT, Recipe(), "y", "p")])[0]

    for first in (1, 3):
        table, why = met(416, first)
        assert why.number == 416 and not isinstance(table, Calibration)
        assert table.summary == whole.summary[3:]
        with pytest.raises(FedmviError, match="416"):
            met(416, first, calibration)
    with pytest.raises(FedmviError, match="503"):
        met(503, 3)


def test_a_spline_is_a_line_beyond_its_outer_knots_and_bends_between() -> None:
    knots = np.array([-1.0, 0.0, 0.5, 2.0])
    for low, high in ((-9.0, -1.0), (2.0, 9.0)):
        basis = spline(np.linspace(low, high, 7), knots)
        assert np.abs(np.diff(basis, n=2, axis=0)).max() < 1e-12
    assert np.abs(np.diff(spline(np.linspace(-1, 2, 7), knots), n=2, axis=0)[:, 1:]).max() > 0.1
    assert spline(np.zeros(3), knots).shape == (3, 3)


def test_the_curve_of_a_linear_miscalibration_contains_it_and_names_no_bend() -> None:
    risk, y, site = cohort(n=4000, slope=0.5, seed=3)
    port = federation_of({"p": risk}, {"y": y}, site)
    (curve,) = conclude(port, [calibration_curve(COHORT, Recipe(), "y", "p", (0.1, 0.3, 0.5, 0.8))])
    grid = np.linspace(0.05, 0.9, 12)
    _, low, high = curve.at(grid)
    truth = logistic_function(0.5 * logit(grid))
    assert ((low < truth) & (truth < high)).mean() > 0.8
    chi2, degrees, p = curve.nonlinearity
    assert degrees == 2
    assert chi2 >= 0
    assert p > 0.01


def test_groups_of_a_tied_risk_stay_whole_and_sites_do_not_matter() -> None:
    risk, y, site = cohort(seed=5)
    risk = np.round(risk, 1).clip(0.05, 0.95)
    fits = [
        conclude(federation_of({"p": risk}, {"y": y}, s), [hosmer_lemeshow(COHORT, Recipe(), "y", "p")])[0]
        for s in (site, np.arange(300) // 110)
    ]
    assert fits[0].group_n_.tolist() == fits[1].group_n_.tolist()
    assert fits[0].chi2_ == pytest.approx(fits[1].chi2_, rel=1e-12)
    cuts = np.unique(np.quantile(risk, np.arange(1, 10) / 10))
    group = np.searchsorted(cuts, risk, side="left")
    assert fits[0].group_n_.tolist() == [int(n) for n in np.bincount(group) if n]
    assert fits[0].degrees_ == fits[0].group_n_.size


def test_a_fitted_models_test_has_two_degrees_fewer() -> None:
    risk, y, site = cohort()
    port = federation_of({"p": risk}, {"y": y}, site)
    outside, inside = conclude(
        port, [hosmer_lemeshow(COHORT, Recipe(), "y", "p", fitted=fitted) for fitted in (False, True)]
    )
    assert (outside.degrees_, inside.degrees_) == (10, 8)
    assert "Not recommended" in outside.note


def test_coefficients_and_knots_that_do_not_fit_together_are_refused() -> None:
    def sums(knots: int, coefficients: int, step: float = 1.0) -> RecalibrationSums:
        return RecalibrationSums(COHORT, Recipe(), "p", "y", step * np.arange(knots), np.zeros(coefficients))

    assert all(question.consistent() for question in (sums(0, 1), sums(0, 2), sums(4, 4)))
    for bad in (sums(0, 3), sums(0, 0), sums(4, 3), sums(2, 2), sums(9, 9), sums(4, 4, step=-1.0), sums(4, 4, step=0)):
        assert not bad.consistent()
    edges = order_keys(np.array([0.1, 0.2]))
    assert BinnedRisks(COHORT, Recipe(), "p", "y", edges).consistent()
    for bad_edges in (edges[::-1], order_keys(np.linspace(0, 1, 60))):
        assert not BinnedRisks(COHORT, Recipe(), "p", "y", bad_edges).consistent()
