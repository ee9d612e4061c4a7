"""An independent reading of site folders with pandas, and pooled fits with statsmodels, scikit-learn and lifelines.

Shares nothing with the product but the protocol: it reads `patients.csv`, applies eligibility, codes predictors
and fits, as a statistician with all rows on one machine would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from sklearn.metrics import roc_auc_score

from common.published.results import Result, Results
from common.study.protocol import Model, Study
from common.study.terms import Term


@dataclass
class Differences:
    """The largest difference seen of each statistic."""

    worst: dict[str, float] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)

    def see(self, statistic: str, ours: float | None, theirs: float, scale: float = 1.0) -> None:
        assert ours is not None, statistic
        self.worst[statistic] = max(self.worst.get(statistic, 0.0), abs(ours - theirs) / scale)
        self.compared[statistic] = self.compared.get(statistic, 0) + 1


def pooled_table(sites: Path, study: Study, names: tuple[str, ...]) -> pd.DataFrame:
    """All eligible patients of the named sites."""
    frames = []
    for name in names:
        folder = next(p.parent for p in sites.glob("*/site.toml") if f'name = "{name}"' in p.read_text())
        frames.append(pd.read_csv(folder / "patients.csv", dtype=str, keep_default_na=False).assign(site=name))
    table = pd.concat(frames, ignore_index=True)
    for rule_name, rule in study.eligibility.rules():
        column = table[rule.column or rule_name]
        empty = column == ""
        failed = column.isin(rule.refuse)
        if rule.accept:
            failed |= ~empty & ~column.isin(rule.accept)
        number = pd.to_numeric(column, errors="coerce")
        if rule.at_most is not None:
            failed |= number > rule.at_most
        if rule.at_least is not None:
            failed |= number < rule.at_least
        failed = (failed & ~empty) | (empty & (rule.missing == "exclude"))
        table = table[~failed]
    return table


def outcome(study: Study, table: pd.DataFrame, name: str) -> pd.Series:
    endpoint = study.endpoint(name)
    cells = table[endpoint.columns[-1]]
    return cells.map({**dict.fromkeys(endpoint.negative, 0.0), **dict.fromkeys(endpoint.positive, 1.0)})


def coded(study: Study, table: pd.DataFrame, terms: tuple[Term, ...]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for term in terms:
        variable = study.variable(term.variable)
        cells = table[term.variable]
        if term.coding == "levels":
            for level in (variable.levels or ("no", "yes"))[1:]:
                columns[f"{variable.name}={level}"] = np.where(cells == "", np.nan, (cells == level).astype(float))
            continue
        number = pd.to_numeric(cells, errors="raise")
        if term.coding == "above":
            cutoff = term.cutoff if term.cutoff is not None else variable.cutoff
            columns[f"{variable.name}>{cutoff:g}"] = np.where(number.isna(), np.nan, (number > cutoff).astype(float))
        else:
            columns[variable.name if term.coding == "linear" else f"log({variable.name})"] = (
                number if term.coding == "linear" else np.log1p(number)
            )
    return pd.DataFrame(columns, index=table.index)


def training(study: Study, sites: Path, model: Model) -> tuple[pd.DataFrame, pd.Series, pd.DataFrame]:
    """Design (raw), outcome, and the design as the model handles missing values; rows with a known outcome."""
    table = pooled_table(sites, study, study.cohort(model.cohort).sites)
    raw = coded(study, table, model.predictors)
    handled = raw.fillna(raw.mean()) if model.missing == "mean" else raw
    y = outcome(study, table, model.endpoint)
    keep = y.notna() & handled.notna().all(axis=1)
    return raw, y, handled[keep]


def fit(X: pd.DataFrame, y: pd.Series) -> Any:
    centre, scale = X.mean(), X.std()
    first = sm.Logit(y, sm.add_constant((X - centre) / scale)).fit(disp=0, tol=1e-14, maxiter=200)
    slopes = first.params.iloc[1:] / scale
    start = [first.params.iloc[0] - float((slopes * centre).sum()), *slopes]
    return sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-14, start_params=start, warn_convergence=False)


def value(result: Result, name: str, term: str = "") -> Any:
    return next(e for e in result.estimates if e.name == name and e.term == term)


def compare_models(study: Study, sites: Path, results: Results, seen: Differences) -> None:
    for model in study.models:
        raw, y, X = training(study, sites, model)
        pooled = fit(X, y[X.index])
        ours = results.get(f"model.{model.name}.coefficients")
        assert (ours.n, ours.events) == (len(X), int(y[X.index].sum()))
        for i, name in enumerate(pooled.params.index):
            term = "intercept" if name == "const" else name
            size = 1.0 if name == "const" else 1.0 / float(X[name].std())
            estimate = value(ours, "coef", term)
            seen.see("logistic coef (standardised)", estimate.value, pooled.params.iloc[i], size)
            seen.see("logistic SE (standardised)", estimate.std_err, pooled.bse.iloc[i], size)
            seen.see("logistic log10 p", np.log10(estimate.p), np.log10(pooled.pvalues.iloc[i]))
        seen.see("log-likelihood", value(ours, "log_likelihood").value, pooled.llf)
        alone = results.get(f"model.{model.name}.univariable")
        moments = results.get(f"model.{model.name}.moments")
        for name in raw.columns:
            x = raw[[name]][raw[name].notna()]
            seen.see("mean (relative)", value(moments, "mean", name).value, x[name].mean(), abs(x[name].mean()))
            seen.see("SD (relative)", value(moments, "std", name).value, x[name].std(), x[name].std())
            x = x[y[x.index].notna()]
            single = fit(x, y[x.index])
            size = 1.0 / float(x[name].std())
            seen.see("univariable coef (standardised)", value(alone, "coef", name).value, single.params.iloc[1], size)
            seen.see("univariable SE (standardised)", value(alone, "coef", name).std_err, single.bse.iloc[1], size)
            seen.see("AUC", value(alone, "auc", name).value, roc_auc_score(y[x.index], x[name]))
        compare_auc(study, sites, results, model, pooled, raw.mean(), seen)


def compare_auc(
    study: Study, sites: Path, results: Results, model: Model, pooled: Any, means: pd.Series, seen: Differences
) -> None:
    for cohort_name in (model.cohort, *model.evaluate):
        cohort = study.cohort(cohort_name)
        groups = [cohort.sites] if len(cohort.sites) >= study.limits.min_sites else [(s,) for s in sorted(cohort.sites)]
        for group in groups:
            table = pooled_table(sites, study, group)
            X = coded(study, table, model.predictors)
            X = X.fillna(means) if model.missing == "mean" else X
            y = outcome(study, table, model.endpoint)
            keep = y.notna() & X.notna().all(axis=1)
            # A predicted risk has four decimals, by the definition of a model.
            score = pooled.predict(sm.add_constant(X[keep], has_constant="add")).round(4)
            truth = y[keep]
            suffix = "" if len(groups) == 1 and len(group) == len(cohort.sites) > 2 else f".{group[0]}"
            ours = results.get(f"model.{model.name}.auc.{cohort_name}{suffix}")
            if min(truth.sum(), len(truth) - truth.sum()) < study.limits.min_test_class:
                assert ours.status == "not-estimable", ours.id
                continue
            estimate = value(ours, "auc")
            auc, error = delong(score.to_numpy(), truth.to_numpy())
            seen.see("AUC", estimate.value, auc)
            seen.see("DeLong SE", estimate.std_err, error)


def delong(score: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    positive, negative = score[y == 1], score[y == 0]
    # Scores that are equal patient by patient differ in their last bit between two ways of summing.
    psi = 0.5 * (1 + np.sign(np.where(np.isclose(d := positive[:, None] - negative, 0, atol=1e-13), 0, d)))
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return float(psi.mean()), float(np.sqrt(v10.var(ddof=1) / len(positive) + v01.var(ddof=1) / len(negative)))


def compare_survival(study: Study, sites: Path, results: Results, seen: Differences) -> None:
    for comparison in study.comparisons:
        endpoint = study.endpoint(comparison.endpoint)
        table = pooled_table(sites, study, study.cohort(comparison.cohort).sites)
        group = outcome(study, table, comparison.group)
        time = pd.to_numeric(table[endpoint.columns[0]], errors="coerce")
        event = outcome(study, table, comparison.endpoint)
        keep = group.notna() & time.notna() & event.notna()
        test = multivariate_logrank_test(time[keep], group[keep], event[keep])
        ours = results.get(f"comparison.{comparison.name}")
        seen.see("log-rank chi2", value(ours, "log_rank_chi2", "df=1").value, test.test_statistic)
        seen.see("log-rank p", value(ours, "log_rank_chi2", "df=1").p, test.p_value)
        words = study.endpoint(comparison.group)
        for label, level in ((words.negative[0], 0.0), (words.positive[0], 1.0)):
            rows = keep & (group == level)
            km = KaplanMeierFitter().fit(time[rows], event[rows])
            term = f"{words.title}: {label}"
            assert value(ours, "patients", term).value == rows.sum()
            median = value(ours, "median", term).value
            assert (median is None) == bool(np.isinf(km.median_survival_time_))
            if median is not None:
                seen.see("median survival", median, km.median_survival_time_)
            for at in comparison.times:
                shown = value(ours, "survival", f"{term} at {at:g} {endpoint.unit}")
                if shown.value is not None:
                    seen.see("Kaplan-Meier survival", shown.value, km.predict(at))
