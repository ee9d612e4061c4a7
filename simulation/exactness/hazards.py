"""simulation: exactness of Cox regressions, tests of proportional hazards and concordance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from common.federation.runner import Conclusion
from common.statistics.concordance import Concordance, concordance, concordance_pooled
from common.statistics.cox import CoxResult, cox
from common.statistics.cox_common_baseline import CommonCoxResult, cox_common_baseline
from common.statistics.partial_likelihood import Ties
from common.statistics.proportional_hazards import (
    ProportionalHazards,
    TimeTransform,
    proportional_hazards,
    proportional_hazards_common,
)
from common.study.recipe import Recipe
from simulation.exactness.measuring import Case, Difference, Table, golden, largest, library, relative
from simulation.exactness.tables import (
    breast_competing,
    breast_recurrence,
    liver_competing,
    liver_resection,
    recidivism,
)
from simulation.views import COHORT

COLUMNS = {
    "recidivism": ("fin", "age", "race", "wexp", "mar", "paro", "prio"),
    "breast-recurrence": ("age", "size", "nodes", "progesterone", "oestrogen", "hormone"),
    "liver-resection": ("age", "size", "sex", "group"),
}
COLUMNS |= {"breast-competing": COLUMNS["breast-recurrence"], "liver-competing": COLUMNS["liver-resection"]}
STRATUM = {"recidivism": "race", "breast-recurrence": "group", "liver-resection": "sex"}
PRECISION = {
    "recidivism": 1.0,
    "breast-recurrence": 1.0,
    "liver-resection": 0.1,
    "breast-competing": 1.0,
    "liver-competing": 0.1,
}


def grid_of(table: Table, endpoint: str = "os") -> tuple[float, int]:
    """Precision of the table's times, and the points of the smallest grid that holds them."""
    precision = PRECISION[table.key]
    return precision, round(float(table.endpoints[f"{endpoint}.time"].max()) / precision) + 1


def stratified_regressions_by_week() -> Case:
    """Cox regressions stratified by site, weeks with many ties."""
    return _regressions_inside(recidivism())


def stratified_regressions_by_day() -> Case:
    """Cox regressions stratified by site, days."""
    return _regressions_inside(breast_recurrence())


def stratified_regressions_by_month() -> Case:
    """Cox regressions stratified by site, tenths of a month."""
    return _regressions_inside(liver_resection())


def common_regressions_by_week() -> Case:
    """Cox regressions with a common baseline, weeks with many ties."""
    return _regressions_across(recidivism())


def common_regressions_by_day() -> Case:
    """Cox regressions with a common baseline, days."""
    return _regressions_across(breast_recurrence())


def common_regressions_by_month() -> Case:
    """Cox regressions with a common baseline, tenths of a month."""
    return _regressions_across(liver_resection())


def stratified_cause_by_day() -> Case:
    """Cause-specific Cox regressions stratified by site, days: the other cause censors."""
    return _causes_inside(breast_competing())


def stratified_cause_by_month() -> Case:
    """Cause-specific Cox regressions stratified by site, tenths of a month."""
    return _causes_inside(liver_competing())


def common_cause_by_day() -> Case:
    """Cause-specific Cox regressions with a common baseline, days."""
    return _causes_across(breast_competing())


def common_cause_by_month() -> Case:
    """Cause-specific Cox regressions with a common baseline, tenths of a month."""
    return _causes_across(liver_competing())


def stratified_proportionality_by_week() -> Case:
    """Tests of proportional hazards stratified by site, weeks with many ties."""
    return _proportionality_inside(recidivism())


def stratified_proportionality_by_day() -> Case:
    """Tests of proportional hazards stratified by site, days."""
    return _proportionality_inside(breast_recurrence())


def stratified_proportionality_by_month() -> Case:
    """Tests of proportional hazards stratified by site, tenths of a month."""
    return _proportionality_inside(liver_resection())


def common_proportionality_by_week() -> Case:
    """Tests of proportional hazards with a common baseline, weeks with many ties."""
    return _proportionality_across(recidivism())


def common_proportionality_by_day() -> Case:
    """Tests of proportional hazards with a common baseline, days."""
    return _proportionality_across(breast_recurrence())


def common_proportionality_by_month() -> Case:
    """Tests of proportional hazards with a common baseline, tenths of a month."""
    return _proportionality_across(liver_resection())


def concordance_inside_sites_by_day() -> Case:
    """Harrell's C inside sites of a continuous and of a tied score, days."""
    return _concordance_inside(breast_recurrence())


def concordance_inside_sites_by_month() -> Case:
    """Harrell's C inside sites of a continuous and of a tied score, tenths of a month."""
    return _concordance_inside(liver_resection())


def concordance_across_sites_by_day() -> Case:
    """Harrell's C across sites of a continuous and of a tied score, days."""
    return _concordance_across(breast_recurrence())


def concordance_across_sites_by_month() -> Case:
    """Harrell's C across sites of a continuous and of a tied score, tenths of a month."""
    return _concordance_across(liver_resection())


