"""simulation: exactness of the logistic family: options, one predictor at a time, Firth, strata of sites, ordinal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from common.statistics.firth import FirthResult, firth
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.ordinal import OrdinalResult, ordinal
from common.statistics.random_effects import Method, RandomEffectsResult, random_effects
from common.statistics.selection import SelectionResult, backward_elimination
from common.statistics.stratified_logistic import SiteHandling, StratifiedLogisticResult, stratified_logistic
from common.statistics.univariable import UnivariableResult, univariable
from common.study.recipe import Complete, Recipe
from common.study.table import FloatArray
from simulation.exactness.basic import SEVEN
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, relative
from simulation.exactness.tables import breast_cancer, heart_disease
from simulation.views import COHORT

RIDGE = 2.0
WEIGHTS = (1.0, 3.0)
ALONE = ("age", "thalach", "oldpeak")
GRADED = ("age", "sex", "cp", "trestbps", "thalach", "exang")
SEPARATED = ("large", "mean_texture", "mean_smoothness")
ELIMINATED = ("age", "sex", "cp", "trestbps", "thalach", "exang", "fbs", "restecg", "oldpeak")


def complete(names: Sequence[str], endpoint: str) -> Recipe:
    """Complete cases only."""
    return Recipe((Complete(tuple(names), (endpoint,)),))


def standardised(table: Table, names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """(n, p) columns over their standard deviations (n - 1), centred; and (p,) these."""
    X = table.matrix(names)
    scale = X.std(axis=0, ddof=1)
    return (X - X.mean(axis=0)) / scale, scale


def rows_of(table: Table, names: Sequence[str]) -> Table:
    """Those rows whose named columns are all known."""
    known = ~np.isnan(table.matrix(names)).any(axis=1)
    columns = {name: values[known] for name, values in table.columns.items()}
    endpoints = {name: values[known] for name, values in table.endpoints.items()}
    return replace(table, columns=columns, endpoints=endpoints, site=table.site[known])


def ridge() -> Case:
    """A penalised fit."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(table, lambda: [logistic(COHORT, Recipe(), "y", names, ridge=RIDGE)], lambda r: _ridge(table, r[0]))


def options() -> Case:
    """Fits with an offset and with weights of the classes."""
    table = breast_cancer()
    offset = {"offset": 0.05 * (table.columns["mean_texture"] - 19.0)}
    table = replace(table, columns={**table.columns, **offset})
    return Case(
        table,
        lambda: [
            logistic(COHORT, Recipe(), "y", SEVEN[1:], offset="offset"),
            logistic(COHORT, Recipe(), "y", SEVEN, class_weights=WEIGHTS),
            logistic(COHORT, Recipe(), "y", SEVEN, class_weights="balanced"),
        ],
        lambda r: _options(table, r),
    )


def each_alone() -> Case:
    """Each predictor alone, missing values left out."""
    return _alone(heart_disease(), within_site=False)


def each_alone_within_sites() -> Case:
    """Each predictor alone, missing values left out, with intercepts of sites."""
    return _alone(heart_disease(), within_site=True)


def each_alone_many() -> Case:
    """Thirty predictors, each alone."""
    return _alone(breast_cancer(), within_site=False)


def each_alone_many_within_sites() -> Case:
    """Thirty predictors, each alone, with intercepts of sites."""
    return _alone(breast_cancer(), within_site=True)


def penalised() -> Case:
    """Firth's fits, of data that are separated and of data that are not."""
    table = breast_cancer()
    large = (table.columns["mean_area"] > 1000).astype(np.float64)
    table = replace(table, columns={**table.columns, "large": large})
    return Case(
        table,
        lambda: [firth(COHORT, Recipe(), "y", names, intervals=True) for names in (SEVEN, SEPARATED)],
        lambda r: [
            *_firth(table, SEVEN, r[0], "finite", "not separated"),
            *_firth(table, SEPARATED, r[1], "separated", "quasi-separated"),
        ],
    )


def within_sites() -> Case:
    """Intercepts of sites, profiled out and conditioned upon."""
    table = breast_cancer()
    kinds = (SiteHandling.FIXED, SiteHandling.CONDITIONAL)
    return Case(
        table,
        lambda: [stratified_logistic(COHORT, Recipe(), "y", SEVEN, kind) for kind in kinds],
        lambda r: _within_sites(table, *r),
    )


def combined() -> Case:
    """Sites' own fits, combined."""
    table = heart_disease()
    return Case(
        table, lambda: [random_effects(COHORT, complete(ALONE, "y"), "y", ALONE, 5, 5)], lambda r: _combined(r[0])
    )


