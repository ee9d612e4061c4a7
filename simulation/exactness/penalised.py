"""simulation: exactness of LASSO and elastic-net paths, their cross-validation, and stability selection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.statistics.elastic_net import ElasticNetPath, ElasticNetResult, elastic_net, elastic_net_cv
from common.statistics.stability import StabilityResult, stability_selection
from common.statistics.training_sets import training_sets
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, relative
from simulation.exactness.tables import breast_cancer, breast_folds, breast_wide
from simulation.views import COHORT, row_keys

SUPPORT = 1e-6
"""Standardised coefficients of glmnet that are larger count as in the model."""
LAMBDAS = (0.08, 0.04)
HALVES = 20
FIFTEEN = (
    "mean_texture", "mean_smoothness", "mean_symmetry", "mean_fractal_dimension", "mean_concavity", "texture_error",
    "smoothness_error", "symmetry_error", "compactness_error", "area_error", "worst_texture", "worst_smoothness",
    "worst_symmetry", "worst_area", "worst_fractal_dimension",
)  # fmt: skip
"""Predictors that are not close to linearly dependent, on which the other library takes less than minutes."""


def lasso() -> Case:
    """LASSO path with ten folds."""
    return _crossed("LASSO", "lasso", 1.0)


def elastic() -> Case:
    """Elastic-net path with ten folds, half L1 and half L2."""
    return _crossed("elastic net (alpha 0.5)", "elastic_net", 0.5)


def wide() -> Case:
    """LASSO path of 495 predictors for 569 patients."""
    frozen, table = golden("glmnet"), breast_wide()
    names = tuple(table.columns)

    def differences(results: list[Any]) -> list[Difference]:
        return _path("LASSO, 495 predictors:", table, names, results[0], frozen["wide"], _version(frozen))

    return Case(table, lambda: [elastic_net(COHORT, Recipe(), "y", names)], differences)


def one_penalty() -> Case:
    """One LASSO against another library."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(
        table,
        lambda: [elastic_net(COHORT, Recipe(), "y", names, lambdas=(0.05,))],
        lambda r: [
            Difference(
                "LASSO coefficient, one penalty (standardised)",
                f"{library('scikit-learn')} LogisticRegression(l1, saga, tol=1e-12)",
                largest(r[0].coef_path_[0, 1:] * table.matrix(names).std(axis=0), _saga(table, names, 0.05)),
                1e-6,
            )
        ],
    )


def stability() -> Case:
    """Stability selection: every half-sample again, pooled."""
    table, names = breast_cancer(), FIFTEEN
    return Case(
        table,
        lambda: [stability_selection(COHORT, Recipe(), "y", names, LAMBDAS, replicates=HALVES)],
        lambda r: _stability(table, names, r[0]),
    )


CASES = (lasso, elastic, wide, one_penalty, stability)


def _version(frozen: Mapping[str, Any]) -> str:
    return str(next(name for name in frozen["r"] if name.startswith("glmnet")))


def _crossed(title: str, key: str, alpha: float) -> Case:
    frozen, table = golden("glmnet"), breast_folds()
    names = tuple(name for name in table.columns if name != "fold")

    def differences(results: list[Any]) -> list[Difference]:
        fit: ElasticNetResult = results[0]
        theirs, oracle = frozen[key], f"R cv.{_version(frozen)} (thresh 1e-14)"
        return [
            *_path(f"{title}:", table, names, fit.path, theirs, _version(frozen)),
            Difference(f"{title}: cross-validated deviance", oracle, largest(fit.cvm_, theirs["cvm"]), 1e-6),
            Difference(f"{title}: its standard error", oracle, largest(fit.cvsd_, theirs["cvsd"]), 1e-6),
            *(
                Difference(f"{title}: {name} (relative)", oracle, relative(ours, theirs[name.replace(".", "_")]), 1e-12)
                for name, ours in (("lambda.min", fit.lambda_min_), ("lambda.1se", fit.lambda_1se_))
            ),
        ]

    return Case(table, lambda: [elastic_net_cv(COHORT, Recipe(), "y", names, alpha=alpha)], differences)


