"""server/study: Cox regressions of comparisons are those of pooled rows stratified by site, alone and adjusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter

from common.federation.runner import conclude
from common.published.results import Results
from common.statistics.proportional_hazards import proportional_hazards
from common.study.coding import coded_columns
from common.study.recipe import Recipe, Select
from common.study.table import FloatArray
from server.report.page import render
from server.study.conduct import conduct
from simulation.views import COHORT, federation_of
from tests.client.approval.asked import Heard, heard_of
from tests.client.approval.test_preview import assert_foreseen
from tests.disclosure.consortium import Consortium
from tests.server.study.hazard_study import LATER, consortium

pytestmark = pytest.mark.xdist_group("hazards")


@dataclass(frozen=True)
class Run:
    made: Consortium
    results: Results
    heard: Heard

    def rows(self) -> pd.DataFrame:
        """The pooled rows of the outcome cohort, with the score that the published coefficients say."""
        study = self.made.study
        model = study.models[0]
        columns = coded_columns(study, model.predictors)
        beside = coded_columns(study, study.comparisons[1].cox or ())
        recipe = Recipe((Select(tuple({c.name: c for c in (*columns, *beside)}.values())),))
        parts = []
        for place, site in enumerate(LATER):
            frame = self.made.frame(site, recipe, "later")
            parts.append(pd.DataFrame({**frame.columns, **frame.endpoints, "site": float(place)}))
        rows = pd.concat(parts, ignore_index=True)
        result = self.results.get("model.clinical.coefficients")
        filling = result.model.filling if result.model is not None else None
        assert filling is not None
        linear: FloatArray = np.zeros(len(rows))
        for estimate in result.estimates:
            if estimate.name == "coef":
                x = 1.0 if estimate.term == "intercept" else rows[estimate.term].to_numpy()
                linear = linear + (estimate.value or 0.0) * x
        score = np.round(1.0 / (1.0 + np.exp(-linear)), 4)
        cutoff = next(e.value for e in result.estimates if e.name == "cutoff")
        return rows.assign(high=(score >= cutoff).astype(float))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = consortium(tmp_path_factory.mktemp("sites"))
    heard, port = heard_of(made)
    return Run(made, conduct(made.study, port, lambda _: None).results, heard)


def fitted(
    rows: pd.DataFrame, group: str, beside: list[str], horizon: float | None
) -> tuple[CoxPHFitter, pd.DataFrame]:
    """lifelines' stratified fit of the pooled complete cases, censored at the horizon."""
    used = rows[["os.time", "os.event", "site", group, *beside]].dropna()
    if horizon is not None:
        late = used["os.time"] > horizon
        used = used.assign(**{"os.event": used["os.event"].where(~late, 0.0)})
        used = used.assign(**{"os.time": used["os.time"].clip(upper=horizon)})
    options = {"precision": 1e-10}
    return CoxPHFitter().fit(used, "os.time", "os.event", strata=["site"], fit_options=options), used


@pytest.mark.parametrize(
    ("name", "group", "beside", "horizon"),
    [
        ("os-by-clinical", "high", ["afp>20", "albumin"], None),
        ("early-by-clinical", "high", ["afp>20", "albumin"], 24.0),
        ("later-by-mvi", "mvi", [], None),
    ],
)
def test_hazard_ratios_are_those_of_the_pooled_rows(
    run: Run, name: str, group: str, beside: list[str], horizon: float | None
):
    rows = run.rows()
    rows = rows.dropna(subset=beside)  # alone, too: the same patients
    for kind, columns in (("univariable", []), ("multivariable", beside)):
        if kind == "multivariable" and not beside:
            continue
        oracle, used = fitted(rows, group, columns, horizon)
        result = run.results.get(f"comparison.{name}.cox-{kind}")
        assert result.status == "estimated", result.note
        assert (result.n, result.events) == (len(used), int(used["os.event"].sum()))
        found = [e for e in result.estimates if e.name == "hazard_ratio"]
        for term, estimate in zip([group, *columns], found, strict=True):
            summary = oracle.summary.loc[term]
            assert estimate.value == pytest.approx(summary["exp(coef)"], rel=1e-6)
            assert (estimate.low, estimate.high) == pytest.approx(
                (summary["exp(coef) lower 95%"], summary["exp(coef) upper 95%"]), rel=1e-6
            )
            assert estimate.p == pytest.approx(summary["p"], abs=1e-6)


def test_proportional_hazards_are_tested_along_the_curve_of_all_who_are_compared(run: Run):
    """Whoever lacks a covariate is on the curve, which is asked once, and not in the test."""
    result = run.results.get("comparison.os-by-clinical.cox-multivariable")
    tests = {e.term: e.p for e in result.estimates if e.name == "proportional_hazards_chi2"}
    rows, columns = run.rows(), ("high", "afp>20", "albumin")
    curve = KaplanMeierFitter().fit(rows["os.time"], rows["os.event"])
    endpoint = run.made.study.endpoint("os")
    at = np.maximum(np.arange(endpoint.grid_points) - 1.0, 0.0)
    weights = 1.0 - curve.survival_function_at_times(at).to_numpy()
    used = rows.dropna(subset=list(columns))
    arrays = {name: used[name].to_numpy() for name in (*columns, "os.time", "os.event", "site")}
    port = federation_of(
        {name: arrays[name] for name in columns},
        {name: arrays[name] for name in ("os.time", "os.event")},
        arrays["site"].astype(int),
    )
    asked = (COHORT, Recipe(), "os", columns, endpoint.precision, endpoint.grid_points)
    oracle = conclude(port, [proportional_hazards(*asked, time_weights=weights)])[0]
    assert list(tests) == ["clinical: high score", "afp>20", "albumin", "all"]
    assert list(tests.values()) == pytest.approx([*oracle.p_, oracle.global_p_], rel=1e-6)


def test_every_question_was_foreseen_and_the_life_table_is_of_the_groups_alone(run: Run):
    assert assert_foreseen(run.made.study, run.made.folders, run.heard) > 100
    assert not [error for asks in run.heard.asks.values() for _, error in asks if error]
    tables = {ask.question.recipe.digest for ask, _ in run.heard.asks["d"] if ask.question.name == "query.life_table"}
    regressed = {ask.question.recipe.digest for ask, _ in run.heard.asks["d"] if ask.question.name == "query.cox"}
    assert tables and regressed and not tables & regressed


def test_the_report_has_a_table_for_each_regression(run: Run):
    page = render(run.results, None, {})
    for title in ("univariable Cox regression", "multivariable Cox regression"):
        assert page.count(title) >= 2
    assert "p of proportional hazards" in page