def elimination() -> Case:
    """Backward elimination by AIC."""
    table = heart_disease()
    pain = {f"cp={level}": (table.columns["cp"] == level).astype(np.float64) for level in (2, 3, 4)}
    table = replace(table, columns={**table.columns, **pain})
    terms = tuple(tuple(pain) if name == "cp" else (name,) for name in ELIMINATED)
    recipe = complete(ELIMINATED, "y")
    return Case(table, lambda: [backward_elimination(COHORT, recipe, "y", terms)], lambda r: _elimination(r[0]))


def proportional_odds() -> Case:
    """Three grades."""
    table = heart_disease()
    recipe = complete(GRADED, "grade")
    return Case(
        table,
        lambda: [ordinal(COHORT, recipe, "grade", 3, GRADED)],
        lambda r: _ordinal(rows_of(table, GRADED), r[0]),
    )


CASES = (
    ridge,
    options,
    each_alone,
    each_alone_within_sites,
    each_alone_many,
    each_alone_many_within_sites,
    penalised,
    within_sites,
    combined,
    elimination,
    proportional_odds,
)


def _ridge(table: Table, fit: LogisticResult) -> list[Difference]:
    from sklearn.linear_model import LogisticRegression

    X, scale = standardised(table, fit.columns[1:])
    pooled = LogisticRegression(solver="newton-cholesky", C=1 / RIDGE, tol=1e-12, max_iter=1000)
    pooled.fit(X, table.endpoints["y"])
    oracle = f"{library('scikit-learn')} newton-cholesky, tol=1e-12"
    apart = largest(fit.coef_[1:] * scale, pooled.coef_[0])
    return [Difference("ridge logistic coefficient (standardised)", oracle, apart, 1e-9)]


def _options(table: Table, fits: Sequence[LogisticResult]) -> list[Difference]:
    import statsmodels.api as sm

    y = table.endpoints["y"]
    half = len(y) / 2.0
    balanced = (half / float(np.sum(y == 0)), half / float(np.sum(y == 1)))
    rows = []
    for fit, kind, weights in zip(
        fits, ("with an offset", "weighted", "balanced"), ((1.0, 1.0), WEIGHTS, balanced), strict=True
    ):
        X, scale = standardised(table, fit.columns[1:])
        pooled = sm.GLM(
            y,
            sm.add_constant(X),
            family=sm.families.Binomial(),
            offset=table.columns["offset"] if fit.offset else None,
            freq_weights=np.where(y == 1.0, weights[1], weights[0]),
        ).fit(tol=1e-15, maxiter=100)
        null = sm.GLM(
            y,
            np.ones(len(y)),
            family=sm.families.Binomial(),
            offset=table.columns["offset"] if fit.offset else None,
            freq_weights=np.where(y == 1.0, weights[1], weights[0]),
        ).fit(tol=1e-15, maxiter=100)
        oracle = f"{library('statsmodels')} GLM(tol=1e-15)"
        chi2 = 2.0 * (pooled.llf - null.llf)
        rows += [
            Difference(
                f"logistic {kind}, coefficient", oracle, largest(fit.coef_[1:] * scale, pooled.params[1:]), 1e-9
            ),
            Difference(
                f"logistic {kind}, standard error", oracle, largest(fit.std_err_[1:] * scale, pooled.bse[1:]), 1e-9
            ),
            Difference(f"logistic {kind}, likelihood ratio", oracle, largest(fit.likelihood_ratio[0], chi2), 1e-8),
        ]
    return rows


def _alone(table: Table, *, within_site: bool) -> Case:
    names = tuple(table.columns)
    return Case(
        table,
        lambda: [univariable(COHORT, Recipe(), "y", names, within_site=within_site)],
        lambda r: _each_alone(table, r[0]),
    )


