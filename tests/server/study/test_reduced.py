"""server/study: reduced models are developed without whom they score; choices, Hybrid, formula and groups follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from lifelines.statistics import logrank_test
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from common.published.results import AFTER_SELECTION, EVERYONE, Result, Results
from common.study.coding import coded_columns
from common.study.recipe import Recipe, Select
from common.study.subgroups import BINS
from common.study.table import FloatArray
from server.report.page import render
from server.study.conduct import conduct
from tests.client.approval.asked import Heard, heard_of
from tests.client.approval.test_preview import assert_foreseen
from tests.disclosure.consortium import Consortium, make
from tests.server.study.reduced_study import SIGNAL, everywhere, featured, study_text

pytestmark = pytest.mark.xdist_group("reduced")


@dataclass(frozen=True)
class Run:
    made: Consortium
    results: Results
    heard: Heard

    def rows(self, cohort: str) -> dict[str, FloatArray]:
        """The pooled rows of a cohort: columns and endpoints."""
        study = self.made.study
        columns = {
            c.name: c for m in study.models for c in coded_columns(study, m.predictors) if "score." not in c.name
        }
        recipe = Recipe((Select(tuple(columns.values())),))
        frames = [self.made.frame(site, recipe, cohort) for site in study.cohort(cohort).sites]
        names = [*frames[0].columns, *frames[0].endpoints]
        return {
            name: np.concatenate([{**frame.columns, **frame.endpoints}[name] for frame in frames]) for name in names
        }

    def score(self, model: str, rows: dict[str, FloatArray]) -> FloatArray:
        """The score that the published coefficients say, of the model, or of those that it is made of."""
        result = self.results.get(f"model.{model}.coefficients")
        linear = np.full(rows["mvi"].size, value(result, "coef", "intercept"))
        for estimate in result.estimates:
            if estimate.name == "coef" and estimate.term != "intercept":
                linear = linear + (estimate.value or 0.0) * self.column(result, estimate.term, rows)
        return np.round(1.0 / (1.0 + np.exp(-linear)), 4)

    def column(self, result: Result, term: str, rows: dict[str, FloatArray]) -> FloatArray:
        if not term.startswith("score."):
            return rows[term]
        name = term.removesuffix(">=cut-off")
        assert result.model is not None
        score = self.score(result.model.scores[name], rows)
        if name == term:
            return score
        predictor = next(p for p in result.model.predictors if p.variable == name)
        return (score >= (predictor.cutoff or 0.0)).astype(float)


def value(result: Result, name: str, term: str = "") -> float:
    found = next(e.value for e in result.estimates if (e.name, e.term) == (name, term))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make(tmp_path_factory.mktemp("sites"), everywhere(featured), study=study_text(3), masked=True).sign()
    heard, port = heard_of(made)
    return Run(made, conduct(made.study, port, lambda _: None).results, heard)


def test_every_step_leaves_fewer_and_the_signal_is_found(run: Run):
    for model, signal in (("first", set(SIGNAL[:2])), ("second", {SIGNAL[2]})):
        result = run.results.get(f"model.{model}.reduction")
        left = [e.value for e in result.estimates if e.name == "left"]
        assert left == sorted(left, reverse=True) and left[0] == 20
        selected = {e.term for e in result.estimates if e.name == "selected_in_folds"}
        assert signal <= selected
    # Of five copies of one feature the correlation filter leaves one.
    assert len({f"x{i}" for i in range(30, 35)} & selected) == 1


def test_the_frozen_scores_are_those_that_the_published_coefficients_give(run: Run):
    rows = run.rows("external")
    for model in ("first", "second", "hybrid", "high", "formula"):
        known = ~np.isnan(run.score(model, rows))
        auc = roc_auc_score(rows["mvi"][known], run.score(model, rows)[known])
        assert value(run.results.get(f"model.{model}.auc.external"), "auc") == pytest.approx(auc, abs=1e-12)


def test_the_choice_is_the_larger_out_of_fold_area_and_hybrid_is_built_on_it(run: Run):
    choice = run.results.get("choice.radiomics")
    areas = {e.term: e.value for e in choice.estimates}
    chosen = next(e.term for e in choice.estimates if e.note == "chosen")
    assert areas[chosen] == max(areas.values())  # type: ignore[type-var]
    hybrid = run.results.get("model.hybrid.coefficients").model
    assert hybrid is not None and hybrid.scores == {"score.radiomics": chosen}
    for model, area in areas.items():
        assert value(run.results.get(f"model.{model}.cross-validated"), "auc") == area


def test_out_of_fold_areas_lie_below_apparent_ones_and_optimism_is_positive(run: Run):
    for model in ("first", "second"):
        apparent = value(run.results.get(f"model.{model}.auc.train"), "auc")
        assert value(run.results.get(f"model.{model}.cross-validated"), "auc") < apparent
    optimism = run.results.get("model.first.optimism")
    apparent, corrected = value(optimism, "apparent_auc"), value(optimism, "corrected_auc")
    assert corrected == pytest.approx(apparent - value(optimism, "optimism"))
    assert value(optimism, "bootstrap_sets") == 3
    assert run.results.get("model.hybrid.optimism").status == "estimated"


def test_groups_by_a_frozen_score_are_compared_as_of_pooled_rows(run: Run):
    rows = run.rows("later")
    chosen = run.results.get("model.hybrid.coefficients").model
    assert chosen is not None
    model = chosen.scores["score.radiomics"]
    cutoff = value(run.results.get(f"model.{model}.coefficients"), "cutoff")
    high = run.score(model, rows) >= cutoff
    oracle = logrank_test(
        rows["os.time"][high], rows["os.time"][~high], rows["os.event"][high], rows["os.event"][~high]
    )
    result = run.results.get("comparison.os-by-radiomics")
    assert value(result, "log_rank_chi2", "df=1") == pytest.approx(oracle.test_statistic, abs=1e-8)
    assert value(result, "patients", "Radiomics score: high score") == np.count_nonzero(high)
    assert run.results.get("comparison.os-by-hybrid").status == "estimated"


def delong(y: FloatArray, first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Difference of two areas and its two-sided p, from every pair of patients (DeLong et al., Biometrics 1988)."""
    wins = []
    for score in (first, second):
        pairs = score[y == 1.0][:, np.newaxis] - score[y == 0.0]
        wins.append(np.where(pairs == 0.0, 0.5, pairs > 0.0))
    difference = wins[0] - wins[1]
    present, absent = difference.mean(axis=1), difference.mean(axis=0)
    error = np.sqrt(present.var(ddof=1) / present.size + absent.var(ddof=1) / absent.size)
    return float(difference.mean()), float(2.0 * norm.sf(abs(difference.mean() / error)))


