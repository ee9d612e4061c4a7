"""simulation: benchmarks: shift: real centres, each left out once.

A model of the others is looked at in the centre that it never met: ours, and what it gains or loses by ComBat and by
recalibration; beside it FedAvg, scikit-learn on the pooled rows, and scikit-learn on the centre's own patients, out of
fold. Missing values are the training centres' means. What is said of the centre without its outcomes, and so whether a
study would use ComBat there, stands beside what it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from common.federation.runner import Conclusion, conclude
from common.statistics.combat import combat
from common.statistics.logistic import logistic
from common.statistics.moments import moments
from common.statistics.roc import RocResult, roc
from common.statistics.shift_detection import Compared, Detection, detect_shift
from common.statistics.shift_verdict import suspects_another_case_mix
from common.study.recipe import Frame, Impute, Recipe, Score
from common.study.table import FloatArray
from simulation.benchmarks.shift.averaging import FEDAVG, averaged
from simulation.benchmarks.shift.centres import RealData
from simulation.benchmarks.shift.cohorts import stream
from simulation.benchmarks.shift.detecting import DEALS, MIN_CELL
from simulation.benchmarks.shift.methods import COMBAT, LOCAL, NOTHING, POOLED, stacked
from simulation.benchmarks.shift.models import Developed
from simulation.benchmarks.shift.recalibrating import CLOSED, FEW, INTERCEPT, Recalibrated, recalibrated
from simulation.benchmarks.shift.sites import CALIBRATION, ENDPOINT, TEST, TRAIN, Hospital, port_to

DRAWS = 20
"""How often `FEW` patients of the centre give their outcomes; the others are looked at."""
LEAST_RECALIBRATED = 100
"""Of a smaller centre too few patients are left to see what recalibration did."""
_FOLDS = 5
RULES = (CLOSED, INTERCEPT)


@dataclass(frozen=True)
class LeftOut:
    """One centre.

    Attributes
    ----------
    n, events
        Its patients, and those with the disease.
    areas
        By method: area under the curve, and DeLong's standard error where there is one.
    coefficients_apart
        Largest difference of our coefficients from those of the pooled fit, in their standard errors.
    recalibrations
        Of the model without any action, on `FEW` patients; none of a small centre.
    verdict, withheld
        What is said of the centre without outcomes, and whether a study would withhold ComBat there because of that
        alone; that the other centres differ among themselves, or in traits, is not looked at.
    """

    n: int
    events: int
    areas: Mapping[str, tuple[float, float | None]]
    coefficients_apart: float
    recalibrations: tuple[Recalibrated, ...]
    verdict: str
    withheld: bool

    def report(self) -> dict[str, Any]:
        """For programs."""
        recalibration = {}
        for rule in RULES if self.recalibrations else ():
            errors = [one.error for one in self.recalibrations if one.rule == rule]
            means = {"logit_oe_before": fmean(e[0] for e in errors), "logit_oe_after": fmean(e[1] for e in errors)}
            recalibration[rule] = {"draws": len(errors), **means}
        return {
            "n": self.n,
            "events": self.events,
            "areas": {name: {"auc": area, "std_err": error} for name, (area, error) in self.areas.items()},
            "coefficients_apart": self.coefficients_apart,
            "recalibration": recalibration,
            "verdict": self.verdict,
            "combat_withheld": self.withheld,
        }


@dataclass(frozen=True)
class RealShift:
    """All centres of one data set."""

    data: RealData
    centres: Mapping[str, LeftOut]

    def report(self) -> dict[str, Any]:
        """For programs."""
        methods = next(iter(self.centres.values())).areas
        areas = {name: [centre.areas[name][0] for centre in self.centres.values()] for name in methods}
        return {
            "name": "shift",
            "data": self.data.name,
            "centres": {name: centre.report() for name, centre in self.centres.items()},
            "mean_auc": {name: fmean(values) for name, values in areas.items()},
            "worst_auc": {name: min(values) for name, values in areas.items()},
        }


def each_left_out(data: RealData) -> RealShift:
    """Leave each centre out once; `Absent` without the public data."""
    frames = data.frames()
    return RealShift(data, {site: leave_out(site, frames, data) for site in frames})


def leave_out(left: str, frames: Mapping[str, Frame], data: RealData) -> LeftOut:
    """Develop without one centre, and look at it there."""
    train, test = {site: frame for site, frame in frames.items() if site != left}, frames[left]
    port = port_to({**{site: Hospital({TRAIN: frame}) for site, frame in train.items()}, left: Hospital({TEST: test})})
    (filling,) = conclude(port, [_filling(data)])
    (plain, std_err), (harmonised, _) = conclude(
        port, [_developed(filling, NOTHING, data), _developed(filling, COMBAT, data)]
    )
    filled = {site: Recipe((filling,)).apply_to(frame) for site, frame in train.items()}
    (scale,) = conclude(port, [moments(TRAIN, Recipe((filling,)), data.columns)])
    by_rounds = averaged(FEDAVG, filled, scale.standardising)
    models = {
        NOTHING: plain,
        COMBAT: harmonised,
        FEDAVG: Developed(Recipe((filling, *by_rounds.before.steps)), by_rounds.score),
    }
    found: list[RocResult] = conclude(port, [roc(TEST, m.recipe, ENDPOINT, m.score.column) for m in models.values()])
    areas: dict[str, tuple[float, float | None]] = {
        name: (result.auc_, result.std_err_) for name, result in zip(models, found, strict=True)
    }
    own = Recipe((filling,)).apply_to(test)
    pooled, coefficients = _pooled(stacked(filled), own, data)
    areas |= {POOLED: (pooled, None), LOCAL: (_out_of_fold(own, data), None)}
    apart = np.abs(np.array([plain.score.intercept, *plain.score.coefficients]) - coefficients) / std_err
    y, enough = test.endpoints[ENDPOINT], test.n >= LEAST_RECALIBRATED
    detection: Detection = conclude(port, [_detection(plain, filling, data, stacked(filled))])[0]
    seen = detection.of(TEST, left)
    return LeftOut(
        test.n, int(y.sum()), areas, float(apart.max()),
        tuple(_recalibrations(left, plain, test)) if enough else (),
        seen.verdict.value, suspects_another_case_mix(seen.verdict, seen.label_),
    )  # fmt: skip


def _detection(model: Developed, filling: Impute, data: RealData, train: Frame) -> Conclusion[Detection]:
    score, recipe = model.score, Recipe((filling,))
    numbers = (*data.measured, *data.kept)
    compared = Compared(
        TRAIN, recipe, ENDPOINT, score.names, numbers, score.intercept, score.coefficients,
        float(train.endpoints[ENDPOINT].mean()), ((TEST, recipe),), DEALS, MIN_CELL,
    )  # fmt: skip
    return detect_shift(compared)


def _filling(data: RealData) -> Conclusion[Impute]:
    found = yield from moments(TRAIN, Recipe(), data.columns)
    return Impute(data.columns, tuple(found.mean_.tolist()))


def _developed(filling: Impute, action: str, data: RealData) -> Conclusion[tuple[Developed, FloatArray]]:
    """The model, and the standard errors of its coefficients."""
    before = Recipe((filling,))
    if action == COMBAT:
        fit = replace((yield from combat(TRAIN, before, data.measured)), training=TRAIN)
        before = before.then(fit.step())
    model = yield from logistic(TRAIN, before, ENDPOINT, data.columns)
    score = Score(action, ENDPOINT, data.columns, tuple(model.coef_[1:].tolist()), float(model.coef_[0]))
    return Developed(before, score), model.std_err_


def _pooled(train: Frame, test: Frame, data: RealData) -> tuple[float, FloatArray]:
    """Area, and coefficients on the columns' own scale, intercept first, of scikit-learn on the pooled rows."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    X = train.matrix(data.columns)
    mean, std = X.mean(axis=0), X.std(axis=0)
    fit = LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-10).fit((X - mean) / std, train.endpoints[ENDPOINT])
    coef = fit.coef_[0] / std
    coefficients = np.append(fit.intercept_[0] - coef @ mean, coef)
    linear = coefficients[0] + test.matrix(data.columns) @ coef
    return float(roc_auc_score(test.endpoints[ENDPOINT], linear)), coefficients


def _out_of_fold(own: Frame, data: RealData) -> float:
    """Area of a model of the centre's own patients, each scored by a model of the others."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    y = own.endpoints[ENDPOINT]
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    risk = cross_val_predict(model, own.matrix(data.columns), y, cv=folds, method="decision_function")
    return float(roc_auc_score(y, risk))


def _recalibrations(left: str, model: Developed, test: Frame) -> list[Recalibrated]:
    draw, found = stream(0, f"outcomes of {left}"), []
    for _ in range(DRAWS):
        known = np.zeros(test.n, dtype=bool)
        known[draw.choice(test.n, FEW, replace=False)] = True
        hospital = Hospital({CALIBRATION: test.keep(known), TEST: test.keep(~known)})
        found += recalibrated(NOTHING, model, hospital, RULES, slopes=False)
    return found