def _each_alone(table: Table, fit: UnivariableResult) -> list[Difference]:
    import statsmodels.api as sm

    ours, theirs = [], []
    for i, name in enumerate(fit.columns):
        part = rows_of(table, [name])
        X, scale = standardised(part, [name])
        y, site = part.endpoints["y"], part.site
        intercepts = np.ones((len(y), 1))
        use = np.ones(len(y), dtype=bool)
        if fit.within_site:
            both = [label for label in np.unique(site) if 0 < y[site == label].mean() < 1]
            use = np.isin(site, both)
            intercepts = (site[:, np.newaxis] == both).astype(np.float64)
        strict = {"disp": 0, "tol": 1e-14, "maxiter": 100}
        pooled = sm.Logit(y[use], np.column_stack([X, intercepts])[use]).fit(**strict)
        null = sm.Logit(y[use], intercepts[use]).fit(**strict)
        spread = float(scale[0])
        wald, ratio = fit.summary[i]["p"], float(fit.likelihood_ratio[i])
        ours.append([fit.coef_[i] * spread, fit.std_err_[i] * spread, np.log10(wald), ratio])
        theirs.append([pooled.params[0], pooled.bse[0], np.log10(pooled.pvalues[0]), 2 * (pooled.llf - null.llf)])
    apart = np.abs(np.array(ours) - np.array(theirs)).max(axis=0)
    kind = "site intercepts" if fit.within_site else "common intercept"
    oracle = f"{library('statsmodels')} Logit(tol=1e-14)"
    names = ("coefficient", "standard error", "log10 Wald p", "likelihood ratio")
    return [
        Difference(f"each predictor alone, {kind}, {name}", oracle, float(d), limit)
        for name, d, limit in zip(names, apart, (1e-9, 1e-9, 1e-8, 1e-8), strict=True)
    ]


def _firth(table: Table, names: tuple[str, ...], fit: FirthResult, key: str, kind: str) -> list[Difference]:
    from firthmodels import FirthLogisticRegression

    X, scale = standardised(table, names)
    pooled = FirthLogisticRegression(backend="numpy", max_iter=1000, gtol=1e-8, xtol=1e-9).fit(X, table.endpoints["y"])
    pooled.lrt()
    chi2 = np.square(pooled.coef_ / pooled.lrt_bse_[:-1])
    limits = pooled.conf_int(method="pl", max_iter=1000, tol=1e-10)[:-1].T
    python, r = f"{library('firthmodels')}, xtol=1e-9", f"R brglm2 {golden('regression')['r']['brglm2']}"
    frozen = golden("regression")["firth"][key]
    ours = fit.coef_[1:] * scale
    return [
        Difference(f"Firth, {kind}, coefficient", python, largest(ours, pooled.coef_), 1e-8),
        Difference(f"Firth, {kind}, coefficient", r, largest(ours, frozen["coef"]), 1e-8),
        Difference(f"Firth, {kind}, standard error", python, largest(fit.std_err_[1:] * scale, pooled.bse_[:-1]), 1e-8),
        Difference(
            f"Firth, {kind}, plain standard error", r, largest(fit.plain_std_err_[1:] * scale, frozen["std_err"]), 1e-8
        ),
        Difference(f"Firth, {kind}, likelihood ratio", python, largest(fit.chi2_[1:], chi2), 1e-8),
        Difference(
            f"Firth, {kind}, profile interval",
            python,
            largest(np.stack([fit.low_[1:], fit.high_[1:]]) * scale, limits),
            1e-8,
        ),
    ]


def _within_sites(
    table: Table, fixed: StratifiedLogisticResult, conditional: StratifiedLogisticResult
) -> list[Difference]:
    import statsmodels.api as sm
    from scipy.optimize import brentq
    from scipy.special import expit

    X, scale = standardised(table, SEVEN)
    y, p = table.endpoints["y"], len(SEVEN)
    indicators = (table.site[:, np.newaxis] == np.unique(table.site)).astype(np.float64)
    pooled = sm.Logit(y, np.column_stack([X, indicators])).fit(disp=0, tol=1e-14, maxiter=100)
    oracle = f"{library('statsmodels')} Logit(tol=1e-14), one indicator a site"
    frozen = golden("regression")["conditional"]
    r = f"R survival {golden('regression')['r']['survival']} clogit, exact"
    own = table.matrix(SEVEN) @ fixed.coef_
    new = brentq(lambda a: float(np.sum(expit(a + own)) - y.sum()), -100.0, 100.0, xtol=1e-14)
    return [
        Difference("site intercepts, coefficient", oracle, largest(fixed.coef_ * scale, pooled.params[:p]), 1e-9),
        Difference("site intercepts, standard error", oracle, largest(fixed.std_err_ * scale, pooled.bse[:p]), 1e-9),
        Difference("site intercepts, log-likelihood", oracle, largest(fixed.log_likelihood_, pooled.llf), 1e-8),
        Difference("intercept of a new site", "root on pooled rows", largest(fixed.new_site_intercept_, new), 1e-9),
        Difference("conditional, coefficient", r, largest(conditional.coef_ * scale, frozen["coef"]), 1e-9),
        Difference("conditional, standard error", r, largest(conditional.std_err_ * scale, frozen["std_err"]), 1e-9),
        Difference(
            "conditional, log-likelihood",
            r,
            largest([conditional.null_log_likelihood_, conditional.log_likelihood_], frozen["log_likelihood"]),
            1e-8,
        ),
    ]


