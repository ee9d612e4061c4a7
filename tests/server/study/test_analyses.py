"""server/study: every statistic that a study can declare is asked, answered by gated sites, and published guarded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from common.errors import FedmviError
from common.published.results import Results
from common.study.analyses import ANALYSES
from common.study.loader import parse_study
from common.study.readings import second_column
from server.report.page import render
from server.report.tables import tables
from server.study.analyses import MAKERS
from server.study.conduct import conduct
from server.study.score_analyses import MAKERS as SCORE_MAKERS
from server.study.time_analyses import TIME_MAKERS
from tests.disclosure.consortium import FURTHER, SITES, STUDY, Consortium, Row, further, make

FOLDED = {"lasso", "cox-lasso"}
PREDICTORS = '[{ variable = "age", coding = "linear" }, "cirrhosis", { variable = "albumin", coding = "linear" }]'
MODELS = """
[[models]]
name = "short"
endpoint = "mvi"
cohort = "train"
predictors = [{ variable = "age", coding = "linear" }, "cirrhosis"]
missing = "mean"
evaluate = ["external"]
"""


ENDPOINTS = {"binary": "mvi", "ordinal": "grade", "survival": "os", "competing": "ttr"}
ON = {"predictors": f"predictors = {PREDICTORS}", "models": 'models = ["clinical", "short"]', "group": 'group = "mvi"'}


def study_text() -> str:
    text = STUDY + FURTHER + MODELS
    for name, kind in ANALYSES.items():
        endpoint = f'endpoint = "{ENDPOINTS[kind.endpoint]}"' if kind.endpoint in ENDPOINTS else ""
        on = ON[kind.on] + ("" if kind.times == "none" else "\ntimes = [24]")
        if name == "quantiles":
            on = 'predictors = [{ variable = "age", coding = "linear" }]'
        if name == "chi-square":
            on = 'predictors = ["cirrhosis", "sex", "afp"]'
        if name == "reader-kappa":
            on = 'predictors = ["cirrhosis"]'
        cohort = "external" if kind.on == "models" else "train"
        text += f'\n[[analyses]]\nname = "{name}"\nstatistic = "{name}"\ncohort = "{cohort}"\n{endpoint}\n{on}\n'
    return text


def read_twice(rows: list[Row]) -> None:
    """As `further`, and a second reader who sees cirrhosis otherwise in every fifth patient."""
    further(rows)
    for i, row in enumerate(rows):
        other = {"yes": "no", "no": "yes"}[row["cirrhosis"]]
        row[second_column("cirrhosis")] = row["cirrhosis"] if i % 5 else other


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return make(tmp_path_factory.mktemp("sites"), dict.fromkeys(SITES, read_twice), study=study_text())


@pytest.fixture(scope="module")
def results(made: Consortium) -> Results:
    return conduct(made.study, made.port(), lambda _: None).results


def test_every_statistic_has_a_maker():
    assert set(MAKERS) | set(SCORE_MAKERS) | set(TIME_MAKERS) == set(ANALYSES)


def test_folds_of_few_patients_are_refused_where_sums_are_not_masked(results: Results):
    for name in FOLDED:
        lasso = results.get(f"analysis.{name}")
        assert lasso.status == "refused", lasso.note
        assert "FEDMVI-405" in lasso.note


@pytest.mark.parametrize("name", sorted(set(ANALYSES) - FOLDED))
def test_every_declared_analysis_is_answered(results: Results, name: str):
    result = results.get(f"analysis.{name}")
    assert result.status == "estimated", result.note
    assert result.estimates
    assert any(e.value is not None for e in result.estimates)


def test_a_published_hazard_ratio_is_that_of_the_pooled_rows(made: Consortium, results: Results):
    rows = []
    for site in ("a", "b", "c"):
        table = pd.read_csv(made.folders[site] / "patients.csv")
        rows.append(table.assign(site=site))
    pooled = pd.concat(rows)
    pooled["cirrhosis"] = (pooled["cirrhosis"] == "yes").astype(float)
    columns = ["age", "cirrhosis", "albumin", "os_months", "os_event", "site"]
    fit = CoxPHFitter().fit(pooled[columns], "os_months", "os_event", strata=["site"], fit_options={"precision": 1e-12})
    ours = {e.term: e for e in results.get("analysis.cox").estimates if e.name == "hazard_ratio"}
    for term, theirs in (("age", "age"), ("cirrhosis=yes", "cirrhosis"), ("albumin", "albumin")):
        assert ours[term].value == pytest.approx(float(np.exp(fit.params_[theirs])), abs=1e-6)


def test_analyses_are_on_the_page_and_in_their_table(results: Results):
    page = render(results, None, {})
    text = tables(results)["analyses"]
    for name in ANALYSES:
        assert f"analysis.{name}" in text
        assert f'id="analysis.{name}"' in page


def test_cut_offs_and_curves_are_told_only_where_they_part_enough_patients(results: Results):
    cell = results.min_cell
    n, events = results.get("analysis.decision-curve").n, results.get("analysis.decision-curve").events
    assert n is not None and events is not None and min(events, n - events) >= cell
    shown = [e for e in results.get("analysis.decision-curve").estimates if e.term.startswith("clinical")]
    assert 0 < len(shown) < 19, "some thresholds part fewer"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            'statistic = "cox"\ncohort = "train"\nendpoint = "mvi"\npredictors = ["cirrhosis"]',
            "needs a survival endpoint",
        ),
        ('statistic = "firth"\ncohort = "external"\nendpoint = "mvi"\npredictors = ["cirrhosis"]', "role train"),
        ('statistic = "cox"\ncohort = "train"\nendpoint = "os"\nmodels = ["clinical"]', "or more `predictors` only"),
        ('statistic = "calibration"\ncohort = "external"\nendpoint = "mvi"\nmodels = ["wide"]', "no model 'wide'"),
        (
            'statistic = "rank-correlation"\ncohort = "train"\nwithin_site = false\npredictors = ["sex", "afp"]',
            "within sites only",
        ),
        ('statistic = "correlation"\ncohort = "train"\npredictors = ["cirrhosis"]', "needs 2 or more"),
        ('statistic = "quantiles"\ncohort = "train"\nendpoint = "mvi"\npredictors = ["age"]', "needs no endpoint"),
    ],
)
def test_an_analysis_that_contradicts_the_study_is_refused_with_its_line(lines: str, words: str):
    with pytest.raises(FedmviError) as met:
        parse_study(f'{STUDY}\n[[analyses]]\nname = "x"\n{lines}\n')
    assert met.value.number == 103
    assert words in met.value.local


def test_studies_without_analyses_have_no_section_of_them(tmp_path: Path):
    made = make(tmp_path)
    page = render(conduct(made.study, made.port(), lambda _: None).results, None, {})
    assert "Further analyses" not in page