def _path(
    title: str,
    table: Table,
    names: tuple[str, ...],
    fit: ElasticNetPath,
    theirs: Mapping[str, Any],
    version: str,
) -> list[Difference]:
    X, y = table.matrix(names), table.endpoints["y"]
    scale, oracle = X.std(axis=0), f"R {version} (strict)"
    ours = fit.coef_path_[:, 1:] * scale
    coef = np.zeros((len(theirs["lambda"]), len(names)))
    coef[:, [names.index(name) for name in theirs["columns"]]] = theirs["beta"]
    coef *= scale
    support = np.count_nonzero((np.abs(ours) > SUPPORT) != (np.abs(coef) > SUPPORT))
    return [
        Difference(f"{title} penalties (relative)", oracle, relative(fit.lambda_, theirs["lambda"]), 1e-12),
        Difference(f"{title} coefficient (standardised)", oracle, largest(ours, coef), 1e-6),
        Difference(f"{title} intercept", oracle, largest(fit.coef_path_[:, 0], theirs["intercept"]), 1e-6),
        Difference(f"{title} predictors in one model only", oracle, float(support), 0.0),
        Difference(f"{title} optimality", "KKT conditions, pooled rows", _kkt(X, y, fit), 1e-9),
    ]


def _kkt(X: FloatArray, y: FloatArray, fit: ElasticNetPath) -> float:
    """The largest violation of the conditions of Friedman et al. (2010), by their definition."""
    Z, scale = (X - X.mean(axis=0)) / X.std(axis=0), X.std(axis=0)
    worst = 0.0
    for penalty, coef in zip(fit.lambda_, fit.coef_path_, strict=True):
        residual = y - 1.0 / (1.0 + np.exp(-(coef[0] + X @ coef[1:])))
        b = coef[1:] * scale
        slope = Z.T @ residual / len(y) - penalty * (1.0 - fit.alpha_) * b
        inside = np.maximum(np.abs(slope) - penalty * fit.alpha_, 0.0)
        missed = np.where(b == 0.0, inside, np.abs(slope - penalty * fit.alpha_ * np.sign(b)))
        worst = max(worst, float(missed.max()), abs(float(residual.mean())))
    return worst


def _saga(table: Table, names: tuple[str, ...], penalty: float, rows: NDArray[np.bool_] | None = None) -> FloatArray:
    """(p,) coefficients of predictors standardised over the rows."""
    from sklearn.linear_model import LogisticRegression

    chosen = np.ones(table.site.size, dtype=bool) if rows is None else rows
    X, y = table.matrix(names)[chosen], table.endpoints["y"][chosen]
    model = LogisticRegression(
        C=1.0 / (penalty * len(y)), l1_ratio=1.0, solver="saga", tol=1e-12, max_iter=100_000, random_state=0
    )
    coef: FloatArray = model.fit((X - X.mean(axis=0)) / X.std(axis=0), y).coef_[0]
    return coef


def _stability(table: Table, names: tuple[str, ...], fit: StabilityResult) -> list[Difference]:
    keys, members = row_keys(table.site.size), np.zeros((HALVES, table.site.size), dtype=bool)
    for label in np.unique(table.site):
        rows = table.site == label
        frame = Frame({}, {"y": table.endpoints["y"][rows]}, int(rows.sum()), keys[rows])
        members[:, rows] = training_sets(frame, "y", "halves", HALVES)
    kept = np.array([[_saga(table, names, penalty, rows) != 0.0 for rows in members] for penalty in LAMBDAS])
    return [
        Difference(
            f"stability selection: frequencies, {HALVES} half-samples at {len(LAMBDAS)} penalties",
            f"{library('scikit-learn')} LogisticRegression(l1, saga, tol=1e-12), same half-samples",
            largest(fit.frequency_, kept.mean(axis=1)),
            0.0,
        ),
        Difference(
            "stability selection: bound on false positives",
            "Meinshausen & Buehlmann (2010), theorem 1",
            abs(fit.false_positives - kept.any(axis=0).sum(axis=1).mean() ** 2 / ((2 * 0.75 - 1) * len(names))),
            1e-12,
        ),
    ]
