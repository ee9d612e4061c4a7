"""server/study: step: the further statistics of `[[analyses]]`, on predictors of a training cohort.

Each statistic is a function from its analysis to what is published of it. Those on models' scores are in
`score_analyses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np

from common.errors import FedmviError
from common.federation.runner import Conclusion, attempt, together
from common.published.results import AFTER_SELECTION, Estimate, Result
from common.statistics.chi_square import ChiSquare, class_chi_square
from common.statistics.concordance import concordance
from common.statistics.correlation import correlation
from common.statistics.cox import cox
from common.statistics.cox_common_baseline import cox_common_baseline
from common.statistics.cox_elastic_net import cox_elastic_net_cv
from common.statistics.distributions import two_sided_p
from common.statistics.elastic_net import elastic_net_cv
from common.statistics.firth import firth
from common.statistics.kappa import Kappa, ReaderTable, reader_kappa
from common.statistics.mann_whitney import mann_whitney
from common.statistics.moments import moments
from common.statistics.mrmr import relevance
from common.statistics.ordinal import ordinal
from common.statistics.proportional_hazards import proportional_hazards, proportional_hazards_common
from common.statistics.quantiles import Guard, quantiles
from common.statistics.random_effects import MetaAnalysis, Method, random_effects
from common.statistics.ranks import spearman
from common.statistics.selection import backward_elimination
from common.statistics.stability import stability_selection
from common.statistics.stratified_logistic import SiteHandling, stratified_logistic
from common.statistics.student_t import t_test, within_site_t_test
from common.statistics.univariable import univariable
from common.study.analyses import ANALYSES, FOLDS, StatisticName
from common.study.protocol import Study
from common.study.ranges import plausible_range, table_columns
from common.study.readings import BothReadings
from common.study.recipe import Complete, Fold, Recipe, Select
from server.study.models import refusal
from server.study.subject import Finding, Row, Subject, estimates, number, result_of

QUARTILES = (0.25, 0.5, 0.75)


def analyse(study: Study) -> Conclusion[list[Result]]:
    """All analyses on predictors, in lock-step."""
    chosen = [a for a in study.analyses if ANALYSES[a.statistic].on == "predictors"]
    found: list[Finding | FedmviError] = yield from together(
        *(attempt(MAKERS[a.statistic](Subject.of(study, a))) for a in chosen)
    )
    return [result_of(study, a, finding) for a, finding in zip(chosen, found, strict=True)]


def _t_test(s: Subject) -> Conclusion[Finding]:
    if s.analysis.within_site:
        fit = yield from within_site_t_test(s.analysis.cohort, s.known, s.endpoint, s.names)
    else:
        fit = (yield from t_test(s.analysis.cohort, s.known, s.endpoint, s.names)).welch_
    rows = [
        {"term": c, "difference": d, "difference_low": low, "difference_high": high, "std_err": se, "p": p}
        for c, d, low, high, se, p in zip(
            fit.columns, fit.difference_, fit.low_, fit.high_, fit.std_err_, fit.p_, strict=True
        )
    ]
    return Finding(estimates(rows, "mean_difference", "difference"), note=_sites(s))


def _mann_whitney(s: Subject) -> Conclusion[Finding]:
    fit = yield from mann_whitney(s.analysis.cohort, s.known, s.endpoint, s.names, within_site=s.analysis.within_site)
    return Finding(estimates(fit.summary, "auc", "auc", term="column"), note=_sites(s))


def _sites(s: Subject) -> str:
    return "Compared within hospitals." if s.analysis.within_site else "Compared over all hospitals together."


def _univariable(s: Subject) -> Conclusion[Finding]:
    fit = yield from univariable(s.analysis.cohort, s.known, s.endpoint, s.names, within_site=s.analysis.within_site)
    return Finding(estimates(fit.summary, "odds_ratio", "odds_ratio"), note=_sites(s))


def _firth(s: Subject) -> Conclusion[Finding]:
    fit = yield from firth(s.analysis.cohort, s.recipe, s.endpoint, s.names, s.analysis.name)
    rows = [row for row in fit.summary if row["term"] != "intercept"]
    note = "Wald intervals; p of the penalised likelihood ratio."
    return Finding(estimates(rows, "odds_ratio", "odds_ratio", p="likelihood_ratio_p"), fit.n_, fit.events_, note)


def _stratified(s: Subject, sites: SiteHandling) -> Conclusion[Finding]:
    fit = yield from stratified_logistic(s.analysis.cohort, s.recipe, s.endpoint, s.names, sites, s.analysis.name)
    found = estimates(fit.summary, "odds_ratio", "odds_ratio")
    found.append(Estimate(name="new_site_intercept", value=number(fit.new_site_intercept_)))
    return Finding(found, fit.n_, fit.events_, "A new hospital gets the intercept that makes expected events observed.")


def _backward(s: Subject) -> Conclusion[Finding]:
    by_variable: dict[str, list[str]] = {}
    for column in s.coded:
        by_variable.setdefault(column.variable, []).append(column.name)
    terms = tuple(tuple(names) for names in by_variable.values())
    fit = yield from backward_elimination(s.analysis.cohort, s.recipe, s.endpoint, terms, s.analysis.name)
    found = [
        Estimate(name="coef", term=name, value=number(coef), std_err=number(se), p=number(two_sided_p(coef / se)),
                 note=AFTER_SELECTION)
        for name, coef, se in zip(fit.columns, fit.coef_, fit.std_err_, strict=True)
        if name != "intercept"
    ]  # fmt: skip
    found.append(Estimate(name="aic", value=number(fit.aic_)))
    dropped = [", ".join(step.dropped) for step in fit.steps_ if step.dropped]
    note = f"Left out, in order: {'; '.join(dropped) or 'none'}. Wald's p; neither errors nor p account for that."
    return Finding(found, fit.n_, fit.events_, note)


def _lasso(s: Subject) -> Conclusion[Finding]:
    recipe = s.recipe.then(Fold(FOLDS, s.endpoint))
    fit = yield from elastic_net_cv(s.analysis.cohort, recipe, s.endpoint, s.names, folds=FOLDS, model=s.analysis.name)
    rows = [row for row in fit.summary if row["term"] != "intercept"]
    found = _chosen(fit.lambda_min_, fit.lambda_1se_, rows)
    note = f"Standardised inside every training part; {FOLDS} folds drawn inside hospitals."
    if fit.path.stopped_:
        stopped = FedmviError(fit.path.stopped_)
        note += f" The path ends at a lambda of {fit.path.lambda_[-1]:.3g}: {stopped.code}."
    return Finding(found, fit.path.n_, fit.path.events_, note)


def _stability(s: Subject) -> Conclusion[Finding]:
    fit = yield from stability_selection(s.analysis.cohort, s.recipe, s.endpoint, s.names, model=s.analysis.name)
    note = (
        f"Selected in {fit.replicates_} half-samples drawn inside hospitals; stable from {fit.threshold_:g} on, "
        f"with at most {fit.false_positives:.2g} false positives expected."
    )
    return Finding(estimates(fit.summary, "selection_frequency", "frequency"), fit.n_, None, note)


def _correlation(s: Subject, *, ranks: bool) -> Conclusion[Finding]:
    statistic = spearman if ranks else correlation
    fit = yield from statistic(s.analysis.cohort, s.recipe, s.names, s.analysis.within_site)
    rows = [{**row, "term": f"{row['first']} with {row['second']}"} for row in fit.summary]
    return Finding(estimates(rows, "rho" if ranks else "r", "r"), fit.n_, None, _sites(s))


def _means(s: Subject) -> Conclusion[Finding]:
    fit = yield from moments(s.analysis.cohort, s.select, s.names)
    units = [s.study.variable(column.variable).unit if column.coding == "linear" else "" for column in s.coded]
    found = [
        Estimate(name=name, term=column, value=number(values[i]), unit=unit)
        for i, (column, unit) in enumerate(zip(fit.columns, units, strict=True))
        for name, values in (("known", fit.n_), ("mean", fit.mean_), ("std", fit.std_))
    ]
    return Finding(found, int(fit.n_.max()), None, "Missing values are left out, column by column.")


def _quantiles(s: Subject) -> Conclusion[Finding]:
    variables = [s.study.variable(column.variable) for column in s.coded]
    low, high = zip(*(plausible_range(s.study, column) for column in s.coded), strict=True)
    guard = Guard(low, high, s.study.limits.min_cell)
    fit = yield from quantiles(s.analysis.cohort, s.select, s.names, QUARTILES, guard)
    found = [
        Estimate(name=f"quantile_{q:g}", term=name, value=number(fit.value_[i, j]), unit=variables[i].unit)
        for i, name in enumerate(fit.columns)
        for j, q in enumerate(QUARTILES)
    ]
    return Finding(found, note="Searched between the plausible limits of each variable.", how=fit.how_)


def _mrmr(s: Subject) -> Conclusion[Finding]:
    fit = yield from relevance(s.analysis.cohort, s.recipe, s.endpoint, s.names, s.analysis.within_site)
    found = []
    for i, row in enumerate(fit.select(len(s.names)).summary, 1):
        found += [
            Estimate(name="rank", term=row["feature"], value=float(i)),
            Estimate(name="f", term=row["feature"], value=number(row["relevance"])),
        ]
        if i > 1:
            found.append(Estimate(name="mean_absolute_r", term=row["feature"], value=number(row["redundancy"])))
    return Finding(found, fit.among.n_, None, f"F over mean |r| with the predictors before. {_sites(s)}")


def _chi_square(s: Subject) -> Conclusion[Finding]:
    """Each predictor on its own; a table with a small cell gives the cell away, and so would its tests."""
    tables = table_columns(s.study, s.analysis.predictors)
    keys, cell = s.study.endpoint(s.endpoint).keys, s.study.limits.min_cell
    recipe = Recipe((Select(tuple(column for column, _ in tables)), Complete((), keys)))
    fits: list[ChiSquare | FedmviError] = yield from together(
        *(
            attempt(class_chi_square(s.analysis.cohort, recipe, s.endpoint, column.name, levels, cell))
            for column, levels in tables
        )
    )
    found = []
    for (column, _), fit in zip(tables, fits, strict=True):
        if isinstance(fit, FedmviError):
            found.append(Estimate(name="chi2", term=column.name, value=None, note=refusal(fit)[1]))
        elif bool(fit.small_.any()):
            found.append(Estimate(name="chi2", term=column.name, value=None, note=f"fewer than {cell} in a cell"))
        else:
            found += _tests(column.name, fit)
    if all(isinstance(fit, FedmviError) for fit in fits):
        raise next(fit for fit in fits if isinstance(fit, FedmviError))
    return Finding(found, note="Pearson's test of each; of two by two tables also Fisher's exact test.")


def _tests(term: str, fit: ChiSquare) -> list[Estimate]:
    found = [
        Estimate(name="patients", term=term, value=float(fit.n_)),
        Estimate(name="chi2", term=term, value=number(fit.chi2_), p=number(fit.p_), note=f"df={fit.degrees_}"),
    ]
    if math.isfinite(fit.p_fisher_):
        found.append(Estimate(name="odds_ratio", term=term, value=number(fit.odds_ratio_), p=number(fit.p_fisher_)))
    return found


def _reader_kappa(s: Subject) -> Conclusion[Finding]:
    """Each trait on its own, of all patients of the cohort whom two readers have read."""
    limits, traits = s.study.limits, table_columns(s.study, s.analysis.predictors)
    asked = (
        ReaderTable(s.analysis.cohort, Recipe((BothReadings(column.name),)), column.name, levels, limits.min_cell)
        for column, levels in traits
    )
    fits: list[Kappa | FedmviError] = yield from together(
        *(attempt(reader_kappa(query, min_sites=limits.min_sites)) for query in asked)
    )
    found = []
    for (column, _), fit in zip(traits, fits, strict=True):
        if isinstance(fit, FedmviError):
            found.append(Estimate(name="kappa", term=column.name, value=None, note=refusal(fit)[1]))
        else:
            found += _agreed(fit)
    if all(isinstance(fit, FedmviError) for fit in fits):
        raise next(fit for fit in fits if isinstance(fit, FedmviError))
    scale = "Unweighted: 0 is agreement by chance, 1 full agreement."
    return Finding(found, note=f"{scale} Intervals: large-sample variance of Fleiss, Cohen and Everitt.")


def _agreed(fit: Kappa) -> list[Estimate]:
    (row,) = fit.summary
    kappa = estimates([row], "kappa", "kappa", term="column")
    told = ("agreement", "patients", "sites", "sites_left_out")
    return kappa + [Estimate(name=name, term=fit.column, value=float(row[name])) for name in told]


def _heterogeneity(name: str, meta: MetaAnalysis) -> list[Estimate]:
    tau_low, tau_high = map(number, meta.tau2_limits_)
    low, high = map(number, meta.i2_limits_)
    share, p = number(meta.i2_), number(meta.heterogeneity_p)
    return [
        Estimate(name="tau2", term=name, value=meta.tau2_, low=tau_low, high=tau_high),
        Estimate(name="i2", term=name, value=share, low=low, high=high, unit="%", p=p),
    ]


def _random_effects(s: Subject) -> Conclusion[Finding]:
    limits = s.study.limits
    guards = limits.min_test_class, limits.min_cell
    fit = yield from random_effects(s.analysis.cohort, s.recipe, s.endpoint, s.names, *guards)
    found = []
    for name, meta in list(zip(fit.columns, fit.of(Method.REML), strict=True))[1:]:
        ratio, low, high = (float(np.exp(value)) for value in (meta.estimate_, *meta.interval))
        found.append(Estimate(name="odds_ratio", term=name, value=ratio, low=low, high=high, p=meta.p))
        found += _heterogeneity(name, meta)
        if math.isfinite(meta.prediction_[0]):
            low, high = (float(np.exp(value)) for value in meta.prediction_)
            found.append(Estimate(name="odds_ratio_of_a_new_site", term=name, value=ratio, low=low, high=high))
    left_out = f" Without results, and left out: {', '.join(fit.left_out_)}." if fit.left_out_ else ""
    note = f"Variance between sites by REML, of what these fitted alone: {', '.join(fit.sites_)}.{left_out}"
    return Finding(found, note=note, how="site-alone")


def _cox_lasso(s: Subject) -> Conclusion[Finding]:
    recipe = s.recipe.then(Fold(FOLDS, s.study.endpoint(s.endpoint).keys[-1]))
    cohort, name = s.analysis.cohort, s.analysis.name
    fit = yield from cox_elastic_net_cv(cohort, recipe, s.endpoint, s.names, folds=FOLDS, model=name)
    found = _chosen(fit.lambda_min_, fit.lambda_1se_, fit.summary)
    note = f"A baseline hazard for each hospital; {FOLDS} folds drawn inside hospitals, stratified by event."
    return Finding(found, fit.path.n_, fit.path.events_, note)


def _chosen(lambda_min: float, lambda_1se: float, rows: Sequence[Row]) -> list[Estimate]:
    found = [Estimate(name="lambda_min", value=lambda_min), Estimate(name="lambda_1se", value=lambda_1se)]
    found += estimates(rows, "coef_at_lambda_min", "coef_min")
    return found + estimates(rows, "coef_at_lambda_1se", "coef_1se")


def _cox(s: Subject, causes: str = "") -> Conclusion[Finding]:
    cohort, name = s.analysis.cohort, s.analysis.name
    fit, test = yield from together(
        cox(cohort, s.recipe, s.endpoint, s.names, model=name),
        proportional_hazards(cohort, s.recipe, s.endpoint, s.names, *s.grid, model=name),
    )
    found = estimates(fit.summary, "hazard_ratio", "hazard_ratio")
    found += estimates(test.summary, "proportional_hazards_chi2", "chi2")
    return Finding(found, fit.n_, fit.events_, f"A baseline hazard for each hospital; ties as Efron. {causes}".strip())


def _cox_common(s: Subject) -> Conclusion[Finding]:
    cohort, name = s.analysis.cohort, s.analysis.name
    fit, test = yield from together(
        cox_common_baseline(cohort, s.recipe, s.endpoint, s.names, *s.grid, model=name),
        proportional_hazards_common(cohort, s.recipe, s.endpoint, s.names, *s.grid, model=name),
    )
    found = estimates(fit.summary, "hazard_ratio", "hazard_ratio")
    found += estimates(test.summary, "proportional_hazards_chi2", "chi2")
    return Finding(found, fit.n_, fit.events_, "One baseline hazard for all hospitals; ties as Efron.")


def _concordance(s: Subject) -> Conclusion[Finding]:
    fit = yield from concordance(s.analysis.cohort, s.recipe, s.endpoint, s.names)
    found = estimates(fit.summary, "concordance", "concordance", term="score")
    return Finding(found, fit.n_, fit.events_, "Harrell's C of each predictor, from pairs inside hospitals.")


def _ordinal(s: Subject) -> Conclusion[Finding]:
    levels = s.study.endpoint(s.endpoint).level_names
    fit = yield from ordinal(s.analysis.cohort, s.recipe, s.endpoint, len(levels), s.names, s.analysis.name)
    found = estimates(fit.summary, "odds_ratio", "odds_ratio")
    errors = fit.std_err_[: fit.thresholds_.size]
    for level, threshold, error in zip(levels, fit.thresholds_, errors, strict=False):
        term = f"{level} or lower"
        found.append(Estimate(name="threshold", term=term, value=number(threshold), std_err=number(error)))
    chi2, degrees = fit.parallel_chi2_, fit.parallel_degrees_
    test = Estimate(name="proportional_odds_chi2", term=f"df={degrees}", value=number(chi2), p=number(fit.parallel_p))
    note = f"Odds of a higher level, of {', '.join(levels)}, alike at every cut; a small p of the test doubts that."
    return Finding([*found, test], int(fit.counts_.sum()), None, note)


Maker = Callable[[Subject], Conclusion[Finding]]

MAKERS: Mapping[StatisticName, Maker] = MappingProxyType(
    {
        "means": _means,
        "quantiles": _quantiles,
        "t-test": _t_test,
        "mann-whitney": _mann_whitney,
        "correlation": partial(_correlation, ranks=False),
        "rank-correlation": partial(_correlation, ranks=True),
        "univariable-logistic": _univariable,
        "firth": _firth,
        "logistic-fixed-sites": partial(_stratified, sites=SiteHandling.FIXED),
        "logistic-conditional": partial(_stratified, sites=SiteHandling.CONDITIONAL),
        "backward-elimination": _backward,
        "lasso": _lasso,
        "stability-selection": _stability,
        "mrmr": _mrmr,
        "chi-square": _chi_square,
        "reader-kappa": _reader_kappa,
        "random-effects": _random_effects,
        "cox-lasso": _cox_lasso,
        "cox": _cox,
        "cox-common": _cox_common,
        "concordance": _concordance,
        "ordinal-logistic": _ordinal,
        "cause-specific-cox": partial(_cox, causes="A competing event is a censoring."),
    }
)
