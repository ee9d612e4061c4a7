"""simulation: exactness of correlation filters, reader agreement and mRMR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.statistics.correlation import Correlation, Keep, correlation
from common.statistics.icc import Agreement, Form, PooledAgreement, agreement, pooled_agreement
from common.statistics.kappa import Kappa, ReaderTable, reader_kappa
from common.statistics.mrmr import Criterion, Relevance, relevance
from common.statistics.quantiles import Guard
from common.statistics.ranks import RankCorrelation, binned_spearman, spearman
from common.study.features import second_reading
from common.study.recipe import Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, relative
from simulation.exactness.tables import breast_cancer, heart_disease, reader_study
from simulation.views import COHORT

FORMS = (Form.ICC1, Form.ICC2, Form.ICC3)


def pearson() -> Case:
    """Pearson correlations over all sites, and what filters keep by them."""
    return _correlated(within_site=False)


def pearson_within_sites() -> Case:
    """Pearson correlations within sites, and what filters keep by them."""
    return _correlated(within_site=True)


def rank_correlations_within_sites() -> Case:
    """Spearman's correlations within sites."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(table, lambda: [spearman(COHORT, Recipe(), names)], lambda r: _site_ranks(table, r[0]))


def rank_correlations() -> Case:
    """Spearman's correlations of ranks over all sites."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(
        table, lambda: [spearman(COHORT, Recipe(), names, within_site=False)], lambda r: _spearman(table, r[0], 1e-12)
    )


def binned_rank_correlations() -> Case:
    """Spearman's correlations over 50 bins between guarded quantiles."""
    table = breast_cancer()
    names = tuple(table.columns)
    highest = tuple(float(np.exp2(np.ceil(np.log2(values.max())))) for values in table.columns.values())
    guard = Guard((0.0,) * len(names), highest, 5)
    return Case(
        table, lambda: [binned_spearman(COHORT, Recipe(), names, 50, guard)], lambda r: _spearman(table, r[0], 6e-3)
    )


def readers() -> Case:
    """Agreement of three readers on thirty features, of the pooled table."""
    table = reader_study()
    return Case(table, lambda: [pooled_agreement(COHORT, Recipe(), _readings(table))], lambda r: _agreement(r[0]))


def readers_by_site() -> Case:
    """Agreement of three readers on thirty features, averaged over sites."""
    table = reader_study()
    return Case(
        table, lambda: [agreement(COHORT, Recipe(), _readings(table), form) for form in FORMS], _averaged_agreement
    )


def readers_of_a_trait() -> Case:
    """Cohen's kappa of two binary columns, as if both were readings of one trait."""
    table = heart_disease()
    again = table.columns["exang"]
    both = {"trait": np.where(np.isnan(again), np.nan, table.columns["sex"]), second_reading("trait"): again}
    query = ReaderTable(COHORT, Recipe(), "trait", 2, 5)
    return Case(replace(table, columns=both), lambda: [reader_kappa(query, min_sites=3)], lambda r: _kappa(both, r[0]))


def redundancy() -> Case:
    """All thirty features in the order of mRMR, by pooled correlations."""
    return _ordered(within_site=False)


def redundancy_within_sites() -> Case:
    """All thirty features in the order of mRMR, by correlations within sites."""
    return _ordered(within_site=True)


CASES = (
    pearson,
    pearson_within_sites,
    rank_correlations_within_sites,
    rank_correlations,
    binned_rank_correlations,
    readers,
    readers_by_site,
    readers_of_a_trait,
    redundancy,
    redundancy_within_sites,
)


def _by_dummies(X: FloatArray, site: NDArray[np.int64]) -> FloatArray:
    """What a regression on one dummy column a site leaves."""
    dummies = (site[:, np.newaxis] == np.unique(site)).astype(np.float64)
    residual: FloatArray = X - dummies @ np.linalg.lstsq(dummies, X, rcond=None)[0]
    return residual


def _correlated(*, within_site: bool) -> Case:
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(
        table,
        lambda: [correlation(COHORT, Recipe(), names, within_site=within_site)],
        lambda r: _pearson(table, r[0], within=within_site),
    )


