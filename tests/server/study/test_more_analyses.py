"""server/study: further analyses end to end: categories, orders of predictors, single sites, bootstrap sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from mrmr import mrmr_classif
from scipy import stats
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.duration.hazard_regression import PHReg

from common.errors import FedmviError
from common.federation.query import each, perform, total
from common.federation.tasks import Freeze
from common.published.results import Estimate, Results
from common.statistics.chi_square import ClassTable
from common.statistics.logistic import LogisticSums
from common.statistics.penalised_cox import TrainingSets
from common.statistics.random_effects import LogisticAlone, Method, meta_analysis
from common.statistics.resampling import ResampledThresholds
from common.study.coding import CodedColumn
from common.study.loader import parse_study
from common.study.recipe import SCORE_DECIMALS, Complete, Fold, Recipe, Score, Select
from server.study.conduct import conduct
from tests.disclosure.consortium import STUDY, Consortium, Row, make, names, recipe

NUMBERS = '[{ variable = "age", coding = "linear" }, { variable = "albumin", coding = "linear" }, "cirrhosis"]'
COLUMNS = ["age", "albumin", "cirrhosis"]
TERMS = ("age", "albumin", "cirrhosis=yes")


def analysis(statistic: str, what: str, endpoint: str = "mvi", cohort: str = "train") -> str:
    lines = f'name = "{statistic}"\nstatistic = "{statistic}"\ncohort = "{cohort}"\nendpoint = "{endpoint}"\n{what}'
    return f"\n[[analyses]]\n{lines}\nwithin_site = false\n"


ANALYSES = (
    analysis("mrmr", f"predictors = {NUMBERS}")
    + analysis("chi-square", 'predictors = ["cirrhosis", "child_pugh", "afp"]')
    + analysis("random-effects", f"predictors = {NUMBERS}")
    + analysis("bootstrap", 'models = ["clinical"]', cohort="external")
)


def change(rows: list[Row]) -> None:
    """A level that one patient of a site has, and an albumin that goes with the endpoint."""
    for i, row in enumerate(rows):
        row["child_pugh"] = "C" if i < 1 else "AB"[i % 2]
        row["albumin"] = f"{float(row['albumin']) - 3.0 * float(row['mvi']):.1f}"


def pooled(made: Consortium, sites: str = "abc") -> pd.DataFrame:
    rows = pd.concat([pd.read_csv(made.folders[site] / "patients.csv").assign(site=site) for site in sites])
    return rows.assign(cirrhosis=(rows["cirrhosis"] == "yes").astype(float)).reset_index(drop=True)


def found(results: Results, statistic: str, name: str) -> dict[str, Estimate]:
    result = results.get(f"analysis.{statistic}")
    assert result.status == "estimated", result.note
    return {e.term: e for e in result.estimates if e.name == name}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    sites = make(tmp_path_factory.mktemp("sites"), dict.fromkeys("abcdef", change), study=STUDY + ANALYSES)
    own = sites.folders["b"] / "site.toml"
    own.write_text(own.read_text().replace("release_alone = true", "release_alone = false"))
    return sites


@pytest.fixture(scope="module")
def results(made: Consortium) -> Results:
    return conduct(made.study, made.port(), lambda _: None).results


def test_predictors_come_in_the_order_of_mrmr_on_the_pooled_rows(made: Consortium, results: Results):
    rows = pooled(made)
    chosen = mrmr_classif(rows[COLUMNS], rows["mvi"], K=3, show_progress=False)
    ranks = found(results, "mrmr", "rank")
    ours = sorted(ranks, key=lambda term: ranks[term].value or 0.0)
    assert [term.removesuffix("=yes") for term in ours] == chosen
    f = stats.f_oneway(*(rows.loc[rows["mvi"] == label, "albumin"] for label in (0, 1))).statistic
    assert found(results, "mrmr", "f")["albumin"].value == pytest.approx(f, rel=1e-9)


def test_chi_square_is_that_of_the_pooled_table_and_small_cells_are_not_told(made: Consortium, results: Results):
    rows = pooled(made)
    table = pd.crosstab(rows["cirrhosis"], rows["mvi"])
    theirs = stats.chi2_contingency(table, correction=False)
    ours = found(results, "chi-square", "chi2")
    assert ours["cirrhosis"].value == pytest.approx(theirs.statistic, rel=1e-12)
    assert ours["cirrhosis"].p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert found(results, "chi-square", "odds_ratio")["cirrhosis"].p == pytest.approx(
        stats.fisher_exact(table).pvalue, rel=1e-10
    )
    assert ours["afp>20"].value is not None
    assert pd.crosstab(rows["child_pugh"], rows["mvi"]).to_numpy().min() < results.min_cell
    assert (ours["child_pugh"].value, ours["child_pugh"].p) == (None, None)
    assert "fewer than" in ours["child_pugh"].note


def test_random_effects_are_of_the_sites_that_release_theirs(made: Consortium, results: Results):
    rows, fits = pooled(made), {}
    for site in "ac":
        own = rows[rows["site"] == site]
        fits[site] = sm.Logit(own["mvi"], sm.add_constant(own[COLUMNS])).fit(disp=0, tol=1e-14, maxiter=100)
    ours = found(results, "random-effects", "odds_ratio")
    for term, column in zip(TERMS, COLUMNS, strict=True):
        estimates = np.array([fit.params[column] for fit in fits.values()])
        variances = np.array([fit.bse[column] for fit in fits.values()]) ** 2
        expected = meta_analysis(estimates, variances, Method.REML)
        assert ours[term].value == pytest.approx(np.exp(expected.estimate_), rel=1e-7)
        assert ours[term].low == pytest.approx(np.exp(expected.interval[0]), rel=1e-6)
    result = results.get("analysis.random-effects")
    assert result.how == "site-alone"
    assert "left out: b." in result.note


def test_bootstrap_estimates_are_those_of_the_pooled_rows_inside_their_intervals(made: Consortium, results: Results):
    rows = pooled(made, "def")
    fit = {e.term: e.value for e in results.get("model.clinical.coefficients").estimates if e.name == "coef"}
    columns = {
        "age": rows["age"], "sex=female": rows["sex"] == "female", "sex=male": rows["sex"] == "male",
        "afp>20": rows["afp"] > 20, "cirrhosis=yes": rows["cirrhosis"],
    }  # fmt: skip
    linear = fit["intercept"] + sum(float(fit[t] or 0) * columns[t].astype(float) for t in fit if t != "intercept")
    risk = np.round(1.0 / (1.0 + np.exp(-linear)), SCORE_DECIMALS)
    linear = np.log(risk / (1.0 - risk))
    expected = {
        "auc": roc_auc_score(rows["mvi"], risk),
        "brier": brier_score_loss(rows["mvi"], risk),
        "calibration_slope": sm.Logit(rows["mvi"], sm.add_constant(linear)).fit(disp=0, tol=1e-14).params.iloc[1],
    }
    for name, value in expected.items():
        ours = found(results, "bootstrap", name)["clinical"]
        assert ours.value == pytest.approx(value, abs=1e-9), name
        assert ours.low is not None and ours.high is not None and ours.low < value < ours.high
    auc = next(e for e in results.get("model.clinical.auc.external").estimates if e.name == "auc")
    ours = found(results, "bootstrap", "auc")["clinical"]
    assert (ours.high or 0) - (ours.low or 0) == pytest.approx((auc.high or 0) - (auc.low or 0), rel=0.1)


def test_the_cox_lasso_of_masked_sites_is_optimal_on_the_pooled_rows(tmp_path: Path):
    def longer(rows: list[Row]) -> None:
        for row in rows:
            row["os_months"] = str(max(1, min(59, round(float(row["os_months"]) / 4 + float(row["age"]) / 2))))

    study = STUDY + analysis("cox-lasso", f"predictors = {NUMBERS}", "os")
    made = make(tmp_path, dict.fromkeys("abc", longer), study=study, masked=True)
    results = conduct(made.study, made.port(), lambda _: None).results
    assert results.get("analysis.cox-lasso").how == "exact-masked"
    penalty = found(results, "cox-lasso", "lambda_min")[""].value or 0.0
    coef = np.array([found(results, "cox-lasso", "coef_at_lambda_min")[term].value for term in TERMS], dtype=float)
    assert coef[0] < 0
    rows = pooled(made)
    model = PHReg(rows["os_months"], rows[COLUMNS], rows["os_event"], strata=rows["site"], ties="efron")
    gradient = model.score(coef) / len(rows) / rows[COLUMNS].std(ddof=0).to_numpy()
    chosen = coef != 0
    assert gradient[chosen] == pytest.approx(penalty * np.sign(coef[chosen]), abs=1e-8)
    assert np.all(np.abs(gradient[~chosen]) <= penalty + 1e-8)


# ------------------------------------------------------------------------------------------------- refusals


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    text = STUDY + ANALYSES + analysis("cox-lasso", f"predictors = {NUMBERS}", "os")
    return make(tmp_path_factory.mktemp("opened"), dict.fromkeys("abcdef", change), study=text).open()


def test_the_levels_of_a_table_are_the_protocols_and_are_no_numbers_of_a_regression(opened: Consortium):
    level = CodedColumn("child_pugh", "child_pugh", "linear")
    plain = CodedColumn("cirrhosis", "cirrhosis", "linear")
    known = Recipe((Select((level, plain)), Complete((), ("mvi",))))
    query = ClassTable("train", known, "mvi", "cirrhosis", 2)
    assert opened.number("c", total(query)) == 0
    assert opened.number("c", total(replace(query, levels=3))) == 414
    assert opened.number("c", total(replace(query, endpoint="os"))) == 414
    other = replace(query, column="sex", recipe=Recipe((Select((CodedColumn("sex", "sex", "linear"),)),)))
    assert opened.number("c", total(other)) == 414, "its table is not declared"
    regression = LogisticSums("train", known, "mvi", ("cirrhosis",), np.zeros(2))
    assert opened.number("c", total(regression)) == 414
    coded = numbers_of()
    assert opened.number("c", total(replace(regression, recipe=coded, columns=("cirrhosis=yes",)))) == 0


def test_results_of_a_single_site_are_no_sums(opened: Consortium):
    alone = LogisticAlone("train", recipe(opened.study, "clinical"), "mvi", TERMS, 10, min_cell=5)
    alone = replace(alone, recipe=numbers_of())
    assert opened.number("c", each(alone)) == 0
    assert opened.number("c", total(alone)) == 408
    assert opened.number("c", each(replace(alone, min_class=5))) == 402


def numbers_of(*steps: Fold, endpoints: tuple[str, ...] = ("mvi",)) -> Recipe:
    coded = (
        CodedColumn("age", "age", "linear"),
        CodedColumn("albumin", "albumin", "linear"),
        CodedColumn("cirrhosis=yes", "cirrhosis", "equals", level="yes"),
    )
    return Recipe((Select(coded), Complete(TERMS, endpoints), *steps))


def test_folds_are_stratified_by_an_event_and_tell_no_few_events_apart(opened: Consortium):
    for by, folds, number in (("os.event", 10, 405), ("os.event", 2, 414), ("mvi", 10, 414), ("os", 10, 414)):
        query = TrainingSets(
            "train", numbers_of(Fold(folds, by), endpoints=("os.time", "os.event")), "os", TERMS, folds + 1
        )
        assert opened.number("c", total(query)) == number, (by, folds)


def test_resamples_are_the_sites_own_draws(opened: Consortium):
    score = Score("clinical", "mvi", names(opened.study, "clinical"), (0.02, 0.1, 0.4, 0.2), -1.0)
    scoring = recipe(opened.study, "clinical").then(score)
    opened.put("d", perform(Freeze((scoring.digest,), ())))
    query = ResampledThresholds("external", scoring, (score.column,), "mvi", 0, 11, (), np.empty((1, 0)))
    assert opened.number("d", total(query)) == 0
    assert opened.number("d", total(replace(query, weights=(score.column,) * 11))) == 414


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (analysis("chi-square", 'predictors = [{ variable = "age", coding = "linear" }]'), "compares categories"),
        (analysis("mrmr", 'predictors = ["cirrhosis"]'), "needs 2 or more"),
        (analysis("bootstrap", 'predictors = ["cirrhosis"]'), "or more `models` only"),
        (analysis("cox-lasso", f"predictors = {NUMBERS}"), "needs a survival endpoint"),
    ],
)
def test_contradictions_are_told_with_their_line(text: str, words: str):
    with pytest.raises(FedmviError) as met:
        parse_study(STUDY + text)
    assert met.value.number == 103
    assert words in met.value.local
