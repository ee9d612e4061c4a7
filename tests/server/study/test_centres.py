"""server/study: models by hospital, and what their fall is made of, against the pooled rows of the hospitals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from client.cohort.membership import members, patient_keys
from client.cohort.site import load_site
from common.federation.query import HIDDEN
from common.published.results import Estimate, Result, Results
from common.study.coding import coded_columns
from common.study.recipe import Complete, Frame, Recipe, Resample, Select
from common.study.table import FloatArray
from server.study.centres import shown_tables
from server.study.conduct import conduct
from tests.client.approval.asked import Heard, heard_of
from tests.client.approval.test_preview import assert_foreseen
from tests.disclosure.consortium import Consortium, make
from tests.server.study.left_out_study import (
    CLOSED,
    ONE_MODEL,
    OPEN,
    model,
    reduced,
    shift,
    signal,
    with_features,
)

SEVEN = ("a", "b", "c", "d", "e", "f", "g")
TEST = ("e", "f", "g")
POOLED = ONE_MODEL.replace('sites = ["e", "f"]', 'sites = ["e", "f", "g"]')
STEPS = ("apparent", "out_of_fold", "optimism")
AGED = model("aged", '{ variable = "age", coding = "linear" }, "sex", "afp", "cirrhosis"', "optimism = 5\n")


def value(result: Result, name: str, term: str = "") -> float:
    found = next(e.value for e in result.estimates if (e.name, e.term) == (name, term))
    assert found is not None
    return found


@dataclass(frozen=True)
class Run:
    made: Consortium
    results: Results
    heard: Heard

    def result(self, what: str) -> Result:
        return self.results.get(f"model.aged.{what}")

    def estimate(self, what: str, name: str, term: str = "") -> Estimate:
        return next(e for e in self.result(what).estimates if (e.name, e.term) == (name, term))

    def number(self, what: str, name: str, term: str = "") -> float:
        return value(self.result(what), name, term)

    def rows(self, sites: tuple[str, ...], cohort: str = "external") -> tuple[FloatArray, FloatArray]:
        """(n,) frozen scores and (n,) outcomes of some hospitals."""
        columns = coded_columns(self.made.study, next(m for m in self.made.study.models if m.name == "aged").predictors)
        frames = [self.made.frame(site, Recipe((Select(columns),)), cohort) for site in sites]
        coef = {e.term: e.value for e in self.result("coefficients").estimates if e.name == "coef"}
        x = np.concatenate([frame.matrix(tuple(c.name for c in columns)) for frame in frames])
        linear = coef["intercept"] + x @ np.array([coef[c.name] for c in columns])
        return np.round(1 / (1 + np.exp(-linear)), 4), np.concatenate([frame.endpoints["mvi"] for frame in frames])

    def keyed(self, site: str, recipe: Recipe) -> Frame:
        """What the recipe makes of a site's training patients, with what bootstrap sets are drawn by."""
        table, own = self.made.table(site), load_site(self.made.folders[site])
        rows = members(own, table, self.made.study, self.made.study.cohort("train"))
        return recipe.apply(table, rows, tuple(table.endpoints), patient_keys(own, table), cohort="train")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    text = POOLED + AGED + shift("aged")
    folder = tmp_path_factory.mktemp("sites")
    made = make(folder, dict.fromkeys(SEVEN, signal), study=text, policy=OPEN, masked=True, sites=SEVEN).sign()
    heard, port = heard_of(made)
    return Run(made, conduct(made.study, port, lambda _: None).results, heard)


def test_each_hospital_s_area_calibration_and_decisions_are_those_of_its_own_rows(run: Run):
    cutoff = value(run.result("coefficients"), "cutoff")
    for site in TEST:
        score, y = run.rows((site,))
        positive = score >= cutoff
        assert run.number("centres.external", "auc", site) == pytest.approx(roc_auc_score(y, score), abs=1e-12)
        linear = np.log(score / (1 - score))
        large = sm.GLM(y, np.ones((y.size, 1)), sm.families.Binomial(), offset=linear).fit(tol=1e-14)
        line = sm.GLM(y, sm.add_constant(linear), sm.families.Binomial()).fit(tol=1e-14)
        # Two decimals are told of a line.
        for name, fit, place in (("calibration_intercept", large, 0), ("calibration_slope", line, 1)):
            told = run.estimate("centres.external", name, site)
            assert (told.value, told.std_err) == (pytest.approx(fit.params[place], abs=0.00501),
                                                  pytest.approx(fit.bse[place], abs=0.00501))  # fmt: skip
        expected = round(score.sum())  # one site tells it in whole patients
        assert run.number("centres.external", "observed_expected", site) == pytest.approx(y.sum() / expected)
        assert run.number("centres.external", "majority_class", site) == pytest.approx(max(y.mean(), 1 - y.mean()))
        table = [[np.sum((y == k) & (positive == side)) for side in (False, True)] for k in (0, 1)]
        shown = {name: run.estimate("centres.external", name, site).value for name in ("sensitivity", "accuracy")}
        assert (shown["sensitivity"] is None) == (min(table[1]) < 5)
        if shown["sensitivity"] is not None:
            assert shown["sensitivity"] == pytest.approx(positive[y == 1].mean())
        assert (shown["accuracy"] is None) == (min(*table[0], *table[1]) < 5)