def _pearson(table: Table, fit: Correlation, *, within: bool) -> list[Difference]:
    from scipy import stats

    X, frozen = table.matrix(fit.columns), golden("filters")
    r: FloatArray = np.asarray(np.corrcoef(_by_dummies(X, table.site) if within else X, rowvar=False))
    kind = "Pearson within sites" if within else "Pearson pooled"
    oracle = f"{library('numpy')} corrcoef{' of residuals on site' if within else ''}"
    rows = [Difference(kind, oracle, largest(fit.r_, r), 1e-12)]
    if not within:
        p = np.array([stats.pearsonr(X[:, -1], X[:, j]).pvalue for j in range(X.shape[1] - 1)])
        apart = largest(np.log10(fit.p_[-1, :-1]), np.log10(p))
        rows.append(Difference("Pearson log10 p", f"{library('scipy')} pearsonr", apart, 1e-8))
    in_turn = correlated = 0
    for threshold, kept in zip(frozen["thresholds"], frozen["kept"]["within" if within else "pooled"], strict=True):
        in_turn += set(fit.kept(threshold)) != {fit.columns[i] for i in _greedy(r, threshold)}
        correlated += set(fit.kept(threshold, Keep.LESS_CORRELATED)) != set(kept)
    caret = f"R caret {frozen['r']['caret']} findCorrelation(exact)"
    return [
        *rows,
        Difference(f"{kind}, kept in turn: other columns", "the same, as a loop", float(in_turn), 0.0),
        Difference(f"{kind}, less correlated kept: other columns", caret, float(correlated), 0.0),
    ]


