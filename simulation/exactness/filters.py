"""simulation: exactness of correlation filters, reader agreement, mRMR and ComBat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from common.statistics.combat import CombatFit, combat
from common.statistics.correlation import Correlation, Keep, correlation
from common.statistics.icc import Agreement, Form, PooledAgreement, agreement, pooled_agreement
from common.statistics.mrmr import Criterion, Relevance, relevance
from common.statistics.quantiles import Guard
from common.statistics.ranks import RankCorrelation, binned_spearman, spearman
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, public_data, relative
from simulation.exactness.tables import breast_cancer, reader_study, two_scanners
from simulation.views import COHORT

PROTECTED = ("mean_texture", "mean_fractal_dimension")
"""Covariates of the ComBat case; the other features are harmonised."""

R_STOPS_AT = 1e-4
"""Relative step at which the R implementation of ComBat ends its iteration."""


def pearson() -> Case:
    """Pearson correlations within sites and pooled, and what filters keep by them."""
    table = breast_cancer()
    names = tuple(table.columns)
    ways = (True, False)
    return Case(
        table,
        lambda: [correlation(COHORT, Recipe(), names, within_site=way) for way in ways],
        lambda r: [d for way, fit in zip(ways, r, strict=True) for d in _pearson(table, fit, within=way)],
    )


def ranks_within_sites() -> Case:
    """Spearman's correlations within sites."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(table, lambda: [spearman(COHORT, Recipe(), names)], lambda r: _site_ranks(table, r[0]))


def pooled_ranks() -> Case:
    """Spearman's correlations of ranks over all sites."""
    table = breast_cancer()
    names = tuple(table.columns)
    return Case(
        table, lambda: [spearman(COHORT, Recipe(), names, within_site=False)], lambda r: _spearman(table, r[0], 1e-12)
    )


def binned_ranks() -> Case:
    """Spearman's correlations over 50 bins between guarded quantiles."""
    table = breast_cancer()
    names = tuple(table.columns)
    highest = tuple(float(np.exp2(np.ceil(np.log2(values.max())))) for values in table.columns.values())
    guard = Guard((0.0,) * len(names), highest, 5)
    return Case(
        table, lambda: [binned_spearman(COHORT, Recipe(), names, 50, guard)], lambda r: _spearman(table, r[0], 6e-3)
    )


def readers() -> Case:
    """Agreement of three readers on thirty features: of the pooled table, and averaged over sites."""
    table = reader_study()
    features = tuple(name for name in table.columns if name.endswith("@1"))
    columns = tuple(tuple(name.replace("@1", f"@{reader}") for name in features) for reader in (1, 2, 3))
    forms = (Form.ICC1, Form.ICC2, Form.ICC3)
    return Case(
        table,
        lambda: [
            pooled_agreement(COHORT, Recipe(), columns),
            *(agreement(COHORT, Recipe(), columns, f) for f in forms),
        ],
        lambda r: _agreement(r[0], r[1:]),
    )


def redundancy() -> Case:
    """All thirty features in the order of mRMR."""
    table = breast_cancer()
    names = tuple(table.columns)
    ways = (True, False)
    return Case(
        table,
        lambda: [relevance(COHORT, Recipe(), "y", names, within_site=way) for way in ways],
        lambda r: _mrmr(table, *r),
    )


def harmonised() -> Case:
    """ComBat over four sites with two protected covariates."""
    table = breast_cancer()
    names = tuple(name for name in table.columns if name not in PROTECTED)
    return Case(
        table,
        lambda: [combat(COHORT, Recipe(), names, PROTECTED), combat(COHORT, Recipe(), names)],
        lambda r: _four_sites(table, r),
    )


def harmonised_scanners() -> Case:
    """ComBat with all options over two scanners, as the R implementation gave them."""
    table = two_scanners()
    names = tuple(name for name in table.columns if name.startswith("v"))
    designs = [(covariates, reference) for covariates in ((), ("pheno",)) for reference in ("", "reference")]
    return Case(
        table,
        lambda: [combat(COHORT, Recipe(), names, *design) for design in designs],
        lambda r: _two_scanners(table, dict(zip(designs, r, strict=True))),
    )


