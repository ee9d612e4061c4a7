"""simulation: exactness of quantiles, filters, t and chi-square tests, adjusted p values and imputation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.federation.runner import Conclusion, together
from common.statistics.chi_square import ChiSquare, chi_square, class_chi_square
from common.statistics.imputation import ChainedImputer, chained_imputer, mean_imputer, median_imputer
from common.statistics.logistic import LogisticResult, logistic
from common.statistics.multiple_imputation import (
    Combined,
    ImputedLogistic,
    MultipleImputation,
    imputed_logistic,
    multiple_imputation,
    rubin,
)
from common.statistics.multiplicity import benjamini_hochberg
from common.statistics.quantiles import QUARTILES, Guard, Quantiles, quantiles
from common.statistics.student_t import TTest, TTests, t_test, within_site_t_test
from common.statistics.variance import FrequencyFilter, VarianceFilter, frequency_filter, variance_filter
from common.study.chain import standard_normals
from common.study.recipe import Frame, Impute, Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, relative
from simulation.exactness.tables import breast_cancer, heart_disease
from simulation.views import COHORT, row_keys

PROBABILITIES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
MEASURED = ("age", "sex", "trestbps", "chol", "thalach", "oldpeak")
PLAUSIBLE = ((0.0, 110.0), (0.001, 0.999), (40.0, 260.0), (50.0, 800.0), (30.0, 230.0), (-4.0, 10.0))
LOW, HIGH = (tuple(ends) for ends in zip(*PLAUSIBLE, strict=True))
WIDE_LOW, WIDE_HIGH = (-1e5,) * len(MEASURED), (1e5,) * len(MEASURED)
IMPUTATIONS, SWEEPS, SEED = 4, 4, 1987
EXTERNAL = 2
"""The centre of `heart_disease` that takes no part in fitting an imputer: none of its patients has a cholesterol."""


def exact_quantiles() -> Case:
    """Seven quantiles of columns with missing values."""
    table = heart_disease()
    names = tuple(table.columns)
    return Case(table, lambda: [quantiles(COHORT, Recipe(), names, PROBABILITIES, None)], lambda r: _exact(table, r[0]))


def guarded_quartiles() -> Case:
    """Quartiles that isolate no five patients; public bounds well beyond the data."""
    table = breast_cancer()
    names = tuple(table.columns)
    high = tuple(float(2 * values.max()) for values in table.columns.values())
    guard = Guard((0.0,) * len(names), high, 5)
    return Case(table, lambda: [quantiles(COHORT, Recipe(), names, QUARTILES, guard)], lambda r: _guarded(table, r[0]))


def filters() -> Case:
    """Near-zero variance, by variance and by frequencies of levels."""
    table = heart_disease()
    table = replace(table, columns={**table.columns, "same": np.full(table.site.size, 3.7)})
    levels = {"sex": 2, "fbs": 2, "restecg": 3, "exang": 2, "ca": 4}
    names = tuple(table.columns)
    return Case(
        table,
        lambda: [
            variance_filter(COHORT, Recipe(), names),
            frequency_filter(COHORT, Recipe(), tuple(levels), tuple(levels.values()), 5),
        ],
        lambda r: _filters(table, *r),
    )


def t_tests() -> Case:
    """Thirty t tests across sites."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(table, lambda: [t_test(COHORT, Recipe(), "y", names)], lambda r: _t_tests(table, r[0]))


def t_tests_within_sites() -> Case:
    """Thirty t tests within sites, and their adjusted p values."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(
        table, lambda: [within_site_t_test(COHORT, Recipe(), "y", names)], lambda r: _t_tests_within(table, r[0])
    )


def tables_of_counts() -> Case:
    """A four by two and a two by two table."""
    table = heart_disease()
    table = replace(table, columns={**table.columns, "cp": table.columns["cp"] - 1.0})
    return Case(
        table,
        lambda: [
            class_chi_square(COHORT, Recipe(), "y", "cp", 4, 5),
            chi_square(COHORT, Recipe(), ("sex", "exang"), (2, 2), 5),
        ],
        lambda r: _chi_squares(table, *r),
    )


def simple_imputers() -> Case:
    """Mean and exact median."""
    table = heart_disease()
    return Case(
        table,
        lambda: [median_imputer(COHORT, Recipe(), MEASURED, None), mean_imputer(COHORT, Recipe(), MEASURED)],
        lambda r: _simple(table, *r),
    )


def chained() -> Case:
    """Chained regressions fitted on three centres, replayed there and on a fourth."""
    table = heart_disease()
    fitting = table.site != EXTERNAL
    part = Table(
        table.key,
        "heart disease, 3 centres",
        {name: values[fitting] for name, values in table.columns.items()},
        {name: values[fitting] for name, values in table.endpoints.items()},
        table.site[fitting],
    )
    return Case(
        part, lambda: [chained_imputer(COHORT, Recipe(), MEASURED, LOW, HIGH)], lambda r: _chained(table, fitting, r[0])
    )


def drawn() -> Case:
    """Multiple imputation, a logistic regression of each, and Rubin's rules."""
    table = heart_disease()
    return Case(table, lambda: [_imputed()], lambda r: _drawn(table, *r[0]))


