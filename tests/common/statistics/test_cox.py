"""common: Cox regressions equal those of the pooled rows, whatever the ties, the sites and the strata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from statsmodels.duration.hazard_regression import PHReg

from common.errors import FedmviError
from common.federation.runner import conclude
from common.statistics.cox import CoxResiduals, CoxSums, cox
from common.statistics.cox_common_baseline import PooledResiduals, RiskSetSums, cox_common_baseline
from common.statistics.partial_likelihood import PartialLikelihood, Ties, share_of_hazard
from common.statistics.proportional_hazards import proportional_hazards
from common.study.recipe import Frame, Recipe
from simulation.exactness.measuring import same
from simulation.views import COHORT, federation_of


class Cohort:
    """Patients with tied times, some of them across sites."""

    def __init__(self, seed: int, n: int = 120, span: int = 12, sites: int = 4) -> None:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 3)) * (1.0, 20.0, 1.0) + (0.0, 60.0, 0.0)
        X[:, 2] = rng.integers(0, 2, n)
        hazard = np.exp(0.5 * X[:, 0] - 0.02 * (X[:, 1] - 60) + 0.4 * X[:, 2])
        self.X = X
        self.time = np.minimum(np.ceil(rng.exponential(span / 2 / hazard)), span)
        self.event = ((self.time < span) & (rng.random(n) < 0.8)).astype(float)
        self.site = rng.integers(0, sites, n)
        self.site[:sites] = np.arange(sites)

    names = ("a", "b", "c")

    @property
    def columns(self) -> dict[str, np.ndarray]:
        return dict(zip(self.names, self.X.T.copy(), strict=True))

    def port(self, site: np.ndarray | None = None, **columns: np.ndarray) -> Any:
        endpoints = {"os.time": self.time, "os.event": self.event}
        return federation_of({**self.columns, **columns}, endpoints, self.site if site is None else site)

    def run(self, make: Callable[..., Any], *args: Any, site: np.ndarray | None = None, **options: Any) -> Any:
        return conclude(self.port(site), [make(COHORT, Recipe(), "os", self.names, *args, **options)])[0]


GRID = (1.0, 20)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(Ties), st.integers(2, 40))
def test_the_partial_likelihood_is_that_of_statsmodels_at_any_coefficients(seed: int, ties: Ties, span: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 60))
    X, beta = rng.normal(size=(n, 3)), rng.normal(size=(4, 3))
    time, event = rng.integers(1, span + 1, n).astype(float), rng.integers(0, 2, n).astype(float)
    event[0] = 1.0
    ours = PartialLikelihood.of(time, event, X, beta, ties)
    theirs = PHReg(time, X, status=event, ties=ties.value)
    for i, b in enumerate(beta):
        assert ours.log_likelihood[i] == pytest.approx(theirs.loglike(b), rel=1e-10, abs=1e-10)
        assert ours.score()[i] == pytest.approx(theirs.score(b), rel=1e-9, abs=1e-9)
        assert ours.information()[i] == pytest.approx(-theirs.hessian(b), rel=1e-8, abs=1e-8)
    assert ours.score_residuals().sum(axis=0) == pytest.approx(ours.score(), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(Ties))
def test_a_common_baseline_does_not_know_of_sites_and_their_order_changes_no_bit(seed: int, ties: Ties) -> None:
    cohort = Cohort(seed)
    fit = cohort.run(cox_common_baseline, *GRID, ties=ties)
    other = cohort.run(cox_common_baseline, *GRID, ties=ties, site=3 - cohort.site)
    assert same(fit, other)
    split = cohort.run(cox_common_baseline, *GRID, ties=ties, site=cohort.site + 10 * (np.arange(120) % 2))
    for name in ("coef_", "std_err_", "robust_std_err_", "cumulative_hazard_"):
        assert getattr(split, name) == pytest.approx(getattr(fit, name), rel=1e-9, abs=1e-12)


def test_a_common_baseline_equals_lifelines() -> None:
    import pandas as pd

    cohort = Cohort(1)
    fit = cohort.run(cox_common_baseline, *GRID)
    frame = pd.DataFrame({**cohort.columns, "time": cohort.time, "event": cohort.event})
    pooled = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-12})
    assert fit.coef_ == pytest.approx(pooled.params_.to_numpy(), rel=1e-6)
    assert fit.std_err_ == pytest.approx(pooled.standard_errors_.to_numpy(), rel=1e-6)
    assert fit.likelihood_ratio[0] == pytest.approx(pooled.log_likelihood_ratio_test().test_statistic, rel=1e-8)
    assert fit.aic == pytest.approx(pooled.AIC_partial_, rel=1e-9)
    row = fit.summary[0]
    assert row["hazard_ratio_low"] < row["hazard_ratio"] == np.exp(row["coef"]) < row["hazard_ratio_high"]
    assert row["p"] == pytest.approx(pooled.summary["p"].iloc[0], rel=1e-5)


def test_sites_are_strata_and_their_order_changes_no_bit() -> None:
    cohort = Cohort(2)
    fit = cohort.run(cox)
    assert same(fit, cohort.run(cox, site=3 - cohort.site))
    alone = conclude(
        cohort.port(np.zeros(120, dtype=int), ward=cohort.site.astype(float)),
        [cox(COHORT, Recipe(), "os", cohort.names, strata=("ward",))],
    )[0]
    for name in ("coef_", "std_err_", "robust_std_err_"):
        assert getattr(alone, name) == pytest.approx(getattr(fit, name), rel=1e-9)


@pytest.mark.parametrize(("make", "args"), [(cox, ()), (cox_common_baseline, GRID)])
def test_separated_deaths_are_told_and_not_fitted(make: Callable[..., Any], args: tuple[float, ...]) -> None:
    cohort = Cohort(3)
    cohort.X[:, 2] = np.where(cohort.event == 1.0, cohort.X[:, 2], 1.0)
    cohort.X[cohort.event == 1.0, 2] = 0.0
    fit = cohort.run(make, *args)
    assert fit.separated_
    assert np.isnan(fit.coef_).all()
    assert np.isnan(fit.robust_std_err_).all()


@pytest.mark.parametrize(("make", "args"), [(cox, ()), (cox_common_baseline, GRID)])
def test_a_constant_column_and_an_endpoint_without_events_are_refused(
    make: Callable[..., Any], args: tuple[float, ...]
) -> None:
    cohort = Cohort(4)
    cohort.X[:, 1] = 7.0
    with pytest.raises(FedmviError, match="603"):
        cohort.run(make, *args)
    cohort = Cohort(4)
    cohort.X[:, 1] = 2.0 * cohort.X[:, 0] - 1.0
    with pytest.raises(FedmviError, match="603"):
        cohort.run(make, *args)
    cohort = Cohort(4)
    cohort.event[:] = 0.0
    with pytest.raises(FedmviError, match="602"):
        cohort.run(make, *args)
    cohort.event[0] = np.nan
    with pytest.raises(FedmviError, match="655"):
        cohort.run(make, *args)


def test_a_column_of_the_site_has_an_effect_only_across_sites() -> None:
    cohort = Cohort(5)
    cohort.X[:, 1] = cohort.site
    with pytest.raises(FedmviError, match="603"):
        cohort.run(cox)
    assert np.isfinite(cohort.run(cox_common_baseline, *GRID).coef_).all()


def test_a_time_beyond_the_grid_is_refused() -> None:
    with pytest.raises(FedmviError, match="312"):
        Cohort(6).run(cox_common_baseline, 1.0, 5)


def test_a_site_without_events_adds_nothing_to_a_stratified_fit() -> None:
    cohort = Cohort(7)
    cohort.event[cohort.site == 2] = 0.0
    fit = cohort.run(cox)
    rest = cohort.site != 2
    part = federation_of(
        {name: values[rest] for name, values in cohort.columns.items()},
        {"os.time": cohort.time[rest], "os.event": cohort.event[rest]},
        cohort.site[rest],
    )
    (other,) = conclude(part, [cox(COHORT, Recipe(), "os", cohort.names)])
    assert fit.coef_ == pytest.approx(other.coef_, rel=1e-9)
    assert fit.robust_std_err_ == pytest.approx(other.robust_std_err_, rel=1e-9)
    assert (fit.n_, fit.events_) == (120, other.events_)


def queries() -> tuple[CoxSums, CoxResiduals, RiskSetSums, PooledResiduals]:
    here = (COHORT, Recipe(), "os", ("a", "b"))
    points, rows, table = np.array([1, 3], dtype=np.uint64), np.ones(2), np.zeros((2, 2))
    inside = (*here, (), Ties.EFRON, np.zeros(2))
    across = (*here, 1.0, 9, points, np.zeros(2))
    return (
        CoxSums(*inside),
        CoxResiduals(*inside),
        RiskSetSums(*across, np.array([1], dtype=np.uint64)),
        PooledResiduals(*across, table, rows, rows, table, table),
    )


def test_fields_that_do_not_fit_together_are_refused() -> None:
    sums, residuals, risk_sets, pooled = queries()
    for query in (sums, residuals, risk_sets, pooled):
        assert query.consistent()
        assert not replace(query, coefficients=np.zeros(3)).consistent()
        assert not replace(query, columns=(), coefficients=np.zeros(0)).consistent()
    keys = [np.array(values, dtype=np.uint64) for values in ([], [3, 1], [1, 1], [1, 9])]
    for points in keys:
        assert not replace(risk_sets, points=points).consistent()
        assert not replace(pooled, points=points).consistent()
    for tied in ([2], [1, 0]):
        assert not replace(risk_sets, tied=np.array(tied, dtype=np.uint64)).consistent()
    for name in ("mean", "increment", "discount", "drift", "drift_discount"):
        assert not replace(pooled, **{name: np.ones((3, 2))}).consistent()
    assert not replace(pooled, increment=np.array([1.0, 0.0])).consistent()


@pytest.mark.parametrize("n", [0, 6])
def test_a_site_without_patients_or_without_events_answers_with_zeros(n: int) -> None:
    columns = {"a": np.arange(n) * 1.0, "b": np.ones(n)}
    frame = Frame(columns, {"os.time": np.arange(n) + 1.0, "os.event": np.zeros(n)}, n)
    for query in queries()[:2]:
        for name, values in query.answer(frame).items():
            assert name == "n" or not values.any()
    assert not queries()[2].answer(frame)["dying"].any()
    assert queries()[3].answer(frame)["square"].shape == (3,)


def test_who_dies_alone_is_not_sent_by_name_of_time() -> None:
    frame = Frame(
        {"a": np.arange(4.0), "b": np.ones(4)},
        {"os.time": np.array([1.0, 3.0, 3.0, 5.0]), "os.event": np.array([1.0, 1.0, 1.0, 0.0])},
        4,
    )
    dying = queries()[2].answer(frame)["dying"]
    assert dying.shape == (1, 6)
    assert dying[0].tolist() == [2.0, 3.0, 2.0, 5.0, 3.0, 2.0]


def test_coefficients_that_let_one_patient_stand_for_all_show_in_their_influence() -> None:
    frame = Frame(
        {"a": np.append(np.zeros(29), 9.0), "b": np.zeros(30)},
        {"os.time": np.ones(30), "os.event": np.ones(30)},
        30,
    )
    for query in queries()[:3]:
        assert query.influence(frame).sum() == pytest.approx(30)
        assert replace(query, coefficients=np.array([3.0, 0.0])).influence(frame).sum() < 2
    late = replace(queries()[3], increment=np.array([1e-9, 1.0]))
    times = replace(frame, endpoints={"os.time": np.append(np.ones(29), 3.0), "os.event": np.ones(30)})
    assert late.influence(times).sum() < 2
    assert share_of_hazard(np.zeros(3)).sum() == 0


@pytest.mark.parametrize("horizon", [4.0, 4.5])
def test_a_horizon_censors_whoever_is_followed_longer(horizon: float) -> None:
    """Fit and test of proportional hazards are those of rows censored before: the events at the horizon count."""
    early, cut = Cohort(11), Cohort(11)
    late = cut.time > horizon
    cut.time, cut.event = np.where(late, horizon, cut.time), np.where(late, 0.0, cut.event)
    fit, oracle = early.run(cox, horizon=horizon), cut.run(cox)
    assert fit.events_ == oracle.events_ < early.run(cox).events_
    assert fit.coef_ == pytest.approx(oracle.coef_, rel=1e-12)
    assert fit.robust_std_err_ == pytest.approx(oracle.robust_std_err_, rel=1e-12)
    if horizon == 4.0:  # recorded times are on the grid
        test, theirs = early.run(proportional_hazards, *GRID, horizon=horizon), cut.run(proportional_hazards, *GRID)
        assert test.chi2_ == pytest.approx(theirs.chi2_, rel=1e-9)