CASES = (pearson, ranks_within_sites, pooled_ranks, binned_ranks, readers, redundancy, harmonised, harmonised_scanners)


def _by_dummies(X: FloatArray, site: NDArray[np.int64]) -> FloatArray:
    """What a regression on one dummy column a site leaves."""
    dummies = (site[:, np.newaxis] == np.unique(site)).astype(np.float64)
    residual: FloatArray = X - dummies @ np.linalg.lstsq(dummies, X, rcond=None)[0]
    return residual


def _pearson(table: Table, fit: Correlation, *, within: bool) -> list[Difference]:
    from scipy import stats

    X = table.matrix(fit.columns)
    r: FloatArray = np.asarray(np.corrcoef(_by_dummies(X, table.site) if within else X, rowvar=False))
    kind = "Pearson within sites" if within else "Pearson pooled"
    oracle = f"{library('numpy')} corrcoef{' of residuals on site' if within else ''}"
    rows = [Difference(kind, oracle, largest(fit.r_, r), 1e-12)]
    if not within:
        p = np.array([stats.pearsonr(X[:, -1], X[:, j]).pvalue for j in range(X.shape[1] - 1)])
        apart = largest(np.log10(fit.p_[-1, :-1]), np.log10(p))
        rows.append(Difference("Pearson log10 p", f"{library('scipy')} pearsonr", apart, 1e-8))
    wrong = 0
    for threshold in (0.5, 0.7, 0.9):
        wrong += set(fit.kept(threshold)) != {fit.columns[i] for i in _greedy(r, threshold)}
        wrong += set(fit.kept(threshold, Keep.LESS_CORRELATED)) != {fit.columns[i] for i in _caret(r, threshold)}
    return [*rows, Difference(f"{kind}: other columns kept", "both filters, as loops on the same", float(wrong), 0.0)]