def test_the_worst_hospital_and_the_gap_are_those_of_the_areas(run: Run):
    areas = {site: run.number("centres.external", "auc", site) for site in TEST}
    worst = min(areas, key=lambda site: areas[site])
    assert run.number("centres.external", "worst_auc", worst) == areas[worst]
    assert run.number("centres.external", "gap") == pytest.approx(max(areas.values()) - areas[worst])
    summary = run.estimate("centres.external", "auc_random_effects")
    assert min(areas.values()) <= (summary.value or 0) <= max(areas.values())


def test_the_steps_of_the_fall_are_those_of_the_pooled_rows(run: Run):
    fall, cutoff = "drop.external", value(run.result("coefficients"), "cutoff")
    score, y = run.rows(TEST)
    own, label = run.rows(("a", "b", "c", "d"), "train")
    assert run.number(fall, "apparent", "auc") == pytest.approx(roc_auc_score(label, own), abs=1e-12)
    assert run.number(fall, "observed", "auc") == pytest.approx(roc_auc_score(y, score), abs=1e-12)
    weight = score[:, None] * (1 - score[None, :])
    np.fill_diagonal(weight, 0)
    right = (score[:, None] > score[None, :]) + 0.5 * (score[:, None] == score[None, :])
    assert run.number(fall, "expected", "auc") == pytest.approx((weight * right).sum() / weight.sum(), abs=0.002)
    assert run.number(fall, "apparent", "balanced_accuracy") == pytest.approx(
        balanced_accuracy_score(label, own >= cutoff), abs=1e-12
    )
    assert run.number(fall, "observed", "balanced_accuracy") == pytest.approx(
        balanced_accuracy_score(y, score >= cutoff), abs=1e-12
    )
    assert run.number(fall, "accuracy") == pytest.approx(np.mean((score >= cutoff) == y))
    assert run.number(fall, "majority_class") == pytest.approx(max(y.mean(), 1 - y.mean()))
    optimism = value(run.result("optimism"), "optimism")
    assert run.number(fall, "out_of_fold", "auc") == pytest.approx(run.number(fall, "apparent", "auc") - optimism)


@pytest.mark.parametrize("measure", ["auc", "balanced_accuracy"])
def test_the_differences_add_up_to_the_whole_fall(run: Run, measure: str):
    parts = [run.number("drop.external", name, measure) for name in ("optimism", "case_mix", "remaining")]
    whole = run.number("drop.external", "apparent", measure) - run.number("drop.external", "observed", measure)
    assert sum(parts) == pytest.approx(whole, abs=1e-12)
    for name in ("optimism", "case_mix", "remaining"):
        told = run.estimate("drop.external", name, measure)
        assert told.low is not None and told.high is not None and told.low < told.high


def test_the_optimism_of_balanced_accuracy_is_that_of_models_and_cut_offs_of_the_bootstrap_sets(run: Run):
    columns = coded_columns(run.made.study, next(m for m in run.made.study.models if m.name == "aged").predictors)
    names = tuple(column.name for column in columns)
    train = Recipe((Select(columns), Complete(names, ("mvi",))))

    def rows(recipe: Recipe) -> tuple[FloatArray, FloatArray]:
        frames = [run.keyed(site, recipe) for site in ("a", "b", "c", "d")]
        return np.concatenate([f.matrix(names) for f in frames]), np.concatenate([f.endpoints["mvi"] for f in frames])

    everybody, label = rows(train)
    fallen = []
    for replicate in range(1, 6):
        x, y = rows(train.then(Resample(replicate, "mvi")))
        fit = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-12, maxiter=100)
        own, all_scores = (np.round(fit.predict(sm.add_constant(part)), 4) for part in (x, everybody))
        values = np.unique(own)
        middles = (values[1:] + values[:-1]) / 2
        large = [m for m in middles if min(np.sum((y == k) & ((own >= m) == t)) for k in (0, 1) for t in (0, 1)) >= 5]
        cut = max(large, key=lambda m: balanced_accuracy_score(y, own >= m))
        fallen.append(balanced_accuracy_score(y, own >= cut) - balanced_accuracy_score(label, all_scores >= cut))
    told = {name: run.estimate("drop.external", name, "balanced_accuracy") for name in STEPS}
    assert told["optimism"].value == pytest.approx(np.mean(fallen), abs=1e-12)
    assert (told["optimism"].low, told["optimism"].high) == pytest.approx(np.quantile(fallen, [0.025, 0.975]))
    out_of_fold = told["apparent"].value - np.mean(fallen)  # type: ignore[operator]
    assert told["out_of_fold"].value == pytest.approx(out_of_fold)


