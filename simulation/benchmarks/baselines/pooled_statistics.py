"""simulation: benchmarks: the whole chain on pooled rows, with scikit-learn, statsmodels and mrmr-selection.

What a radiomics statistician would run with all rows on one machine: statsmodels' `Logit` for the regressions,
scikit-learn for variance threshold, LASSO (`saga`, warm starts down the path) and areas, `mrmr_classif`, and NumPy for
what neither has (ICC, DeLong, net benefit).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray
from simulation.benchmarks.chain import Chain, Settings
from simulation.benchmarks.measuring import Stopwatch
from simulation.benchmarks.radiomics_table import RadiomicsTable


def run(table: RadiomicsTable, settings: Settings, resamples: FloatArray) -> tuple[Chain, Stopwatch]:
    """The chain; `resamples` (replicates, n) are how often each row counts, so that both sides resample alike."""
    from sklearn.feature_selection import VarianceThreshold

    watch = Stopwatch()
    X, y = table.first, table.y
    varying = np.flatnonzero(VarianceThreshold().fit(X).get_support())
    watch.step("near-zero variance")
    reliable = varying[_icc(table, varying) >= settings.icc]
    watch.step("agreement of readers")
    p = _univariable(table, reliable)
    ranked = _within_fdr(p, settings.fdr)[: int(settings.parameters * y.size)]
    first = reliable[ranked]
    watch.step("univariable")
    kept = first[_uncorrelated(_centred(X[:, first], table.site), settings.correlation)]
    watch.step("correlation")
    relevant = _mrmr(X[:, kept], y, kept, settings.mrmr)
    watch.step("mRMR")
    path, cvm, best = _lasso(X[:, relevant], y, table.fold, settings)
    chosen = relevant[np.abs(path[best]) > settings.support]
    watch.step("LASSO")
    coef, std_err, score = _logistic(X[:, chosen], y)
    watch.step("logistic")
    auc, error = _delong(score, y)
    benefit = _net_benefit(score, y, settings.thresholds)
    watch.step("ROC, DeLong, DCA")
    replicates = _bootstrap(score, y, resamples)
    watch.step("bootstrap")
    decisions = tuple(tuple(a.tolist()) for a in (varying, reliable, first, kept, relevant, chosen))
    numbers = {
        "log10 p": np.log10(p[np.isfinite(p)]), "cvm": cvm, "coef": coef, "std_err": std_err,
        "auc": np.array([auc, error]), "net benefit": benefit, "bootstrap": replicates,
    }  # fmt: skip
    return Chain((*decisions, (best,)), numbers), watch


def _centred(X: FloatArray, site: NDArray[np.int64]) -> FloatArray:
    centred = X.copy()
    for k in np.unique(site):
        centred[site == k] -= X[site == k].mean(axis=0)
    return centred


def _icc(table: RadiomicsTable, columns: NDArray[np.int64]) -> FloatArray:
    """ICC(2,1) (Shrout & Fleiss 1979) of two readers by site, pooled on the scale of Fisher's z by n - 2."""
    z, weight = np.zeros(columns.size), 0.0
    for k in np.unique(table.site):
        rows = table.site == k
        a, b = table.first[rows][:, columns], table.second[rows][:, columns]
        n = int(rows.sum())
        if n < 30:
            continue
        lesion, reader = (a + b) / 2, np.stack([a.mean(axis=0), b.mean(axis=0)])
        grand = reader.mean(axis=0)
        between = 2 * np.square(lesion - grand).sum(axis=0) / (n - 1)
        readers = n * np.square(reader - grand).sum(axis=0)
        whole = np.square(a - grand).sum(axis=0) + np.square(b - grand).sum(axis=0)
        residual = (whole - between * (n - 1) - readers) / (n - 1)
        icc = (between - residual) / (between + residual + 2 * (readers - residual) / n)
        z += (n - 2) * np.arctanh(icc)
        weight += n - 2
    pooled: FloatArray = np.tanh(z / weight)
    return pooled


def _univariable(table: RadiomicsTable, columns: NDArray[np.int64]) -> FloatArray:
    import statsmodels.api as sm

    sites = (table.site[:, np.newaxis] == np.unique(table.site)).astype(np.float64)
    p = np.full(columns.size, np.nan)
    X = table.first[:, columns]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for j in range(columns.size):
            fit = sm.Logit(table.y, np.column_stack([X[:, j], sites])).fit(disp=0, tol=1e-10, warn_convergence=False)
            p[j] = fit.pvalues[0]
    return p


