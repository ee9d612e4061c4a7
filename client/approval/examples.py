"""client/approval: an example of each question that a study may ask: its fields as an honest server would fill them.

Coefficients are zeros, cut points and ranges the smallest that are sound. What gate and ledger know of a question
(words, shapes, parameters, endpoint) is the same for the real one, but where the coordinator chooses how many numbers
it asks for at once (`CHOSEN`).
"""

from __future__ import annotations

import math
from dataclasses import MISSING, fields, replace
from typing import Any

import numpy as np

from client.approval.expression_subjects import expression_fields
from client.approval.shift_subjects import shift_fields
from client.approval.subject import Subject
from client.release.recalibration_scope import refitted_columns
from common.federation.query import Ask, Mode, Query
from common.statistics.icc import Form
from common.statistics.partial_likelihood import Ties
from common.statistics.recalibration import Rule
from common.statistics.refinement import KEY_BITS, MAX_PATIENTS, MAX_ROUNDS
from common.study.analyses import FOLDS
from common.study.features import second_reading
from common.study.protocol import Study

CHOSEN = frozenset(
    {
        "query.binned_risks",
        "query.cox_path",
        "query.cox_pooled_residuals",
        "query.cox_risk_sets",
        "query.design_products",
        "query.direction_counts",
        "query.firth",
        "query.grid_counts",
        "query.held_out",
        "query.logistic_stack",
        "query.penalised",
        "query.placements",
        "query.resampled_lines",
        "query.residual_squares",
        "query.resampled_runs",
        "query.resampled_thresholds",
        "query.score_counts",
        "query.site_permutations",
        "query.set_moments",
        "query.survival_alone",
        "query.threshold_counts",
    }
)
"""Questions whose size follows from the data, or is the coordinator's choice, up to what a site answers at once."""

_EDGES = 9
_THRESHOLDS = 99
_SETS = 100


def modes_of(name: str) -> tuple[Mode, ...]:
    """How a question may be asked: what hides its small counts also by site, what is published by site only so."""
    kind = Query.registry[name]
    hides = kind.hides_below is not Query.hides_below
    # Fields are not needed to know that a question is never pooled; of others the class's own defaults serve.
    bare = object.__new__(kind)
    try:
        pooled = bare.pooled
    except AttributeError:
        pooled = True
    return (*((Mode.TOTAL,) if pooled else ()), *((Mode.EACH,) if hides else ()))


def example(name: str, mode: Mode, subject: Subject, study: Study) -> Ask:
    """A question of a part of a study; `consistent`, and in the scope of that study."""
    if name == "query.resampled_lines":  # asked about one score after the other
        subject = replace(subject, columns=subject.columns[:1], ranges=subject.ranges[:1])
    kind = Query.registry[name]
    values = _values(name, mode, subject, study)
    wanted = {f.name: values[f.name] for f in fields(kind) if f.name in values}
    lacking = [f.name for f in fields(kind) if f.name not in wanted and f.default is MISSING]
    if lacking:
        raise ValueError(f"no example of {name}: {', '.join(lacking)}")
    return Ask(mode, kind(**wanted))


def _values(name: str, mode: Mode, subject: Subject, study: Study) -> dict[str, Any]:
    p, limits = len(subject.columns), study.limits
    values: dict[str, Any] = {
        "cohort": subject.cohort,
        "recipe": subject.recipe,
        "columns": subject.columns,
        "column": subject.columns[0] if p else "",
        "covariates": subject.covariates,
        "endpoint": subject.endpoint,
        "by": subject.endpoint,
        "groups": subject.groups,
        "steps": _steps(study),
        "min_cell": limits.min_cell,
        "min_class": limits.min_test_class,
        "guarded": mode is Mode.EACH,
        "within_site": True,
        "conditional": False,
        "derivatives": True,
        "gram": True,
        "strata": (),
        "ties": Ties.EFRON,
        "rho": 0.0,
        "horizon": subject.horizon,
        "target": 0,
        "first": 1,
        "weights": (),
        "sampling": "folds" if "fold" in _made(subject) else "halves",
        "centre": np.array([_middle(low, high) for low, high in subject.ranges]),
        "low": np.array([low for low, _ in subject.ranges]),
        "high": np.array([high for _, high in subject.ranges]),
        "level": 1,
        "places": tuple(range(p)),
        "cells": (1,) * p,
        "levels": subject.levels[0] if subject.levels else 2,
        "cutoff": 0.5,
        "threshold": 0.5,
    }
    if subject.endpoint:
        endpoint = study.endpoint(subject.endpoint)
        values |= {"precision": endpoint.precision, "grid_points": endpoint.grid_points, "times": (endpoint.month,)}
        if not subject.levels:
            values["levels"] = len(endpoint.codes)
        values["time_weights"] = np.linspace(0.0, 1.0, endpoint.grid_points) if endpoint.timed else np.zeros(0)
    if name == "query.site_agreement":
        values["readers"] = (subject.columns, tuple(second_reading(column) for column in subject.columns))
        values["form"] = Form.ICC2
    if name == "query.residual_squares":
        values["coefficients"] = np.zeros((len(subject.covariates), p))
    values |= _sized(name, p, int(values["levels"])) | _declared(name, subject, study)
    return values | shift_fields(subject, study) | expression_fields(subject, study)