def test_every_question_was_foreseen_by_the_preview(run: Run):
    assert assert_foreseen(run.made.study, run.made.folders, run.heard) > 100
    assert not [(ask, error) for asks in run.heard.asks.values() for ask, error in asks if error]


def test_hospitals_that_are_too_few_to_be_summed_are_looked_at_alone(tmp_path: Path):
    six = ("a", "b", "c", "d", "e", "f")
    text = ONE_MODEL + AGED.replace("optimism = 5\n", "") + shift("aged", leave=False)
    made = make(tmp_path, dict.fromkeys(six, signal), study=text, policy=CLOSED, masked=True).sign()
    run = Run(made, conduct(made.study, made.port(), lambda _: None).results, Heard())
    assert not [result for result in run.results.results if result.statistic == "leave-one-centre-out"]
    for site in ("e", "f"):
        score, y = run.rows((site,))
        fall = f"drop.external.{site}"
        assert run.result(fall).how == "site-alone"
        assert run.number(fall, "observed", "auc") == pytest.approx(roc_auc_score(y, score), abs=1e-12)
        assert run.number(fall, "expected", "auc") == pytest.approx(
            run.number("centres.external", "auc", site), abs=0.1
        )
        for measure in ("auc", "balanced_accuracy"):
            told = run.estimate(fall, "out_of_fold", measure)
            assert told.value is None and "declare `optimism`" in told.note
    assert not [e for e in run.result("centres.external").estimates if e.name == "auc_prediction"], "of two hospitals"


def test_a_hospital_that_does_not_release_its_own_results_is_named_and_the_others_are_told(tmp_path: Path):
    text = POOLED + AGED.replace("optimism = 5\n", "") + shift("aged", leave=False)
    made = make(tmp_path, dict.fromkeys(SEVEN, signal), study=text, policy=CLOSED, masked=True, sites=SEVEN)
    toml = made.folders["f"] / "site.toml"
    toml.write_text(toml.read_text().replace("release_alone = true\n", ""))
    made.sign()
    results = conduct(made.study, made.port(), lambda _: None).results
    by_centre = results.get("model.aged.centres.external")
    assert {e.term for e in by_centre.estimates if e.name == "auc"} == {"e", "g"}
    assert "Site f: FEDMVI-408" in by_centre.note
    assert results.get("model.aged.drop.external").status == "estimated", "sums need no release of one hospital's own"


def test_a_hidden_row_cannot_be_had_from_the_table_over_all_hospitals():
    tables = {
        "a": np.array([[HIDDEN, HIDDEN], [20, 10]]),
        "b": np.array([[30, 9], [21, 11]]),
        "c": np.array([[31, 8], [22, 12]]),
        "d": np.array([[32, 7], [23, 13]]),
    }
    truth = {**tables, "a": np.array([[40, 2], [20, 10]])}
    pooled = np.sum(list(truth.values()), axis=0)
    found = shown_tables(tables, pooled, 5)
    hidden = [site for site, table in found.items() if table[0].min() < 0]
    assert hidden == ["a", "b"] and all((table[1] >= 0).all() for table in found.values())
    assert np.all(sum(truth[site][0] for site in hidden) >= 5)
    scarce = {**tables, "b": np.array([[30, 0 + 5], [21, 11]])}
    truth = {**scarce, "a": np.array([[40, 0], [20, 10]]), "b": np.array([[30, 4], [21, 11]])}
    scarce["b"] = np.array([[HIDDEN, HIDDEN], [21, 11]])
    found = shown_tables(scarce, np.sum(list(truth.values()), axis=0), 5)
    assert [site for site, table in found.items() if table[0].min() < 0] == ["a", "b", "c"], "0 and 4 are few"
    assert shown_tables({k: v for k, v in tables.items() if k != "a"}, None, 5)["b"].min() >= 0


def test_of_a_reduced_model_both_measures_have_a_step_of_optimism_out_of_fold(tmp_path: Path):
    six = ("a", "b", "c", "d", "e", "f")
    text = ONE_MODEL + reduced() + shift("radiomics", leave=False)
    made = make(tmp_path, dict.fromkeys(six, with_features), study=text, policy=CLOSED, masked=True).sign()
    heard, port = heard_of(made)
    results = conduct(made.study, port, lambda _: None).results
    assert assert_foreseen(made.study, made.folders, heard) > 100
    fall = results.get("model.radiomics.drop.external.e")
    out = {(e.name, e.term): e for e in fall.estimates}
    crossed = results.get("model.radiomics.cross-validated")
    assert out["out_of_fold", "auc"].value == value(crossed, "auc")
    for term in ("auc", "balanced_accuracy"):
        steps = [out[name, term].value for name in ("apparent", "out_of_fold", "expected", "observed")]
        parts = [out[name, term].value for name in ("optimism", "case_mix", "remaining")]
        assert None not in (*steps, *parts), (term, steps)
        assert sum(parts) == pytest.approx(steps[0] - steps[-1])  # type: ignore[operator,arg-type]
        assert parts[0] > 0, "the model fits its own patients better"  # type: ignore[operator]