def _greedy(r: FloatArray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in range(len(r)):
        if all(abs(r[i, j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def _site_ranks(table: Table, fit: RankCorrelation) -> list[Difference]:
    from scipy import stats

    X = table.matrix(fit.columns)
    ranks = np.empty_like(X)
    for site in np.unique(table.site):
        rows = table.site == site
        ranks[rows] = stats.rankdata(X[rows], axis=0) / (rows.sum() + 1)
    r = np.corrcoef(_by_dummies(ranks, table.site), rowvar=False)
    return [Difference("Spearman within sites", f"{library('scipy')} rankdata by site", largest(fit.r_, r), 1e-12)]


def _spearman(table: Table, fit: RankCorrelation, tolerance: float) -> list[Difference]:
    from scipy import stats

    r = stats.spearmanr(table.matrix(fit.columns)).statistic
    return [Difference(f"Spearman pooled, {fit.how_}", f"{library('scipy')} spearmanr", largest(fit.r_, r), tolerance)]


def _readings(table: Table) -> tuple[tuple[str, ...], ...]:
    """The columns of each reader."""
    features = [name for name in table.columns if name.endswith("@1")]
    return tuple(tuple(name.replace("@1", f"@{reader}") for name in features) for reader in (1, 2, 3))


def _agreement(pooled: PooledAgreement) -> list[Difference]:
    frozen = golden("icc")
    psych = f"R psych {frozen['r']['psych']}"
    rows = []
    for i, form in enumerate(FORMS):
        fit = pooled.agreement(form)
        ends = [largest(fit.low_, frozen["low"][i]), largest(fit.high_, frozen["high"][i])]
        rows += [
            Difference(f"{form} of the pooled table", psych, largest(fit.icc_, frozen["icc"][i]), 1e-12),
            Difference(f"{form} interval", psych, max(ends), 1e-12),
        ]
    # Where readers differ less than by chance the truncated form is ICC(3,1), elsewhere ICC(2,1).
    truncated = np.where(np.array(frozen["judges"]) < 1, frozen["icc"][2], frozen["icc"][1])
    apart = largest(pooled.agreement(Form.ICC2_TRUNCATED).icc_, truncated)
    return [*rows, Difference(f"{Form.ICC2_TRUNCATED}", psych, apart, 1e-12)]


def _kappa(both: dict[str, FloatArray], ours: Kappa) -> list[Difference]:
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import cohens_kappa

    theirs = cohens_kappa(ours.table_)
    ends = largest(ours.interval, (theirs.kappa_low, theirs.kappa_upp))
    first, second = (values[~np.isnan(values)] for values in both.values())
    kappa = largest(ours.kappa_, cohen_kappa_score(first, second))
    return [
        Difference("Cohen's kappa of two readers", f"{library('scikit-learn')} cohen_kappa_score", kappa, 1e-12),
        Difference("Cohen's kappa interval", f"{library('statsmodels')} cohens_kappa", ends, 1e-12),
    ]


def _averaged_agreement(fits: list[Agreement]) -> list[Difference]:
    frozen = golden("icc")
    oracle = ", ".join(f"R {name} {frozen['r'][name]}" for name in ("psych", "metafor"))
    rows = []
    for fit, form, theirs in zip(fits, FORMS, frozen["averaged"], strict=True):
        apart = largest([fit.icc_, fit.low_, fit.high_], np.array(theirs).T)
        rows.append(Difference(f"{form} averaged over sites", oracle, apart, 1e-12))
    return rows


def _ordered(*, within_site: bool) -> Case:
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(
        table,
        lambda: [relevance(COHORT, Recipe(), "y", names, within_site=within_site)],
        lambda r: _mrmr(table, r[0], within=within_site),
    )


def _mrmr(table: Table, fit: Relevance, *, within: bool) -> list[Difference]:
    from scipy import stats

    names, y = fit.among.columns, table.endpoints["y"]
    both = np.column_stack([table.matrix(names), y])
    kind, rows = "pooled", []
    if within:
        kind, both = "within sites", _by_dummies(both, table.site)
    else:
        f = stats.f_oneway(both[y == 1, :-1], both[y == 0, :-1]).statistic
        rows.append(Difference("F statistic (relative)", f"{library('scipy')} f_oneway", relative(fit.f_, f), 1e-12))
    degrees = len(y) - 1 - (np.unique(table.site).size if within else 1)
    for criterion in Criterion:
        as_it_comes = criterion is Criterion.FCQ and not within
        expected = _by_default(names, both) if as_it_comes else _by_mrmr(names, both, degrees, criterion)
        wrong = sum(a != b for a, b in zip(expected, fit.select(30, criterion).selected_, strict=True))
        oracle = library("mrmr-selection")
        rows.append(Difference(f"mRMR {criterion} {kind}: other places", oracle, float(wrong), 0.0))
    return rows


def _by_default(names: Sequence[str], both: FloatArray) -> list[str]:
    """The library's own F and correlations, of classes."""
    import pandas as pd
    from mrmr import mrmr_classif

    X, y = pd.DataFrame(both[:, :-1], columns=list(names)), pd.Series(both[:, -1])
    order: list[str] = mrmr_classif(X, y, K=len(names), n_jobs=1, show_progress=False)
    return order


def _by_mrmr(names: Sequence[str], both: FloatArray, degrees: int, criterion: Criterion) -> list[str]:
    """The features in the library's order; `both` has the endpoint as last column, `degrees` are those of F.

    The library divides relevance by a summary of redundancies. A difference has the order of a quotient of exponents;
    redundancies are raised by one, out of the reach of the library's floor, and the summary takes it off again.
    """
    import pandas as pd
    from mrmr import mrmr_classif

    X, y = pd.DataFrame(both[:, :-1], columns=list(names)), pd.Series(both[:, -1])
    use_f, quotient = criterion in (Criterion.FCQ, Criterion.FCD), criterion in (Criterion.FCQ, Criterion.MIQ)
    half = 0.5  # of the exponent: e to the largest F is beyond float64

    def relevant(X: Any, y: Any) -> Any:
        square = np.square(X.corrwith(y))
        value = degrees * square / (1 - square) if use_f else -0.5 * np.log1p(-square)
        return value if quotient else np.exp(half * value)

    def redundant(X: Any, target_column: str, features: list[str]) -> Any:
        r = X[features].corrwith(X[target_column])
        value = r.abs() if use_f else -0.5 * np.log1p(-np.square(r))
        return value if quotient else value + 1.0

    summary = "mean" if quotient else (lambda values: np.exp(half * (np.mean(values) - 1.0)))
    order: list[str] = mrmr_classif(
        X, y, K=len(names), relevance=relevant, redundancy=redundant, denominator=summary, n_jobs=1, show_progress=False
    )
    return order
