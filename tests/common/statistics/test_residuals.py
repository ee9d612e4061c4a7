"""common/statistics: the finding that means something else at a hospital is named, by the score test of statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from common.federation.query import Summary, each
from common.federation.runner import Conclusion, conclude
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.multiplicity import holm
from common.statistics.residuals import ResidualsAlone, added_columns, information_of, own_intercept, residuals
from common.study.recipe import Frame, Recipe, Score, logistic_function
from simulation.shift_views import port_of

COLUMNS, NUMBERS = ("x0", "x1", "x2", "level"), ("x0", "x1", "x2")
BETA = np.array([0.9, -0.6, 0.5, 0.7])


def drawn(rng: np.random.Generator, n: int, beta: np.ndarray = BETA, intercept: float = -0.5) -> Frame:
    x = rng.normal(size=(n, 4)) @ np.linalg.cholesky(np.array(
        [[1.0, 0.5, 0.0, 0.0], [0.5, 1.0, 0.3, 0.0], [0.0, 0.3, 1.0, 0.2], [0.0, 0.0, 0.2, 1.0]]
    )).T  # fmt: skip
    x[:, 3] = x[:, 3] > 0.4
    x[:, 1] = 40.0 + 10.0 * x[:, 1]  # another unit and origin
    linear = intercept + (x - np.array([0.0, 40.0, 0.0, 0.0])) / UNIT @ beta
    y = (rng.random(n) < logistic_function(linear)).astype(float)
    keys = rng.integers(0, 2**63, n).astype(np.uint64)
    return Frame({name: x[:, i] for i, name in enumerate(COLUMNS)}, {"y": y}, n, keys)


UNIT = np.array([1.0, 10.0, 1.0, 1.0])


def score_of(intercept: float, coefficients: np.ndarray) -> Score:
    return Score("m", "y", COLUMNS, tuple(coefficients.tolist()), intercept)


def asked(score: Score, information: np.ndarray, *, part: bool = False, min_cell: int = 5) -> ResidualsAlone:
    return ResidualsAlone(
        "c", Recipe().then(score), "y", COLUMNS, NUMBERS, score.column, 10, information, part, min_cell=min_cell
    )


def told(frames: dict[str, Frame], query: ResidualsAlone) -> dict[str, Summary]:
    def ask() -> Conclusion[dict[str, Summary]]:
        return (yield each(query))

    found: dict[str, Summary] = conclude(port_of({"c": frames}), [ask()])[0]
    return found


def fitted(frames: dict[str, Frame]) -> LogisticResult:
    found: LogisticResult = conclude(port_of({"c": frames}), [logistic("c", Recipe(), "y", COLUMNS, "m")])[0]
    return found


def test_each_test_is_statsmodels_score_test_of_the_column() -> None:
    rng = np.random.default_rng(5)
    frame = drawn(rng, 160, np.array([0.9, 0.2, 0.5, 0.7]), intercept=0.4)
    score = score_of(-0.5, BETA / UNIT)
    part = told({"s": frame}, asked(score, np.zeros(4)))["s"]
    scored = score.apply(frame)
    y, risk = frame.endpoints["y"], scored.columns["score.m"]
    logit = np.log(risk / (1.0 - risk))
    whole = sm.GLM(y, np.ones((160, 1)), family=sm.families.Binomial(), offset=logit)
    null = whole.fit(tol=1e-12)
    assert own_intercept(logit, y) == pytest.approx(float(null.params[0]), abs=1e-8)
    for j, name in enumerate(COLUMNS):
        value = frame.columns[name]
        test = whole.score_test(null.params, exog_extra=value[:, np.newaxis])
        chi2 = float(np.squeeze(test[0]))
        assert abs(float(part["z"][j])) == pytest.approx(np.sqrt(chi2), abs=0.0051), name
        one, parts = added_columns(logit, y, value[:, np.newaxis])
        variance = parts.sum(axis=0)
        assert one[0] ** 2 / variance[0] == pytest.approx(chi2, rel=1e-6)
    assert part["told"].tolist() == [1, 1, 1, 1]
    assert part["z"].tolist() == np.round(part["z"], 2).tolist()
    assert float(part["z"][1]) > 2.0  # its effect is larger here than the score says


def test_information_is_that_of_the_rows() -> None:
    frame = drawn(np.random.default_rng(8), 300)
    fit = fitted({"s": frame})
    x = frame.matrix(COLUMNS)
    risk = logistic_function(fit.coef_[0] + x @ fit.coef_[1:])
    w = risk * (1 - risk)
    expected = w @ np.square(x - w @ x / w.sum())
    assert information_of(fit.covariance_) == pytest.approx(expected, rel=1e-5)


def test_where_nothing_differs_tests_are_as_rare_as_promised_in_training_and_outside() -> None:
    """Outside of training a formula that was fitted to as many patients would reject twice as often without I."""
    rng, outside, inside, naive = np.random.default_rng(11), [], [], []
    for _ in range(250):
        train = {f"s{k}": drawn(rng, 100) for k in range(3)}
        fit = fitted(train)
        information, score = information_of(fit.covariance_), score_of(float(fit.coef_[0]), fit.coef_[1:])
        other = {"t": drawn(rng, 300)}
        outside.append(told(other, asked(score, information))["t"]["z"])
        naive.append(told(other, asked(score, np.zeros(4)))["t"]["z"])
        inside.append(told(train, asked(score, information, part=True))["s0"]["z"])
    rates = [float(np.mean(np.abs(np.array(z)) > stats.norm.isf(0.025))) for z in (outside, inside, naive)]
    assert rates[0] < 0.075 and rates[1] < 0.075
    assert rates[0] > 0.025 and rates[1] > 0.025
    assert rates[2] > 0.1


def test_a_finding_that_means_something_else_at_one_hospital_is_named() -> None:
    rng, named, others = np.random.default_rng(21), 0, 0
    for _ in range(25):
        train = {f"s{k}": drawn(rng, 150) for k in range(4)}
        fit = fitted(train)
        information, score = information_of(fit.covariance_), score_of(float(fit.coef_[0]), fit.coef_[1:])
        parts = [*told(train, asked(score, information, part=True)).values()]
        turned = drawn(rng, 200, np.array([-0.4, -0.6, 0.5, 0.7]))
        parts += [*told({"t": turned}, asked(score, information)).values()]
        found = residuals(COLUMNS, parts)
        p = np.array([one.p_ for one in found])
        named += bool(p[-1, 0] <= 0.05 and found[-1].z_[0] < 0)
        others += bool((p[:-1] <= 0.05).any())
        assert p[-1, 0] == np.nanmin(p)
        assert p == pytest.approx(holm(np.array([2 * stats.norm.sf(np.abs(one.z_)) for one in found])))
    assert named >= 23
    assert others <= 4


def test_a_level_that_few_of_a_class_have_is_not_told_and_too_few_patients_tell_counts_only() -> None:
    frame = drawn(np.random.default_rng(4), 120)
    y, level = frame.endpoints["y"], frame.columns["level"].copy()
    level[np.flatnonzero(y == 1.0)[4:]] = 0.0  # at most four with the outcome have it
    rare = Frame({**frame.columns, "level": level}, frame.endpoints, frame.n, frame.keys)
    score = score_of(-0.5, BETA / UNIT)
    part = told({"s": rare}, asked(score, np.zeros(4)))["s"]
    assert part["told"].tolist() == [1, 1, 1, 0] and part["z"][3] == 0.0
    summary = residuals(COLUMNS, [part])[0].summary
    assert [row["column"] for row in summary] == list(COLUMNS) and np.isnan(summary[3]["p"])
    few = frame.keep(np.isin(np.arange(120), np.concatenate([np.flatnonzero(y == 1.0)[:9], np.flatnonzero(y == 0.0)])))
    assert not told({"s": few}, asked(score, np.zeros(4)))["s"]["told"].any()


def test_nothing_is_told_of_a_column_that_one_patient_decides_and_no_information_sharpens_a_deviate() -> None:
    """With most of the variance one patient's, the sign of the deviate would be that of his outcome."""
    frame = drawn(np.random.default_rng(9), 120)
    far = frame.columns["x0"].copy()
    far[17] = 90.0
    score = score_of(-0.5, np.array([0.0, -0.06, 0.5, 0.7]))
    part = told({"s": Frame({**frame.columns, "x0": far}, frame.endpoints, 120, frame.keys)}, asked(score, np.zeros(4)))
    assert part["s"]["told"].tolist() == [0, 1, 1, 1]
    risk = score.apply(frame).columns["score.m"]
    logit = np.log(risk / (1.0 - risk))
    _, parts = added_columns(logit, frame.endpoints["y"], frame.matrix(COLUMNS))
    sharp = told({"s": frame}, asked(score, parts.sum(axis=0) * (1.0 + 1e-6), part=True))["s"]
    usual = told({"s": frame}, asked(score, np.zeros(4)))["s"]
    assert np.abs(sharp["z"]) == pytest.approx(np.abs(usual["z"]) / np.sqrt(0.1), abs=0.03)
