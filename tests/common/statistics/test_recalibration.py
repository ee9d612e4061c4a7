"""common: a recalibration is what closed tests of the pooled patients choose, and its slope is shrunk towards 1."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from common.errors import FedmviError
from common.federation.query import each
from common.federation.runner import conclude
from common.statistics.calibration import logit
from common.statistics.recalibration import Method, RecalibrationResult, Rule, closed_tests, recalibrate, shrinkage
from common.statistics.recalibration_alone import RecalibrationAlone, read_recalibration
from common.study.recipe import Recipe, logistic_function
from simulation.views import COHORT, federation_of

COLUMNS = ("x0", "x1", "x2")
TRUE = np.array([0.9, -0.7, 0.5])


class Patients:
    """Predicted risks of one formula, and outcomes by another: `intercept + slope * predicted`, or `coefficients`."""

    def __init__(
        self, n: int, intercept: float = 0.0, slope: float = 1.0, coefficients: np.ndarray = TRUE, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.x, self.site = rng.normal(size=(n, 3)), rng.integers(0, 3, n)
        self.risk = logistic_function(-0.3 + self.x @ TRUE)
        observed = intercept + slope * (-0.3 + self.x @ coefficients)
        self.y = (rng.random(n) < logistic_function(observed)).astype(np.float64)

    def fit(self, rule: Rule = Rule.CLOSED_TESTING, *, refit: bool = True, cut: np.ndarray | None = None):
        columns = {"p": self.risk, **{name: self.x[:, i] for i, name in enumerate(COLUMNS)}}
        port = federation_of(columns, {"y": self.y}, self.site if cut is None else cut)
        asked = recalibrate(COHORT, Recipe(), "y", "p", COLUMNS if refit else (), rule)
        fit: RecalibrationResult = conclude(port, [asked])[0]
        return fit

    @property
    def log_likelihoods(self) -> dict[Method, float]:
        """Of the pooled rows, by statsmodels."""
        offset, ones = logit(self.risk), np.ones((len(self.y), 1))
        line = np.column_stack([ones, offset])
        settings = {"disp": 0, "tol": 1e-14, "maxiter": 100}
        return {
            Method.NONE: float(np.sum(np.where(self.y == 1, np.log(self.risk), np.log1p(-self.risk)))),
            Method.INTERCEPT: sm.GLM(self.y, ones, sm.families.Binomial(), offset=offset).fit(tol=1e-14).llf,
            Method.SLOPE: sm.Logit(self.y, line).fit(**settings).llf,
            Method.REFIT: sm.Logit(self.y, sm.add_constant(self.x)).fit(**settings).llf,
        }


@pytest.mark.parametrize(
    ("patients", "method"),
    [
        (Patients(400, seed=1), Method.NONE),
        (Patients(400, intercept=-1.2, seed=2), Method.INTERCEPT),
        (Patients(600, slope=0.4, seed=3), Method.SLOPE),
        (Patients(900, coefficients=np.array([-0.6, 0.9, 0.2]), seed=4), Method.REFIT),
    ],
    ids=lambda value: value.value if isinstance(value, Method) else "",
)
def test_the_least_correction_is_chosen_by_the_tests_of_the_pooled_patients(patients: Patients, method: Method):
    fit, known = patients.fit(), patients.log_likelihoods
    assert fit.method_ is method
    parameters = {Method.NONE: 0, Method.INTERCEPT: 1, Method.SLOPE: 2, Method.REFIT: 4}
    for test in fit.tests_:
        chi2 = 2.0 * (known[Method.REFIT] - known[test.method])
        assert test.against is Method.REFIT
        assert test.chi2 == pytest.approx(chi2, abs=1e-8)
        assert test.degrees == 4 - parameters[test.method]
        assert test.p == pytest.approx(stats.chi2.sf(chi2, test.degrees), rel=1e-7)
    assert [test.p > 0.05 for test in fit.tests_] == [test.method is method for test in fit.tests_]
    order = [Method.NONE, Method.INTERCEPT, Method.SLOPE]
    assert [test.method for test in fit.tests_] == order[: len(fit.tests_)]


def test_the_numbers_are_those_of_the_pooled_regressions_wherever_patients_lie():
    patients = Patients(600, intercept=-0.5, slope=0.4, seed=3)
    offset = logit(patients.risk)
    ones = np.ones((600, 1))
    glm = sm.GLM(patients.y, ones, sm.families.Binomial(), offset=offset).fit(tol=1e-14)
    fit = patients.fit(Rule.INTERCEPT)
    assert (fit.intercept_, fit.slope_) == (pytest.approx(glm.params[0], abs=1e-9), 1.0)
    assert fit.covariance_[0, 0] == pytest.approx(glm.cov_params()[0, 0], rel=1e-8)
    line = sm.Logit(patients.y, np.column_stack([ones, offset])).fit(disp=0, tol=1e-14)
    fit, known = patients.fit(Rule.SLOPE), patients.log_likelihoods
    chi2 = 2.0 * (known[Method.SLOPE] - known[Method.INTERCEPT])
    slope = 1.0 + (chi2 - 1.0) / chi2 * (line.params[1] - 1.0)
    assert fit.unshrunk_slope_ == pytest.approx(line.params[1], abs=1e-9)
    assert fit.slope_ == pytest.approx(slope, abs=1e-9)
    assert line.params[1] < fit.slope_ < 1.0
    beside = sm.GLM(patients.y, ones, sm.families.Binomial(), offset=slope * offset).fit(tol=1e-14)
    assert fit.intercept_ == pytest.approx(beside.params[0], abs=1e-9)
    other = patients.fit(Rule.SLOPE, cut=np.arange(600) // 250)
    assert (other.intercept_, other.slope_) == (
        pytest.approx(fit.intercept_, abs=1e-11),
        pytest.approx(fit.slope_, abs=1e-11),
    )
    corrected = fit.apply(patients.risk)
    assert logit(corrected) == pytest.approx(fit.intercept_ + fit.slope_ * offset, abs=1e-9)


def test_a_refit_is_the_regression_on_the_models_own_columns():
    patients = Patients(900, coefficients=np.array([-0.6, 0.9, 0.2]), seed=4)
    pooled = sm.Logit(patients.y, sm.add_constant(patients.x)).fit(disp=0, tol=1e-14)
    fit = patients.fit()
    assert fit.refit_ is not None
    assert fit.refit_.coef_ == pytest.approx(pooled.params, abs=1e-9)
    with pytest.raises(ValueError, match="refit"):
        fit.apply(patients.risk)


@pytest.mark.parametrize(("n", "intercept", "largest"), [(99, -1.0, "intercept"), (130, 2.2, "intercept")])
def test_few_patients_or_few_of_a_class_correct_the_intercept_only(n: int, intercept: float, largest: str):
    """130 patients of whom most have the endpoint leave fewer than 30 without it."""
    patients = Patients(n, intercept=intercept, seed=5)
    assert n < 100 or min(np.bincount(patients.y.astype(int))) < 30
    fit = patients.fit()
    assert {test.against.value for test in fit.tests_} == {largest}
    assert fit.tests_[0].degrees == 1
    with pytest.raises(FedmviError, match="638"):
        patients.fit(Rule.SLOPE)


def test_a_refit_of_many_columns_is_no_candidate():
    patients = Patients(120, seed=6)
    columns = {f"x{i}": np.random.default_rng(i).normal(size=120) for i in range(40)}
    port = federation_of({"p": patients.risk, **columns}, {"y": patients.y}, patients.site)
    fit = conclude(port, [recalibrate(COHORT, Recipe(), "y", "p", tuple(columns))])[0]
    assert {test.against for test in fit.tests_} == {Method.SLOPE}


def test_a_refit_that_cannot_be_fitted_is_told_and_is_no_candidate():
    patients = Patients(300, seed=7)
    patients.x[:, 2] = patients.x[:, 1]
    fit = patients.fit()
    assert list(fit.unfit_) == [Method.REFIT]
    assert "603" in fit.unfit_[Method.REFIT]
    assert {test.against for test in fit.tests_} == {Method.SLOPE}


def test_risks_that_run_against_the_outcomes_are_not_turned_round():
    patients = Patients(600, slope=-0.8, seed=8)
    with pytest.raises(FedmviError, match="638"):
        patients.fit(Rule.SLOPE)
    with pytest.raises(FedmviError, match="638"):
        patients.fit(refit=False)


def test_one_class_only_is_refused():
    patients = Patients(60)
    patients.y[:] = 0.0
    with pytest.raises(FedmviError, match="602"):
        patients.fit()


def test_the_closed_procedure_rejects_a_model_that_is_right_in_one_of_twenty_cohorts():
    """The level is that of all its steps together: 400 cohorts, Monte-Carlo limits of 99.9 %."""
    corrected = sum(Patients(150, seed=1000 + i).fit(refit=False).method_ is not Method.NONE for i in range(400))
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 0.05)
    assert low <= corrected <= high


def test_shrinkage_leaves_nothing_of_what_chance_explains():
    assert shrinkage(0.0) == shrinkage(0.5) == shrinkage(1.0) == 0.0
    assert shrinkage(4.0) == 0.75
    assert shrinkage(8.0, 2) == 0.75


def test_tests_stop_at_the_first_that_is_not_rejected():
    parameters = {Method.NONE: 0, Method.INTERCEPT: 1, Method.SLOPE: 2, Method.REFIT: 9}
    gains = {Method.NONE: 0.0, Method.INTERCEPT: 30.0, Method.SLOPE: 31.0, Method.REFIT: 33.0}
    method, tests = closed_tests(gains, parameters)
    assert method is Method.INTERCEPT
    assert [test.degrees for test in tests] == [9, 8]
    method, tests = closed_tests({Method.NONE: 0.0, Method.INTERCEPT: 3.0}, parameters)
    assert (method, [round(test.chi2, 9) for test in tests]) == (Method.INTERCEPT, [6.0])


@pytest.mark.parametrize(
    ("patients", "rule"),
    [
        (Patients(400, seed=1), Rule.CLOSED_TESTING),
        (Patients(400, intercept=-1.2, seed=2), Rule.CLOSED_TESTING),
        (Patients(400, intercept=-1.2, seed=2), Rule.INTERCEPT),
        (Patients(600, slope=0.4, seed=3), Rule.CLOSED_TESTING),
        (Patients(600, slope=0.4, seed=3), Rule.SLOPE),
        (Patients(900, coefficients=np.array([-0.6, 0.9, 0.2]), seed=4), Rule.CLOSED_TESTING),
    ],
)
def test_one_site_tells_the_correction_that_it_made_over_itself(patients: Patients, rule: Rule):
    one = np.zeros(len(patients.y), dtype=int)
    columns = {"p": patients.risk, **{name: patients.x[:, i] for i, name in enumerate(COLUMNS)}}
    port = federation_of(columns, {"y": patients.y}, one)
    query = RecalibrationAlone(COHORT, Recipe(), "y", "p", COLUMNS, rule, 10, min_cell=5)
    (part,) = port.ask([each(query)])[0].values()
    told, fit = read_recalibration(query, part), patients.fit(rule, cut=one)
    assert isinstance(told, RecalibrationResult)
    assert (told.method_, told.n_, told.events_) == (fit.method_, fit.n_, fit.events_)
    for name in ("intercept_", "slope_", "unshrunk_slope_", "shrinkage_", "covariance_"):
        assert getattr(told, name) == pytest.approx(getattr(fit, name), abs=1e-15, nan_ok=True), name
    assert (told.refit_ is None) == (fit.refit_ is None)
    if fit.refit_ is not None and told.refit_ is not None:
        assert told.refit_.coef_ == pytest.approx(fit.refit_.coef_, abs=1e-15)
        assert told.refit_.std_err_ == pytest.approx(fit.refit_.std_err_, abs=1e-15)
    assert [(t.method, t.against, t.degrees) for t in told.tests_] == [
        (t.method, t.against, t.degrees) for t in fit.tests_
    ]
    assert [t.p for t in told.tests_] == pytest.approx([t.p for t in fit.tests_], rel=1e-9)


@pytest.mark.parametrize(("patients", "rule", "number"), [
    (Patients(600, slope=-0.8, seed=8), Rule.SLOPE, 638),
    (Patients(99, seed=8), Rule.SLOPE, 638),
    (Patients(14, seed=8), Rule.INTERCEPT, 405),
])  # fmt: skip
def test_one_site_tells_why_it_could_not(patients: Patients, rule: Rule, number: int):
    port = federation_of({"p": patients.risk}, {"y": patients.y}, np.zeros(len(patients.y), dtype=int))
    query = RecalibrationAlone(COHORT, Recipe(), "y", "p", (), rule, 10, min_cell=5)
    (part,) = port.ask([each(query)])[0].values()
    met = read_recalibration(query, part)
    assert isinstance(met, FedmviError)
    assert met.number == number
    assert "{" not in met.what


def test_a_correction_that_no_site_can_have_made_is_refused():
    patients = Patients(400, seed=1)
    port = federation_of({"p": patients.risk}, {"y": patients.y}, np.zeros(400, dtype=int))
    query = RecalibrationAlone(COHORT, Recipe(), "y", "p", (), Rule.CLOSED_TESTING, 10, min_cell=5)
    (part,) = port.ask([each(query)])[0].values()
    for change in ({"method": np.array(9)}, {"method": np.array(3)}, {"candidates": np.zeros(4, dtype=np.int64)}):
        with pytest.raises(FedmviError, match="505"):
            read_recalibration(query, {**part, **change})