def _combined(result: RandomEffectsResult) -> list[Difference]:
    frozen = golden("regression")["random_effects"]
    oracle = f"R metafor {golden('regression')['r']['metafor']} rma.uni"
    rows = []
    for method in Method:
        ours, theirs, limits, wanted = [], [], [], []
        for name, fit in zip(result.columns[1:], result.of(method)[1:], strict=True):
            r: Mapping[str, Any] = frozen[name][method.value]
            ours.append([fit.estimate_, fit.std_err_, fit.tau2_, fit.i2_ / 100.0, fit.q_])
            theirs.append([r["estimate"], r["std_err"], r["tau2"], r["i2"] / 100.0, r["q"]])
            limits += [*fit.hartung_knapp_, *(fit.prediction_ if method is not Method.FIXED else ())]
            wanted += [*r["knapp"], *(r["prediction"] if method is not Method.FIXED else ())]
        rows += [
            Difference(f"{method.value}: mean, error, tau2, I2, Q", oracle, largest(ours, theirs), 1e-9),
            Difference(f"{method.value}: Hartung-Knapp and prediction limits", oracle, largest(limits, wanted), 1e-9),
        ]
    return rows


def _elimination(fit: SelectionResult) -> list[Difference]:
    frozen = golden("regression")["backward"]["heart"]
    dropped = ["cp" if len(step.dropped) > 1 else "".join(step.dropped) for step in fit.steps_ if step.dropped]
    terms = ["cp" if len(term) > 1 else term[0] for term in fit.terms]
    path = float(dropped != frozen["dropped"] or terms != frozen["terms"])
    oracle = f"R stats {golden('regression')['r']['R']} step"
    return [
        Difference("backward elimination, path and final set", oracle, path, 0.0),
        Difference("backward elimination, AIC", oracle, largest([s.aic_ for s in fit.steps_], frozen["aic"]), 1e-8),
    ]


def _ordinal(table: Table, fit: OrdinalResult) -> list[Difference]:
    X, scale = standardised(table, GRADED)
    frozen = golden("regression")["ordinal"]
    oracle = f"R ordinal {golden('regression')['r']['ordinal']} clm, gradTol=1e-13"
    levels = table.endpoints["grade"].astype(np.int64)
    thresholds = fit.thresholds_ - float(fit.coef_ @ table.matrix(GRADED).mean(axis=0))
    at = np.concatenate([thresholds, fit.coef_ * scale])
    error = largest(fit.std_err_[2:] * scale, frozen["std_err"][2:])
    score_test = relative(fit.parallel_chi2_, _parallel(X, levels, at))
    return [
        Difference("proportional odds, slope and threshold", oracle, largest(at, frozen["estimates"]), 1e-9),
        Difference("proportional odds, standard error", oracle, error, 1e-9),
        Difference(
            "proportional odds, log-likelihood", oracle, largest(fit.log_likelihood_, frozen["log_likelihood"]), 1e-8
        ),
        Difference(
            "proportional odds, score test of the assumption (relative)",
            "its definition, complex-step derivatives",
            score_test,
            1e-8,
        ),
    ]


def _chances(X: FloatArray, thresholds: Any, slopes: Any) -> Any:
    """(n, levels) of a model with (cuts, p) slopes; complex where its parameters are."""
    below = 1.0 / (1.0 + np.exp(-(thresholds - X @ slopes.T)))
    n = len(X)
    return np.diff(np.column_stack([np.zeros(n), below, np.ones(n)]), axis=1)


def _parallel(X: FloatArray, levels: Any, at: FloatArray) -> float:
    """Rao's statistic with the expected information of the model with slopes of its own at each cut."""
    cuts, p = len(at) - X.shape[1], X.shape[1]
    wide = np.concatenate([at[:cuts], np.tile(at[cuts:], cuts)])
    chances = _chances(X, at[:cuts], np.tile(at[cuts:], (cuts, 1)))
    slopes = np.stack(
        [_chances(X, s[:cuts], s[cuts:].reshape(cuts, p)).imag / 1e-30 for s in wide + 1e-30j * np.eye(len(wide))]
    )
    rows = np.arange(len(X))
    score = (slopes[:, rows, levels] / chances[rows, levels]).sum(axis=1)
    information = np.einsum("ank,bnk,nk->ab", slopes, slopes, 1.0 / chances)
    return float(score @ np.linalg.solve(information, score))