def _greedy(r: FloatArray, threshold: float) -> list[int]:
    kept: list[int] = []
    for i in range(len(r)):
        if all(abs(r[i, j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def _caret(r: FloatArray, threshold: float) -> list[int]:
    """`caret::findCorrelation(exact = TRUE)`, one pair after the other, with missing values as it has them."""
    size = np.abs(r)
    np.fill_diagonal(size, np.nan)
    order = np.argsort(-np.nanmean(size, axis=0), kind="stable")
    size = size[np.ix_(order, order)]
    left = size.copy()
    gone: set[int] = set()
    for i in range(len(r) - 1):
        for j in range(i + 1, len(r)):
            if i in gone or j in gone or not size[i, j] > threshold:
                continue
            drop = i if np.nanmean(left[i]) > np.nanmean(np.delete(left, j, axis=0)) else j
            gone.add(drop)
            left[drop, :] = left[:, drop] = np.nan
    return [int(order[i]) for i in range(len(r)) if i not in gone]


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


def _agreement(pooled: PooledAgreement, by_site: Sequence[Agreement]) -> list[Difference]:
    frozen = golden("icc")
    psych, metafor = (f"R {name} {frozen['r'][name]}" for name in ("psych", "metafor"))
    rows = []
    for i, form in enumerate((Form.ICC1, Form.ICC2, Form.ICC3)):
        fit, average = pooled.agreement(form), by_site[i]
        theirs = np.array(frozen["averaged"][i]).T
        ends = [largest(fit.low_, frozen["low"][i]), largest(fit.high_, frozen["high"][i])]
        ours = [average.icc_, average.low_, average.high_]
        rows += [
            Difference(f"{form} of the pooled table", psych, largest(fit.icc_, frozen["icc"][i]), 1e-10),
            Difference(f"{form} interval", psych, max(ends), 1e-9),
            Difference(f"{form} averaged over sites", f"{psych}, {metafor}", largest(ours, theirs), 1e-10),
        ]
    # Where readers differ less than by chance the truncated form is ICC(3,1), elsewhere ICC(2,1).
    truncated = np.where(np.array(frozen["judges"]) < 1, frozen["icc"][2], frozen["icc"][1])
    apart = largest(pooled.agreement(Form.ICC2_TRUNCATED).icc_, truncated)
    return [*rows, Difference(f"{Form.ICC2_TRUNCATED}", psych, apart, 1e-10)]


def _mrmr(table: Table, within: Relevance, pooled: Relevance) -> list[Difference]:
    import pandas as pd
    from mrmr import mrmr_classif
    from scipy import stats

    names, y = pooled.among.columns, table.endpoints["y"]
    X = table.matrix(names)
    order = mrmr_classif(pd.DataFrame(X, columns=list(names)), pd.Series(y), K=30, n_jobs=1, show_progress=False)
    f = stats.f_oneway(X[y == 1], X[y == 0]).statistic
    places = [abs(order.index(name) - i) for i, name in enumerate(pooled.select(30).selected_)]
    both = _by_dummies(np.column_stack([X, y]), table.site)
    rows = [
        Difference("F statistic (relative)", f"{library('scipy')} f_oneway", relative(pooled.f_, f), 1e-12),
        Difference("mRMR FCQ: places moved", library("mrmr-selection"), float(max(places)), 0.0),
    ]
    for fit, rest, kind in ((pooled, np.column_stack([X, y]), "pooled"), (within, both, "within sites")):
        r = np.corrcoef(rest, rowvar=False)
        for criterion in Criterion:
            expected = _greedily(r, fit.among.degrees_, criterion)
            wrong = sum(names[i] != name for i, name in zip(expected, fit.select(30, criterion).selected_, strict=True))
            rows.append(Difference(f"mRMR {criterion} {kind}: other places", "its definition", float(wrong), 0.0))
    return rows


def _greedily(r: FloatArray, degrees: int, criterion: Criterion) -> list[int]:
    """mRMR by its definition, endpoint last in the correlations."""
    p = len(r) - 1
    use_f = criterion in (Criterion.FCQ, Criterion.FCD)
    relevant = [degrees * v * v / (1 - v * v) if use_f else -0.5 * np.log(1 - v * v) for v in r[p, :p]]
    chosen: list[int] = []
    while len(chosen) < p:
        scores = []
        for i in range(p):
            alike = [abs(r[i, j]) if use_f else -0.5 * np.log(1 - r[i, j] ** 2) for j in chosen if i not in chosen]
            if i in chosen:
                scores.append(-np.inf)
            elif not chosen:
                scores.append(relevant[i])
            elif criterion in (Criterion.FCQ, Criterion.MIQ):
                scores.append(relevant[i] / np.mean(np.maximum(alike, 0.001)))
            else:
                scores.append(relevant[i] - np.mean(alike))
        chosen.append(int(np.argmax(scores)))
    return chosen


def apply_by_site(table: Table, fit: CombatFit, **options: bool | int) -> FloatArray:
    """(n, columns) the harmonised rows: each site applies the step to its own."""
    step = fit.step(**options)  # type: ignore[arg-type]
    adjusted = np.empty((table.site.size, len(fit.columns)))
    for site in np.unique(table.site):
        rows = table.site == site
        frame = Frame({k: v[rows] for k, v in table.columns.items()}, {}, int(rows.sum()))
        adjusted[rows] = step.apply(frame).matrix(fit.columns)
    return adjusted


def combat_by_dummies(
    Y: FloatArray, C: FloatArray, site: NDArray[np.int64], *, eb: bool = True, mean_only: bool = False
) -> FloatArray:
    """ComBat on the pooled rows (Johnson 2007, section 3), one dummy column a site."""
    labels = np.unique(site)
    dummies = (site[:, np.newaxis] == labels).astype(np.float64)
    B = np.linalg.lstsq(np.column_stack([dummies, C]), Y, rcond=None)[0]
    expected = dummies.mean(axis=0) @ B[: labels.size] + C @ B[labels.size :]
    scale = np.sqrt(np.mean(np.square(Y - np.column_stack([dummies, C]) @ B), axis=0))
    out = np.empty_like(Y)
    for label in labels:
        rows = site == label
        z = (Y[rows] - expected[rows]) / scale
        g, d = z.mean(axis=0), np.ones(Y.shape[1]) if mean_only else z.var(axis=0, ddof=1)
        if eb and mean_only:
            g = (g.var(ddof=1) * g + g.mean()) / (g.var(ddof=1) + 1)
        elif eb:
            g, d = parametric_estimates(z, 1e-14)
        out[rows] = expected[rows] + scale * (z - g) / np.sqrt(d)
    return out


def parametric_estimates(z: FloatArray, stop: float) -> tuple[FloatArray, FloatArray]:
    """Gamma and delta of one site's standardised rows, by the iteration of Johnson 2007.

    `stop` is the step, relative to the value before, at which the iteration ends (in R: `R_STOPS_AT`).
    """
    n, mean, variance = len(z), z.mean(axis=0), z.var(axis=0, ddof=1)
    t2, m, s2 = mean.var(ddof=1), variance.mean(), variance.var(ddof=1)
    a, b = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    g, d, change = mean, variance, np.inf
    while change > stop:
        g_new = (t2 * n * mean + d * mean.mean()) / (t2 * n + d)
        d_new = (0.5 * np.square(z - g_new).sum(axis=0) + b) / (n / 2 + a - 1)
        change = max(float(np.max(np.abs((g_new - g) / g))), float(np.max(np.abs((d_new - d) / d))))
        g, d = g_new, d_new
    return g, d


def _four_sites(table: Table, fits: Sequence[CombatFit]) -> list[Difference]:
    from sklearn.linear_model import LinearRegression

    rows = []
    dummies = (table.site[:, np.newaxis] == np.unique(table.site)).astype(np.float64)
    for fit in fits:
        Y, C = table.matrix(fit.columns), np.empty((table.site.size, 0))
        kind = f"{len(fit.covariates)} covariates"
        if fit.covariates:
            C = table.matrix(fit.covariates)
            pooled = LinearRegression(fit_intercept=False).fit(np.column_stack([dummies, C / C.std(axis=0)]), Y)
            spread = Y.std(axis=0)[:, np.newaxis]
            apart = largest(fit.coef_.T * C.std(axis=0) / spread, pooled.coef_[:, dummies.shape[1] :] / spread)
            oracle = f"{library('scikit-learn')} LinearRegression on sites"
            rows.append(Difference("ComBat covariate effects (standardised)", oracle, apart, 1e-10))
        for name, options in (("", {}), (", mean only", {"mean_only": True}), (", no EB", {"eb": False})):
            expected = combat_by_dummies(Y, C, table.site, **options)
            apart = float(np.max(np.abs(apply_by_site(table, fit, **options) - expected) / Y.std(axis=0)))
            rows.append(Difference(f"ComBat, {kind}{name} (SD)", "pooled rows with dummies", apart, 1e-9))
    return rows


@cache
def combat_outputs() -> dict[str, FloatArray]:
    """What the R implementation gave for `two_scanners`, (10, 200) by the words of its options."""
    import pandas as pd

    folder = public_data("combat_reference") / "outputData_r"
    start, end = "testdata_combat_", "_r.csv"
    return {
        path.name.removeprefix(start).removesuffix(end): pd.read_csv(path).to_numpy(np.float64).T
        for path in sorted(folder.glob(f"{start}*{end}"))
    }


def _two_scanners(table: Table, fits: dict[tuple[tuple[str, ...], str], CombatFit]) -> list[Difference]:
    closed = iterated = 0.0
    for words, theirs in combat_outputs().items():
        options = words.split("_")
        design = (("pheno",) if "adjusted" in options else (), "reference" if "batchref" in options else "")
        eb, parametric = "noeb" not in options, "parametric" in options
        mean_only = any(option.startswith("meanonl") for option in options)
        fit = fits[design]
        ours = apply_by_site(table, fit, eb=eb, parametric=parametric, mean_only=mean_only, min_patients=5)
        apart = float(np.max(np.abs(ours - theirs) / table.matrix(fit.columns).std(axis=0)))
        if eb and parametric and not mean_only:
            iterated = max(iterated, apart)
        else:
            closed = max(closed, apart)
    oracle = "R ComBatHarmonization"
    return [
        Difference("ComBat, 31 sets of options (SD)", oracle, closed, 1e-9),
        Difference("ComBat, parametric EB (SD)", f"{oracle}, which stops at a step of {R_STOPS_AT:g}", iterated, 2e-5),
    ]
