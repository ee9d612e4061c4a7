"""common: sites' own fits are guarded, and combined as by the textbook."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.meta_analysis import combine_effects

from common.errors import FedmviError
from common.federation.query import each
from common.federation.runner import conclude
from common.statistics.random_effects import LogisticAlone, Method, meta_analysis, random_effects, reml
from common.study.recipe import Recipe
from simulation.views import COHORT, federation_of


def table_of(seed: int, n: int = 400) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, site = rng.normal(size=(n, 2)), rng.integers(0, 4, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-x[:, 0] * (1 + site) / 2))).astype(np.float64)
    return {"a": x[:, 0], "b": x[:, 1]}, y, site


def test_each_site_releases_its_own_fit_and_nothing_where_it_has_too_few_of_a_class() -> None:
    columns, y, site = table_of(0)
    y[site == 2] = 0.0
    y[np.flatnonzero(site == 2)[:4]] = 1.0
    columns["a"][site == 3] = y[site == 3] * 2 - 1  # separated
    port = federation_of(columns, {"y": y}, site)
    (fit,) = conclude(port, [random_effects(COHORT, Recipe(), "y", ("a", "b"), 5, 5)])
    assert fit.sites_ == ("site-0", "site-1")
    assert fit.left_out_ == ("site-2", "site-3")
    for label, estimates, variances in zip((0, 1), fit.estimates_, fit.variances_, strict=True):
        rows = site == label
        X = sm.add_constant(np.column_stack([columns["a"], columns["b"]])[rows])
        alone = sm.Logit(y[rows], X).fit(disp=0, tol=1e-14, maxiter=100)
        assert estimates == pytest.approx(alone.params, abs=1e-9)
        assert np.sqrt(variances) == pytest.approx(alone.bse, abs=1e-9)
    ask = each(LogisticAlone(COHORT, Recipe(), "y", ("a", "b"), 5, min_cell=5))
    parts = port.ask([ask])[0]
    assert parts["site-2"]["classes"].min() < 0  # four events are hidden
    for name in ("site-2", "site-3"):
        assert int(parts[name]["estimable"]) == 0
        assert not parts[name]["coef"].any()
        assert not parts[name]["covariance"].any()


def test_no_site_with_a_result_is_an_error() -> None:
    columns, y, site = table_of(1)
    with pytest.raises(FedmviError, match="601"):
        conclude(federation_of(columns, {"y": y}, site), [random_effects(COHORT, Recipe(), "y", ("a",), 500, 5)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_fixed_and_dersimonian_laird_equal_statsmodels(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    estimates, variances = rng.normal(size=k), rng.uniform(0.05, 1.0, k)
    theirs = combine_effects(estimates, variances, method_re="chi2", use_t=False)
    frame = theirs.summary_frame()
    random = "random effect" if theirs.tau2 > 0 else "fixed effect"  # it leaves a negative one as it is
    for method, row in ((Method.FIXED, "fixed effect"), (Method.DERSIMONIAN_LAIRD, random)):
        ours = meta_analysis(estimates, variances, method)
        assert ours.estimate_ == pytest.approx(frame.loc[row, "eff"], abs=1e-12)
        assert ours.std_err_ == pytest.approx(frame.loc[row, "sd_eff"], abs=1e-12)
        assert ours.interval == pytest.approx((frame.loc[row, "ci_low"], frame.loc[row, "ci_upp"]), abs=1e-9)
        assert ours.q_ == pytest.approx(theirs.q, abs=1e-9)
        assert ours.i2_ == pytest.approx(100 * max(0, theirs.i2), abs=1e-8)
    assert meta_analysis(estimates, variances, Method.DERSIMONIAN_LAIRD).tau2_ == pytest.approx(max(0, theirs.tau2))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(1e-3, 1e3))
def test_reml_maximises_the_restricted_likelihood(seed: int, k: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    estimates, variances = rng.normal(size=k) * scale, rng.uniform(0.05, 1.0, k) * scale**2
    tau2 = reml(estimates, variances)

    def restricted(tau2: float) -> float:
        weight = 1 / (variances + tau2)
        mean = weight @ estimates / weight.sum()
        return 0.5 * float(np.sum(np.log(weight)) - np.log(weight.sum()) - weight @ np.square(estimates - mean))

    assert tau2 >= 0
    best = restricted(tau2)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert restricted(tau2 * factor + (1e-3 * scale**2 if tau2 == 0 else 0)) <= best + 1e-12


def test_limits_that_one_or_two_sites_do_not_give_are_nan() -> None:
    for k, nan in ((1, (True, True)), (2, (False, True)), (3, (False, False))):
        fit = meta_analysis(np.arange(1.0, k + 1), np.ones(k), Method.REML)
        assert tuple(bool(np.isnan(limits[0])) for limits in (fit.hartung_knapp_, fit.prediction_)) == nan
        assert np.isnan(fit.tau2_limits_).all() == np.isnan(fit.i2_limits_).all() == nan[0]
    assert meta_analysis(np.ones(1), np.ones(1), Method.REML).estimate_ == 1.0


def test_limits_of_tau2_and_i2_are_those_printed_for_the_thirteen_trials_of_bcg() -> None:
    """Relative risks of tuberculosis (Colditz et al., JAMA 1994;271:698): REML 0.3132 (0.1197 to 1.1115), I2 92.2214
    (81.9177 to 97.6781), as the manual of R's metafor prints them for its `confint`, whose roots have four digits."""
    cases = np.array([4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27])
    well = np.array([119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886])
    control_cases = np.array([11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29])
    control_well = np.array([128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825])
    estimates = np.log(cases / (cases + well)) - np.log(control_cases / (control_cases + control_well))
    variances = 1 / cases - 1 / (cases + well) + 1 / control_cases - 1 / (control_cases + control_well)
    fit = meta_analysis(estimates, variances, Method.REML)
    assert np.round([fit.tau2_, *fit.tau2_limits_], 4).tolist() == [0.3132, 0.1197, 1.1115]
    assert [fit.i2_, *fit.i2_limits_] == pytest.approx([92.2214, 81.9177, 97.6781], abs=0.005)


def test_sites_that_agree_too_well_have_limits_at_nothing() -> None:
    assert meta_analysis(np.full(9, 0.4), np.ones(9), Method.REML).tau2_limits_ == (0.0, 0.0)
    low, high = meta_analysis(np.array([0.0, 1.5, 0.2, -1.0]), np.full(4, 0.5), Method.REML).i2_limits_
    assert low == 0.0 and high > 50.0