def combined_imputations() -> Case:
    """Rubin's rules over logistic regressions of four completed tables."""
    table = heart_disease()
    return Case(table, lambda: [_filled_and_combined()], lambda r: _combined(table, r[0]))


CASES = (
    exact_quantiles,
    guarded_quartiles,
    filters,
    t_tests,
    t_tests_within_sites,
    tables_of_counts,
    simple_imputers,
    chained,
    drawn,
    combined_imputations,
)


def _imputed() -> Conclusion[tuple[MultipleImputation, ImputedLogistic]]:
    rng = np.random.default_rng(SEED)
    imputation: MultipleImputation = yield from multiple_imputation(
        COHORT, Recipe(), "y", MEASURED, WIDE_LOW, WIDE_HIGH, IMPUTATIONS, rng, SWEEPS
    )
    return imputation, (yield from imputed_logistic(COHORT, Recipe(), MEASURED, imputation))


def _exact(table: Table, fit: Quantiles) -> list[Difference]:
    pooled = np.nanquantile(table.matrix(fit.columns), PROBABILITIES, axis=0).T
    bits = 0.0 if np.array_equal(fit.value_, pooled) else float("inf")
    return [Difference("quantiles (equal bits)", f"{library('numpy')} nanquantile", bits, 0.0)]


def _guarded(table: Table, fit: Quantiles) -> list[Difference]:
    X = table.matrix(fit.columns)
    apart = (fit.value_ - np.quantile(X, QUARTILES, axis=0).T) / X.std(axis=0)[:, np.newaxis]
    return [
        Difference(f"quartiles, {fit.how_} (SD)", f"{library('numpy')} quantile", float(np.max(np.abs(apart))), 0.06)
    ]


def _filters(table: Table, fit: VarianceFilter, levels: FrequencyFilter) -> list[Difference]:
    import pandas as pd
    from sklearn.feature_selection import VarianceThreshold

    X = table.matrix(fit.columns)
    pooled = VarianceThreshold(0.0).fit(X)
    varies = [name for name, kept in zip(fit.columns, pooled.get_support(), strict=True) if kept]
    same = fit.kept_ == tuple(varies)
    variance = np.where(pooled.get_support(), fit.variance_, 0.0)
    counts = [pd.Series(table.columns[name]).value_counts() for name in levels.columns]
    ratio = np.array([c.iloc[0] / c.iloc[1] for c in counts])
    unique = np.array([100.0 * c.size / c.sum() for c in counts])
    frequencies = max(largest(levels.frequency_ratio_, ratio), largest(levels.percent_unique_, unique))
    return [
        Difference(
            "variance (relative), and which columns vary",
            f"{library('scikit-learn')} VarianceThreshold",
            relative(variance, np.nanvar(X, axis=0) * pooled.get_support()) if same else float("inf"),
            1e-12,
        ),
        Difference("frequency ratio, percent unique", f"{library('pandas')} value_counts", frequencies, 1e-12),
    ]


def _t_tests(table: Table, fit: TTests) -> list[Difference]:
    from scipy import stats

    X, y = table.matrix(fit.student_.columns), table.endpoints["y"]
    found: list[Difference] = []
    for test, equal in ((fit.student_, True), (fit.welch_, False)):
        pooled = stats.ttest_ind(X[y == 1], X[y == 0], equal_var=equal)
        ends = pooled.confidence_interval()
        theirs = [pooled.statistic, np.log10(pooled.pvalue), pooled.df, ends.low, ends.high]
        found += _test_differences(test, np.array(theirs), f"{library('scipy')} ttest_ind")
    return found


def _t_tests_within(table: Table, fit: TTest) -> list[Difference]:
    import statsmodels.api as sm
    from statsmodels.stats.multitest import multipletests

    X, y = table.matrix(fit.columns), table.endpoints["y"]
    sites = (table.site[:, np.newaxis] == np.unique(table.site)).astype(np.float64)
    models = [sm.OLS(x, np.column_stack([y, sites])).fit() for x in X.T]
    theirs = [[f.tvalues[0], np.log10(f.pvalues[0]), f.df_resid, *f.conf_int()[0]] for f in models]
    adjusted = multipletests(fit.p_, method="fdr_bh")[1]
    oracle = f"{library('statsmodels')} multipletests"
    return [
        *_test_differences(fit, np.array(theirs).T, f"{library('statsmodels')} OLS with an intercept a site"),
        Difference("Benjamini-Hochberg p (relative)", oracle, relative(benjamini_hochberg(fit.p_), adjusted), 1e-12),
    ]