def test_a_hybrid_is_compared_with_the_chosen_model_as_of_pooled_rows(run: Run):
    result, rows = run.results.get("analysis.headline"), run.rows("external")
    hybrid = run.results.get("model.hybrid.coefficients").model
    assert hybrid is not None
    chosen = hybrid.scores["score.radiomics"]
    known = ~np.isnan(run.score("hybrid", rows)) & ~np.isnan(run.score(chosen, rows))
    for first, second, model in (("hybrid", "radiomics", chosen), ("hybrid", "clinical", "clinical")):
        found = next(e for e in result.estimates if (e.name, e.term) == ("auc_difference", f"{first} less {second}"))
        oracle = delong(rows["mvi"][known], run.score(first, rows)[known], run.score(model, rows)[known])
        assert (found.value, found.p) == pytest.approx(oracle, abs=1e-10)
    assert f"'radiomics' took in training is {chosen}" in result.note


def test_p_values_are_adjusted_over_all_comparisons_of_the_study(run: Run):
    """Each analysis by itself would count its own comparisons only, of which the reader sees the smallest."""
    results = [run.results.get(f"analysis.{name}") for name in ("areas", "headline")]
    raw = {(r.id, e.term): e.p or 0.0 for r in results for e in r.estimates if e.name == "auc_difference"}
    told = {(r.id, e.term): e for r in results for e in r.estimates if e.name == "adjusted_p"}
    assert len(raw) == 9 and told.keys() == raw.keys()
    adjusted = multipletests(list(raw.values()), method="holm")[1]
    assert [told[key].value for key in raw] == pytest.approx(adjusted.tolist())
    assert {e.note for e in told.values()} == {"p, adjusted for the study's 9 comparisons (Holm)"}
    page = render(run.results, None, {})
    assert "adjusted for the study&#39;s 9 comparisons" in page or "adjusted for the study's 9 comparisons" in page
    assert "adjusted_p" not in page and "holm_p" not in page


def test_p_values_after_selection_are_marked(run: Run):
    """The score of a Hybrid was developed and chosen on the patients of whom its coefficients are."""
    for model, note in (("hybrid", AFTER_SELECTION), ("clinical", "")):
        result = run.results.get(f"model.{model}.coefficients")
        assert {e.note for e in result.estimates if e.name == "odds_ratio"} == {note}
    page = render(run.results, None, {})
    assert page.count("†") > 1 and "takes no account of that" in page


def test_every_question_was_foreseen_by_the_preview(run: Run):
    assert assert_foreseen(run.made.study, run.made.folders, run.heard) > 500
    assert not [error for asks in run.heard.asks.values() for _, error in asks if error]


@pytest.mark.parametrize("model", ["hybrid", "high"])
def test_a_model_on_scores_has_subgroups_as_any_other(run: Run, model: str):
    """Columns, scores and cut-offs before the score that is asked about are frozen with each subgroup."""
    result, whole = run.results.get(f"subgroups.{model}"), run.results.get(f"model.{model}.auc.external")
    assert result.status == "estimated"
    rows = run.rows("external")
    score, y = np.floor(run.score(model, rows) * BINS + 1e-9), rows["mvi"]
    assert value(result, "patients", EVERYONE) == whole.n == y.size
    assert value(result, "auc", EVERYONE) == pytest.approx(roc_auc_score(y, score), rel=1e-12)
    for level, members in (("female", rows["sex=male"] == 0), ("male", rows["sex=male"] == 1)):
        assert value(result, "patients", f"Sex: {level}") == np.count_nonzero(members)
        assert value(result, "auc", f"Sex: {level}") == pytest.approx(roc_auc_score(y[members], score[members]))