CASES = (
    stratified_regressions_by_week,
    stratified_regressions_by_day,
    stratified_regressions_by_month,
    common_regressions_by_week,
    common_regressions_by_day,
    common_regressions_by_month,
    stratified_cause_by_day,
    stratified_cause_by_month,
    common_cause_by_day,
    common_cause_by_month,
    stratified_proportionality_by_week,
    stratified_proportionality_by_day,
    stratified_proportionality_by_month,
    common_proportionality_by_week,
    common_proportionality_by_day,
    common_proportionality_by_month,
    concordance_inside_sites_by_day,
    concordance_inside_sites_by_month,
    concordance_across_sites_by_day,
    concordance_across_sites_by_month,
)


def pooled_model(table: Table, names: tuple[str, ...], ties: str, ddof: int = 1) -> Any:
    """The stratified model of the pooled rows, columns standardised, as statsmodels has it."""
    from statsmodels.duration.hazard_regression import PHReg

    X = table.matrix(names)
    X = (X - X.mean(axis=0)) / X.std(axis=0, ddof=ddof)
    time, event = table.endpoints["os.time"], table.endpoints["os.event"]
    return PHReg(time, X, status=event, strata=table.site, ties=ties)


@cache
def _r() -> str:
    versions = golden("cox")["r"]
    return f"R {versions['R'].split()[2]} survival {versions['survival']}"


def _regressions_inside(table: Table) -> Case:
    names, stratum, frozen = COLUMNS[table.key], STRATUM[table.key], golden("cox")[table.key]
    inner = tuple(name for name in names if name != stratum)

    def conclusions() -> list[Conclusion[Any]]:
        by_site = (cox(COHORT, Recipe(), "os", names, ties=ties) for ties in Ties)
        return [*by_site, cox(COHORT, Recipe(), "os", inner, strata=(stratum,))]

    def differences(fits: list[Any]) -> list[Difference]:
        theirs = [*(frozen["stratified"][ties] for ties in Ties), frozen["inner"]]
        return [*_cox("Cox stratified by site", table, fits, theirs), _phreg(table, fits[1])]

    return Case(table, conclusions, differences)


def _regressions_across(table: Table) -> Case:
    names, grid, frozen = COLUMNS[table.key], grid_of(table), golden("cox")[table.key]

    def differences(fits: list[Any]) -> list[Difference]:
        theirs = [frozen["common"][ties] for ties in Ties]
        return [*_cox("Cox with a common baseline", table, fits, theirs), _baseline(fits[0], frozen["baseline"])]

    return Case(
        table,
        lambda: [cox_common_baseline(COHORT, Recipe(), "os", names, *grid, ties=ties) for ties in Ties],
        differences,
    )


def _causes_inside(table: Table) -> Case:
    names, frozen = COLUMNS[table.key], golden("cox")[table.key]["stratified"]
    return Case(
        table,
        lambda: [cox(COHORT, Recipe(), "ttr", names, ties=ties) for ties in Ties],
        lambda r: _cox("cause-specific Cox stratified by site", table, r, [frozen[ties] for ties in Ties]),
    )


def _causes_across(table: Table) -> Case:
    names, grid, frozen = COLUMNS[table.key], grid_of(table, "ttr"), golden("cox")[table.key]["common"]
    return Case(
        table,
        lambda: [cox_common_baseline(COHORT, Recipe(), "ttr", names, *grid, ties=ties) for ties in Ties],
        lambda r: _cox("cause-specific Cox with a common baseline", table, r, [frozen[ties] for ties in Ties]),
    )