def _test_differences(test: TTest, theirs: FloatArray, oracle: str) -> list[Difference]:
    """`theirs` (5, columns): t, log10 p, degrees of freedom, limits of the interval."""
    t, log_p, degrees, low, high = theirs
    worst = max(
        relative(a, b) for a, b in ((test.t_, t), (test.degrees_, degrees), (test.low_, low), (test.high_, high))
    )
    return [
        Difference(f"{test.method_} t, degrees, interval (relative)", oracle, worst, 1e-10),
        Difference(f"{test.method_} t test log10 p", oracle, largest(np.log10(test.p_), log_p), 1e-8),
    ]


def _chi_squares(table: Table, wide: ChiSquare, square: ChiSquare) -> list[Difference]:
    import pandas as pd
    from scipy import stats

    first = pd.crosstab(table.columns["cp"], table.endpoints["y"]).to_numpy()
    second = pd.crosstab(table.columns["sex"], table.columns["exang"]).to_numpy()
    counts = max(largest(wide.table_, first), largest(square.table_, second))
    pooled = [stats.chi2_contingency(part, correction=False) for part in (first, second)]
    yates, fisher = stats.chi2_contingency(second, correction=True), stats.fisher_exact(second)
    ours = [wide.chi2_, square.chi2_, square.chi2_yates_, square.odds_ratio_]
    theirs = [pooled[0].statistic, pooled[1].statistic, yates.statistic, fisher.statistic]
    p = [wide.p_, square.p_, square.p_yates_, square.p_fisher_]
    their_p = [pooled[0].pvalue, pooled[1].pvalue, yates.pvalue, fisher.pvalue]
    oracle = f"{library('scipy')} chi2_contingency, fisher_exact"
    return [
        Difference("tables of counts", f"{library('pandas')} crosstab", counts, 0.0),
        Difference("chi-square, Yates, odds ratio (relative)", oracle, relative(ours, theirs), 1e-12),
        Difference("chi-square, Yates, Fisher log10 p", oracle, largest(np.log10(p), np.log10(their_p)), 1e-8),
    ]


def _simple(table: Table, median: Any, mean: Any) -> list[Difference]:
    from sklearn.impute import SimpleImputer

    X = table.matrix(MEASURED)
    oracle = f"{library('scikit-learn')} SimpleImputer"
    found = []
    for name, fit, limit in (("median", median, 0.0), ("mean", mean, 1e-12)):
        pooled = SimpleImputer(strategy=name).fit_transform(X)
        found.append(
            Difference(f"{name} imputation (relative)", oracle, relative(_filled(fit.step_, X), pooled), limit)
        )
    return found


def _filled(step: Any, X: FloatArray) -> FloatArray:
    frame = Frame({name: X[:, j] for j, name in enumerate(MEASURED)}, {}, len(X))
    return Recipe((step,)).apply_to(frame).matrix(MEASURED)