def _within_fdr(p: FloatArray, fdr: float) -> NDArray[np.int64]:
    """The places of the rejected, by p."""
    from scipy.stats import false_discovery_control

    rejected = np.flatnonzero(false_discovery_control(p) <= fdr)
    return rejected[np.argsort(p[rejected], kind="stable")]


def _uncorrelated(X: FloatArray, threshold: float) -> NDArray[np.int64]:
    """Greedy in the given order: a column stays unless it is correlated with one that stayed."""
    r = np.abs(np.corrcoef(X, rowvar=False))
    kept: list[int] = []
    for j in range(X.shape[1]):
        if not kept or float(r[j, kept].max()) <= threshold:
            kept.append(j)
    return np.array(kept, dtype=np.int64)


def _mrmr(X: FloatArray, y: FloatArray, names: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    import pandas as pd
    from mrmr import mrmr_classif

    frame = pd.DataFrame(X, columns=names.tolist())
    order = mrmr_classif(frame, pd.Series(y), K=min(k, names.size), show_progress=False, n_jobs=1)
    return np.array(order, dtype=np.int64)


def _lasso(
    X: FloatArray, y: FloatArray, fold: NDArray[np.int64], settings: Settings
) -> tuple[FloatArray, FloatArray, int]:
    """Coefficients of standardised columns down the path, cross-validated deviance, and the place of lambda.1se."""
    n = y.size
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    top = float(np.max(np.abs(standard.T @ (y - y.mean())))) / n
    lambdas = top * np.logspace(0.0, np.log10(settings.smallest_lambda), settings.lambdas)
    path = _saga(standard, y, lambdas)[0]
    folds = np.unique(fold)
    deviance, weight = np.empty((folds.size, lambdas.size)), np.empty(folds.size)
    for i, k in enumerate(folds):
        inside = fold != k
        mean, scale = X[inside].mean(axis=0), X[inside].std(axis=0)
        coef, intercept = _saga((X[inside] - mean) / scale, y[inside], lambdas)
        linear = ((X[~inside] - mean) / scale) @ coef.T + intercept
        mu = np.clip(1.0 / (1.0 + np.exp(-linear)), 1e-5, 1 - 1e-5)
        held = y[~inside][:, np.newaxis]
        deviance[i] = -2.0 * np.mean(held * np.log(mu) + (1 - held) * np.log1p(-mu), axis=0)
        weight[i] = held.size
    cvm = np.average(deviance, axis=0, weights=weight)
    cvsd = np.sqrt(np.average(np.square(deviance - cvm), axis=0, weights=weight) / (folds.size - 1))
    least = int(np.argmin(cvm))
    best = int(np.flatnonzero(cvm <= cvm[least] + cvsd[least])[0])
    return path, cvm, best


def _saga(X: FloatArray, y: FloatArray, lambdas: FloatArray) -> tuple[FloatArray, FloatArray]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(l1_ratio=1.0, solver="saga", tol=1e-7, max_iter=100_000, warm_start=True)
    coef, intercept = np.empty((lambdas.size, X.shape[1])), np.empty(lambdas.size)
    for i, lam in enumerate(lambdas):
        model.set_params(C=1.0 / (y.size * lam)).fit(X, y)
        coef[i], intercept[i] = model.coef_[0], model.intercept_[0]
    return coef, intercept


def _logistic(X: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    import statsmodels.api as sm

    mean, scale = X.mean(axis=0), X.std(axis=0, ddof=1)
    design = sm.add_constant((X - mean) / scale)
    fit = sm.Logit(y, design).fit(disp=0, tol=1e-12)
    # A predicted risk has four decimals, by the definition of a model here.
    return fit.params[1:], fit.bse[1:], np.round(fit.predict(design), 4)


def _delong(score: FloatArray, y: FloatArray) -> tuple[float, float]:
    from sklearn.metrics import roc_auc_score

    psi = 0.5 * (1.0 + np.sign(score[y == 1][:, np.newaxis] - score[y == 0]))
    variance = sum(part.var(ddof=1) / part.size for part in (psi.mean(axis=1), psi.mean(axis=0)))
    return float(roc_auc_score(y, score)), float(np.sqrt(variance))


def _net_benefit(score: FloatArray, y: FloatArray, thresholds: FloatArray) -> FloatArray:
    """(thresholds,) true positives - false positives * odds, per patient (Vickers & Elkin 2006)."""
    treated = score[:, np.newaxis] >= thresholds
    benefit: FloatArray = treated[y == 1].sum(axis=0) - treated[y == 0].sum(axis=0) * thresholds / (1 - thresholds)
    return benefit / y.size


def _bootstrap(score: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    from sklearn.metrics import roc_auc_score

    return np.array([roc_auc_score(y, score, sample_weight=weight) for weight in weights])
