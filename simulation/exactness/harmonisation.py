"""simulation: exactness of ComBat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from common.statistics.combat import CombatFit, combat
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, public_data
from simulation.exactness.tables import breast_cancer, two_scanners
from simulation.views import COHORT

PROTECTED = ("mean_texture", "mean_fractal_dimension")
"""Covariates of the case over four sites; the other features are harmonised."""

UNSEEN = 2
"""Site of `breast_cancer` that takes no part in the fit of a frozen ComBat."""

R_STOPS_AT = 1e-4
"""Relative step at which the R implementations of ComBat end their iteration."""


def harmonised() -> Case:
    """ComBat over four sites, with two protected covariates and without, with a reference site and without."""
    table = breast_cancer()
    names = tuple(name for name in table.columns if name not in PROTECTED)
    table = replace(table, columns={**table.columns, "reference": (table.site == 1).astype(np.float64)})
    designs = [(covariates, reference) for reference in ("", "reference") for covariates in (PROTECTED, ())]
    return Case(
        table,
        lambda: [combat(COHORT, Recipe(), names, *design) for design in designs],
        lambda r: [*_four_sites(table, r[:2]), *_by_sva(table, r)],
    )


def harmonised_unseen() -> Case:
    """ComBat fitted on three sites and applied at a fourth that took no part."""
    whole = breast_cancer()
    names = tuple(name for name in whole.columns if name not in PROTECTED)
    unseen = whole.site == UNSEEN
    part = replace(whole.rows(~unseen), title="breast cancer, 3 sites")
    return Case(
        part,
        lambda: [combat(COHORT, Recipe(), names, PROTECTED)],
        lambda r: _unseen(part, whole.rows(unseen), r[0]),
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


CASES = (harmonised, harmonised_unseen, harmonised_scanners)


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


def _unseen(part: Table, new: Table, fit: CombatFit) -> list[Difference]:
    """The model of the mean and the variance by a library on the pooled rows, gamma and delta of the new rows."""
    import statsmodels.api as sm

    Y, C = part.matrix(fit.columns), part.matrix(fit.covariates)
    dummies = (part.site[:, np.newaxis] == np.unique(part.site)).astype(np.float64)
    models = [sm.OLS(y, np.column_stack([dummies, C])).fit() for y in Y.T]
    effects = np.array([model.params for model in models]).T
    level = dummies.mean(axis=0) @ effects[: dummies.shape[1]]
    scale = np.sqrt([model.ssr / len(Y) for model in models])
    expected = level + new.matrix(fit.covariates) @ effects[dummies.shape[1] :]
    z = (new.matrix(fit.columns) - expected) / scale
    gamma, delta = parametric_estimates(z, 1e-14)
    theirs = expected + scale * (z - gamma) / np.sqrt(delta)
    apart = largest(apply_by_site(new, fit) / scale, theirs / scale)
    oracle = f"{library('statsmodels')} OLS on sites, Johnson's iteration"
    return [Difference("ComBat frozen, unseen site (SD)", oracle, apart, 1e-9)]


def _by_sva(table: Table, fits: Sequence[CombatFit]) -> list[Difference]:
    frozen = golden("filters")["combat"]
    worst = {"closed": 0.0, "iterated": 0.0}
    for fit in fits:
        spread = table.matrix(fit.columns).std(axis=0)
        for name, theirs in frozen["covariates" if fit.covariates else "plain"].items():
            if name.endswith("reference") != bool(fit.reference):
                continue
            ours = apply_by_site(table, fit, parametric=name != "nonparametric", mean_only=name.startswith("mean_only"))
            how = "iterated" if name in ("parametric", "reference") else "closed"
            worst[how] = max(worst[how], largest(ours[frozen["rows"]] / spread, np.array(theirs) / spread))
    oracle = f"R sva {golden('filters')['r']['sva']} ComBat"
    return [
        Difference("ComBat, mean only and non-parametric EB (SD)", oracle, worst["closed"], 1e-9),
        Difference("ComBat, parametric EB (SD)", f"{oracle}, stops at {R_STOPS_AT:g}", worst["iterated"], 1e-6),
    ]


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
    oracle = "R ComBatHarmonization, test outputs of its repository"
    return [
        Difference("ComBat, 31 sets of options (SD)", oracle, closed, 1e-9),
        Difference("ComBat, parametric EB (SD)", f"{oracle}, which stops at a step of {R_STOPS_AT:g}", iterated, 2e-5),
    ]