def _chained(table: Table, fitting: NDArray[np.bool_], fit: ChainedImputer) -> list[Difference]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next import possible
    from sklearn.impute import IterativeImputer
    from sklearn.linear_model import LinearRegression

    X = table.matrix(MEASURED)
    pooled = IterativeImputer(
        LinearRegression(), tol=0, max_iter=10, imputation_order="roman", min_value=LOW, max_value=HIGH
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # with tol=0 all sweeps are made, as is meant
        inside = pooled.fit_transform(X[fitting])
    spread = np.nanstd(X, axis=0)
    oracle = f"{library('scikit-learn')} IterativeImputer(LinearRegression, tol=0)"
    outside = pooled.transform(X[~fitting])
    return [
        Difference(
            "chained imputation (SD)", oracle, largest(_filled(fit.step_, X[fitting]) / spread, inside / spread), 1e-9
        ),
        Difference(
            "chained imputation, unseen site (SD)",
            oracle,
            largest(_filled(fit.step_, X[~fitting]) / spread, outside / spread),
            1e-9,
        ),
    ]


@cache
def _completed() -> FloatArray:
    """(imputations, n, columns) standardised, drawn on all rows together with the same numbers."""
    import statsmodels.api as sm

    table = heart_disease()
    X, y, keys = table.matrix(MEASURED), table.endpoints["y"], row_keys(table.site.size)
    missing = np.isnan(X)
    z = (X - np.nanmean(X, axis=0)) / np.nanstd(X, axis=0, ddof=1)
    sets = np.repeat(np.where(missing, 0.0, z)[np.newaxis], IMPUTATIONS, axis=0)
    rng = np.random.default_rng(SEED)
    targets = np.flatnonzero(missing.any(axis=0)).tolist() * SWEEPS
    for i, j in enumerate(targets):
        rows = ~missing[:, j]
        designs = [sm.add_constant(np.column_stack([np.delete(part, j, axis=1), y])) for part in sets]
        fits = [sm.OLS(z[rows, j], design[rows]).fit() for design in designs]
        chi2 = rng.chisquare(fits[0].df_resid, size=IMPUTATIONS)
        normal = rng.standard_normal((IMPUTATIONS, designs[0].shape[1]))
        for m, (fit, design) in enumerate(zip(fits, designs, strict=True)):
            sigma = np.sqrt(fit.ssr / chi2[m])
            root = np.linalg.inv(np.linalg.cholesky(design[rows].T @ design[rows])).T
            beta = fit.params + sigma * root @ normal[m]
            noise = standard_normals(keys[~rows], m, i, j)
            sets[m, ~rows, j] = design[~rows] @ beta + sigma * noise
    return sets


def _drawn(table: Table, imputation: MultipleImputation, fit: ImputedLogistic) -> list[Difference]:
    import statsmodels.api as sm
    from statsmodels.imputation.mice import MICE

    X, y, sets = table.matrix(MEASURED), table.endpoints["y"], _completed()
    mean, spread = np.nanmean(X, axis=0), np.nanstd(X, axis=0, ddof=1)
    frame = Frame(dict(zip(MEASURED, X.T, strict=True)), {"y": y}, len(y), row_keys(len(y)))
    ours = [Recipe((step,)).apply_to(frame).matrix(MEASURED) for step in imputation.steps_]
    # statsmodels combines what it is given: fits by itself to the data that were imputed independently of ours.
    mice = object.__new__(MICE)
    mice.exog_names, mice.endog_names, mice.model_class = ["const", *MEASURED], "y", sm.Logit
    mice.results_list = [sm.Logit(y, sm.add_constant(part)).fit(disp=0, tol=1e-14, maxiter=100) for part in sets]
    pooled = mice.combine()
    combined = fit.combined_
    error = np.sqrt(np.diag(pooled.cov_params()))[1:]
    oracle = f"{library('statsmodels')} OLS on all rows, same draws"
    rules = f"{library('statsmodels')} Logit(tol=1e-14), MICE.combine"
    return [
        Difference("drawn imputations (SD)", oracle, largest((np.array(ours) - mean) / spread, sets), 1e-9),
        Difference(
            "combined coefficient (standardised)", rules, largest(combined.coef_[1:] * spread, pooled.params[1:]), 1e-9
        ),
        Difference(
            "combined standard error (standardised)", rules, largest(combined.std_err_[1:] * spread, error), 1e-9
        ),
    ]


def _filled_and_combined() -> Conclusion[Combined]:
    fills = golden("imputation")["filled"]
    fits: list[LogisticResult] = yield from together(
        *(logistic(COHORT, Recipe((Impute(MEASURED, tuple(values)),)), "y", MEASURED) for values in fills)
    )
    coef, covariance = np.stack([fit.coef_ for fit in fits]), np.stack([fit.covariance_ for fit in fits])
    return rubin(fits[0].columns, coef, covariance, float(fits[0].n_ - len(MEASURED) - 1))


def _combined(table: Table, fit: Combined) -> list[Difference]:
    frozen = golden("imputation")
    spread = np.nanstd(table.matrix(MEASURED), axis=0, ddof=1)
    oracle = f"R {frozen['r']['R']} glm, mice {frozen['r']['mice']} pool.scalar"
    variances = [
        largest(np.diagonal(ours)[1:] * spread**2, np.array(frozen[name]) * spread**2)
        for name, ours in (("within", fit.within_), ("between", fit.between_), ("total", fit.total_))
    ]
    degrees = relative(fit.degrees_[1:], frozen["degrees"])
    information = relative(fit.missing_information_[1:], frozen["missing_information"])
    return [
        Difference(
            "Rubin's rules, coefficient (standardised)",
            oracle,
            largest(fit.coef_[1:] * spread, np.array(frozen["coef"]) * spread),
            1e-9,
        ),
        Difference("Rubin's rules, variances (standardised)", oracle, max(variances), 1e-9),
        Difference("Barnard-Rubin degrees, missing information (relative)", oracle, max(degrees, information), 1e-9),
    ]