def _declared(name: str, subject: Subject, study: Study) -> dict[str, Any]:
    """What the study itself says of a question."""
    if name in ("query.level_counts", "query.level_table", "query.own_level_table"):
        return {"levels": subject.levels}
    if name == "query.recalibration_alone":
        return {
            "rule": Rule(subject.rule),
            "refitted": tuple(sorted(refitted_columns(study, subject.cohort, subject.recipe))),
        }
    if name == "query.guaranteed_alone":
        return {"target": subject.target}
    return {"thresholds": np.tile(subject.thresholds, (len(subject.columns), 1))} if subject.thresholds else {}


def _sized(name: str, p: int, levels: int) -> dict[str, Any]:
    """The arrays of a question, by its name."""
    folds = FOLDS + 1
    one = np.zeros(1, np.uint64)
    by_name: dict[str, dict[str, Any]] = {
        "query.logistic": {"coefficients": np.zeros(p + 1)},
        "query.stratified_logistic": {"coefficients": np.zeros(p + 1)},
        "query.logistic_stack": {"coefficients": np.zeros((1, p + 1))},
        "query.firth": {"coefficients": np.zeros((1, p + 1)), "inverse": np.zeros((1, p + 1, p + 1))},
        "query.marginal_logistic": {"coefficients": np.zeros((p, 2))},
        "query.cox": {"coefficients": np.zeros(p)},
        "query.cox_residuals": {"coefficients": np.zeros(p)},
        "query.schoenfeld": {"coefficients": np.zeros(p)},
        "query.cox_sets": {"sets": folds},
        "query.cox_path": {
            "sets": folds, "which": np.arange(folds, dtype=np.uint64), "coefficients": np.zeros((folds, p)),
        },
        "query.cox_risk_sets": {"coefficients": np.zeros(p), "points": one, "tied": np.zeros(0, np.uint64)},
        "query.cox_pooled_residuals": {
            "coefficients": np.zeros(p), "points": one, "mean": np.zeros((1, p)), "increment": np.ones(1),
            "discount": np.zeros(1), "drift": np.zeros((1, p)), "drift_discount": np.zeros((1, p)),
        },
        "query.set_moments": {"sets": folds},
        "query.penalised": {
            "sets": folds, "which": np.zeros(1, np.uint64), "coefficients": np.zeros((1, p + 1)),
            "sizes": np.array([p + 1], np.uint64), "working": np.arange(p + 1, dtype=np.uint64),
        },
        "query.held_out": {"sets": folds, "coefficients": np.zeros((1, FOLDS, p + 1))},
        "query.ordinal": {"coefficients": np.concatenate([_cuts(levels), np.zeros(p)])},
        "query.ordinal_parallel": {"coefficients": np.concatenate([_cuts(levels), np.zeros(p)])},
        "query.direction_counts": {"coefficients": np.zeros((1, 2, p + 1))},
        "query.recalibration": {"knots": np.zeros(0), "coefficients": np.array([0.0, 1.0])},
        "query.binned_risks": {"edges": np.arange(1, _EDGES + 1, dtype=np.uint64)},
        "query.threshold_counts": {"thresholds": np.tile(np.arange(1, _THRESHOLDS + 1) / 100.0, (p, 1))},
        "query.grade_table": {"cutoffs": np.tile((np.arange(levels - 1) + 0.5) / (levels - 1), (p, 1))},
        "query.score_counts": _root(p),
        "query.placements": {
            "leaves": np.ones(p, np.uint64), "low": np.zeros(p, np.uint64), "counts": np.ones(2 * p, np.uint64),
        },
        "query.resampled_runs": {
            "sets": _SETS, "runs": np.ones(p, np.uint64), "low": np.zeros(p, np.uint64),
            "mixed": np.ones(p, np.uint64), "largest": 1,
        },
        "query.resampled_thresholds": {"sets": _SETS, "thresholds": np.full((p, 1), 0.5)},
        "query.resampled_lines": {"sets": _SETS, "coefficients": np.tile([0.0, 1.0], (_SETS, 1))},
    }  # fmt: skip
    return by_name.get(name, {})


def _root(p: int) -> dict[str, Any]:
    """The first question of ranks: the whole line of floats, for each column."""
    one = np.ones(p, dtype=np.uint64)
    bits = one * np.uint64(-(-KEY_BITS // MAX_ROUNDS))
    most = np.full(2 * p, MAX_PATIENTS, dtype=np.uint64)
    return {"ranges": one, "low": 0 * one, "depth": 0 * one, "bits": bits, "most": most}


def _cuts(levels: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.linspace(-1.0, 1.0, levels - 1) if levels > 2 else np.zeros(levels - 1)


def _made(subject: Subject) -> set[str]:
    return {step.step for step in subject.recipe.steps}


def _middle(low: float, high: float) -> float:
    """A centre that every gate takes: 0, or the nearest plausible value."""
    return min(max(0.0, low if math.isfinite(low) else 0.0), high if math.isfinite(high) else math.inf)


def _steps(study: Study) -> tuple[str, ...]:
    return (*(f"excluded by {name}" for name in study.exclusions()), "other label", "other role")