def _cox(kind: str, table: Table, fits: Sequence[CoxResult], theirs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Coefficients and errors of standardised columns."""
    worst: dict[str, float] = {}
    for fit, frozen in zip(fits, theirs, strict=True):
        scale = np.array([table.columns[name].std(ddof=1) for name in fit.columns])
        for name, difference in (
            ("coefficient", largest(fit.coef_ * scale, frozen["coef"] * scale)),
            ("standard error", largest(fit.std_err_ * scale, frozen["std_err"] * scale)),
            ("robust standard error", largest(fit.robust_std_err_ * scale, frozen["robust_std_err"] * scale)),
            ("log-likelihood", largest([fit.null_log_likelihood_, fit.log_likelihood_], frozen["log_likelihood"])),
            ("patients and events", largest([fit.n_, fit.events_], [frozen["n"], frozen["events"]])),
        ):
            worst[name] = max(worst.get(name, 0.0), difference)
    limits = {"log-likelihood": 1e-8, "patients and events": 0.0}
    oracle = f"{_r()} coxph"
    return [Difference(f"{kind}: {name}", oracle, worst[name], limits.get(name, 1e-9)) for name in worst]


def _baseline(fit: CommonCoxResult, theirs: Mapping[str, Any]) -> Difference:
    at = np.searchsorted(np.array(theirs["time"]), fit.time_ - 1e-9)
    difference = relative(fit.cumulative_hazard_, np.array(theirs["hazard"])[at])
    return Difference("Cox cumulative baseline hazard (relative)", f"{_r()} survfit", difference, 1e-9)


def _phreg(table: Table, fit: CoxResult) -> Difference:
    scale = np.array([table.columns[name].std(ddof=1) for name in fit.columns])
    pooled = pooled_model(table, fit.columns, "breslow").fit(method="newton", disp=0, tol=1e-14, maxiter=100)
    oracle = f"{library('statsmodels')} PHReg(strata, breslow)"
    return Difference("Cox stratified by site: coefficient", oracle, largest(fit.coef_ * scale, pooled.params), 1e-9)


def _proportionality_inside(table: Table) -> Case:
    return _proportionality(table, proportional_hazards, "stratified", "stratified by site")


def _proportionality_across(table: Table) -> Case:
    return _proportionality(table, proportional_hazards_common, "common", "with a common baseline")


def _proportionality(table: Table, make: Callable[..., Conclusion[ProportionalHazards]], kind: str, words: str) -> Case:
    names, grid, frozen = COLUMNS[table.key], grid_of(table), golden("cox")[table.key][kind]
    asked = [(ties, transform) for ties in Ties for transform in TimeTransform]
    return Case(
        table,
        lambda: [make(COHORT, Recipe(), "os", names, *grid, ties=ties, transform=by) for ties, by in asked],
        lambda r: _zph(words, [(fit, frozen[ties]["zph"][by]) for fit, (ties, by) in zip(r, asked, strict=True)]),
    )


def _zph(where: str, pairs: list[tuple[ProportionalHazards, Mapping[str, Any]]]) -> list[Difference]:
    chi2 = max(relative(np.append(f.chi2_, f.global_chi2_), theirs["chi2"]) for f, theirs in pairs)
    log_p = max(largest(np.log10(np.append(f.p_, f.global_p_)), np.log10(theirs["p"])) for f, theirs in pairs)
    return [
        Difference(f"proportional hazards, Cox {where}: chi2 (relative)", f"{_r()} cox.zph", chi2, 1e-8),
        Difference(f"proportional hazards, Cox {where}: log10 p", f"{_r()} cox.zph", log_p, 1e-8),
    ]


def _scored(whole: Table) -> Table:
    """The table with a linear predictor and a tied column as scores."""
    names = COLUMNS[whole.key]
    risk = whole.matrix(names) @ np.array(golden("cox")[whole.key]["coef"])
    return replace(whole, columns={"risk": risk, "first": whole.columns[names[1]]})


def _concordance_inside(whole: Table) -> Case:
    table, theirs = _scored(whole), golden("cox")[whole.key]["concordance"]["within"]

    def differences(fits: list[Any]) -> list[Difference]:
        covariance = largest(fits[0].covariance_, theirs["covariance"])
        return [
            *_harrell("C inside sites", [(fits[0], i, theirs[name]) for i, name in enumerate(table.columns)]),
            Difference("C inside sites: covariance of two scores", f"{_r()} concordance", covariance, 1e-12),
        ]

    return Case(table, lambda: [concordance(COHORT, Recipe(), "os", tuple(table.columns))], differences)


def _concordance_across(whole: Table) -> Case:
    table, theirs, grid = _scored(whole), golden("cox")[whole.key]["concordance"]["pooled"], grid_of(whole)
    return Case(
        table,
        lambda: [concordance_pooled(COHORT, Recipe(), "os", name, *grid) for name in table.columns],
        lambda r: [
            *_harrell("C across sites", [(fit, 0, theirs[fit.columns[0]]) for fit in r]),
            _censored(table, r),
        ],
    )


def _harrell(kind: str, fits: list[tuple[Concordance, int, Mapping[str, Any]]]) -> list[Difference]:
    oracle = f"{_r()} concordance"
    area = max(abs(fit.concordance_[i] - theirs["concordance"]) for fit, i, theirs in fits)
    error = max(abs(fit.std_err_[i] - theirs["std_err"]) for fit, i, theirs in fits)
    pairs = max(largest(fit.pairs_[i], theirs["count"]) for fit, i, theirs in fits)
    return [
        Difference(kind, oracle, float(area), 1e-12),
        Difference(f"{kind}: standard error", oracle, float(error), 1e-12),
        Difference(f"{kind}: pairs", oracle, pairs, 0.0),
    ]


def _censored(table: Table, fits: list[Concordance]) -> Difference:
    from sksurv.metrics import concordance_index_censored

    event, time = table.endpoints["os.event"] == 1.0, table.endpoints["os.time"]
    worst = 0.0
    for fit in fits:
        theirs = concordance_index_censored(event, time, table.columns[fit.columns[0]], tied_tol=0.0)[0]
        worst = max(worst, abs(float(fit.concordance_[0]) - float(theirs)))
    return Difference("C across sites", f"{library('scikit-survival')} concordance_index_censored", worst, 1e-12)
