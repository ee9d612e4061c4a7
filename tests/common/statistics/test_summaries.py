"""common/statistics: whatever a conclusion returns as fitted can be printed: `summary` is a list of rows."""

from __future__ import annotations

import dataclasses
import inspect
import re
from types import ModuleType

import numpy as np
import pytest

import common.statistics
from common.federation.query import Query
from common.statistics.bootstrap import Replicates, ThresholdReplicates
from common.statistics.calibration_curve import CalibrationCurve
from common.statistics.combat import CombatFit
from common.statistics.competing_risks import cumulative_incidence
from common.statistics.cutoffs import Cutoff
from common.statistics.elastic_net import ElasticNetPath
from common.statistics.life_table import kaplan_meier
from common.statistics.log_rank import log_rank
from common.statistics.moments import Moments
from common.statistics.roc import RocResult
from common.statistics.survival import SurvivalResult
from common.statistics.variance import FrequencyFilter, VarianceFilter

MODULES = [module for _, module in inspect.getmembers(common.statistics, inspect.ismodule)]


def fitted_by(module: ModuleType) -> set[type]:
    """The classes with fitted attributes that the module's public conclusions return."""
    names = {
        name
        for label, function in inspect.getmembers(module, inspect.isgeneratorfunction)
        if not label.startswith("_") and function.__module__ == module.__name__
        for name in re.findall(r"\w+", str(function.__annotations__["return"]))
    }
    classes = [value for label, value in inspect.getmembers(module, inspect.isclass) if label in names]
    return {
        c
        for c in classes
        if dataclasses.is_dataclass(c)
        and not issubclass(c, Query)
        and any(f.name.endswith("_") for f in dataclasses.fields(c))
    }


FITTED = sorted({c for module in MODULES for c in fitted_by(module)}, key=lambda c: c.__name__)


def test_fitted_classes_are_found():
    assert {"Moments", "RocResult", "SurvivalResult", "CoxElasticNetPath", "TTests", "CompetingRisks"} <= {
        c.__name__ for c in FITTED
    }


@pytest.mark.parametrize("kind", FITTED, ids=lambda c: c.__name__)
def test_every_fitted_class_has_a_summary(kind: type):
    found = inspect.getattr_static(kind, "summary")
    assert isinstance(found, property)
    assert "list[dict[str," in found.fget.__annotations__["return"]  # type: ignore[union-attr]
    assert found.__doc__


EVENTS, CENSORED = np.array([[0, 1, 1, 0, 0], [0, 2, 0, 1, 0]]), np.array([[0, 0, 1, 0, 1], [0, 0, 1, 0, 0]])
CURVES = tuple(kaplan_meier(e, c, 2.0) for e, c in zip(EVENTS, CENSORED, strict=True))
SETS = Replicates(("s",), np.array([[0.5, 0.7]]), np.array([[[0.1, 0.5, 0.9], [0.6, 0.7, 0.8]]]))
BRIER = Replicates(("s",), np.array([0.2]), np.array([[0.1, 0.2, 0.3]]))


@pytest.mark.parametrize(
    ("fit", "rows", "first"),
    [
        (Moments(("a", "b"), np.array([3.0, 2.0]), np.array([1.0, 4.0]), np.array([0.5, np.nan])), 2,
         {"column": "a", "n": 3, "mean": 1.0, "std": 0.5}),
        (RocResult(np.array([2, 1]), np.array([0, 2]), 0.9, 0.1, 3), 1, {"n": 5, "events": 2, "auc_high": 1.0}),
        (CURVES[0], 3, {"time": 2.0, "at_risk": 4, "events": 1, "survival": 0.75}),
        (SurvivalResult(CURVES, *log_rank(EVENTS, CENSORED)), 2, {"group": 0, "n": 4, "observed": 2.0, "median": 4.0}),
        (cumulative_incidence(EVENTS, CENSORED[0], 1.0), 8, {"cause": 1, "time": 1.0, "at_risk": 7, "events": 1}),
        (Cutoff("s", "youden", 0.0, 0.4, 8, 3, 2, 7), 1, {"cutoff": 0.4, "sensitivity": 0.8, "youden": 0.5}),
        (CalibrationCurve("s", (0.1, 0.5, 0.9), np.array([0.0, 1.0, 0.0]), np.eye(3)), 3,
         {"predicted": 0.1, "observed": pytest.approx(0.1)}),
        (VarianceFilter(("a", "b"), np.array([0.0, 2.0]), np.array([0.0, 0.5]), ("b",)), 2,
         {"column": "a", "variance": 0.0, "kept": False}),
        (FrequencyFilter(("a",), np.array([3.0]), np.array([20.0]), np.array([False]), ("a",)), 1,
         {"frequency_ratio": 3.0, "rare": False, "kept": True}),
        (CombatFit(("f",), ("age",), "", np.array([2.0]), np.array([[0.5]]), np.array([3.0]), 9), 1,
         {"column": "f", "grand_mean": 2.0, "pooled_std": 3.0, "coef_age": 0.5}),
        (ElasticNetPath(("intercept", "a"), 1.0, np.array([2, 1]), np.array([[0.1, 0], [0.1, 0.4]]), 0.0, 9, 4, 5, 0),
         2, {"lambda": 2.0, "degrees": 0, "intercept": 0.1, "a": 0.0}),
        (ThresholdReplicates(np.array([[0.2, 0.6]]), SETS, SETS, SETS, BRIER), 7,
         {"measure": "sensitivity", "threshold": 0.2, "value": 0.5, "low": pytest.approx(0.12)}),
    ],
    ids=lambda value: type(value).__name__ if dataclasses.is_dataclass(value) else "",
)  # fmt: skip
def test_rows_hold_what_was_fitted(fit: object, rows: int, first: dict[str, object]):
    found = fit.summary  # type: ignore[attr-defined]
    assert len(found) == rows
    assert {key: found[0][key] for key in first} == first
    assert len({tuple(row) for row in found[: rows - 1]}) == 1 or rows == 1, "rows have the same keys"
