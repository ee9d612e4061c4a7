"""server/study: features are harmonised by numbers of the training cohort, at every hospital from its own patients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score

from common.errors import FedmviError
from common.published.results import Result, Results
from common.study.coding import CodedColumn
from common.study.harmonisation import Combat
from common.study.recipe import Frame, Recipe, Select
from common.study.table import FloatArray
from server.export.logistic import frozen_model
from server.study.conduct import conduct
from simulation.exactness.harmonisation import combat_by_dummies
from tests.client.approval.asked import Heard, heard_of
from tests.client.approval.test_preview import assert_foreseen
from tests.disclosure.consortium import POLICY, SITES, STUDY, Consortium, Row, make
from tests.server.study.harmonised_study import (
    FEATURES,
    HARMONISE,
    SIGNAL,
    model,
    scanned,
    study_text,
    variables,
)

pytestmark = pytest.mark.xdist_group("harmonised")

USED = FEATURES[:6]
COVARIATES = ("age", "cirrhosis=yes")


@dataclass(frozen=True)
class Run:
    made: Consortium
    results: Results
    heard: Heard

    def rows(self, cohort: str) -> tuple[dict[str, FloatArray], FloatArray]:
        """The pooled rows of a cohort as the hospitals measure them, and each row's site."""
        columns = [CodedColumn(name, name, "linear") for name in (*FEATURES, "age")]
        columns.append(CodedColumn("cirrhosis=yes", "cirrhosis", "equals", level="yes"))
        sites = self.made.study.cohort(cohort).sites
        frames = [self.made.frame(site, Recipe((Select(tuple(columns)),)), cohort) for site in sites]
        names = [*frames[0].columns, *frames[0].endpoints]
        whole = {n: np.concatenate([{**f.columns, **f.endpoints}[n] for f in frames]) for n in names}
        return whole, np.repeat(np.arange(len(sites)), [f.n for f in frames])


def value(result: Result, name: str, term: str = "") -> float:
    found = next(e.value for e in result.estimates if (e.name, e.term) == (name, term))
    assert found is not None
    return found


def matrix(rows: dict[str, FloatArray], names: tuple[str, ...]) -> FloatArray:
    return np.column_stack([rows[name] for name in names])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make(tmp_path_factory.mktemp("sites"), dict.fromkeys(SITES, scanned), study=study_text(), masked=True).sign()
    heard, port = heard_of(made)
    return Run(made, conduct(made.study, port, lambda _: None).results, heard)


def published_step(result: Result, names: tuple[str, ...] = USED, covariates: tuple[str, ...] = COVARIATES) -> Combat:
    mean, scale = (tuple(value(result, kind, name) for name in names) for kind in ("grand_mean", "pooled_std"))
    effects = tuple(tuple(value(result, "effect", f"{name} by {by}") for name in names) for by in covariates)
    return Combat(
        names, covariates, mean, scale, effects, eb=True, parametric=True, mean_only=False, reference="",
        min_patients=20, bounded=True, model="combat", training="train",
    )  # fmt: skip


def bounded(adjusted: FloatArray, step: Combat) -> FloatArray:
    """Values to the thousandth of a residual standard deviation."""
    mean, scale = np.array(step.mean), np.array(step.scale)
    return mean + scale * np.round((adjusted - mean) / scale, 3)


def test_the_coefficients_are_those_of_the_regression_on_pooled_rows_after_combat(run: Run):
    rows, site = run.rows("train")
    step = published_step(run.results.get("model.combat.harmonisation"))
    adjusted = bounded(combat_by_dummies(matrix(rows, USED), matrix(rows, COVARIATES), site), step)
    oracle = sm.Logit(rows["mvi"], sm.add_constant(adjusted)).fit(disp=0, tol=1e-12)
    result = run.results.get("model.combat.coefficients")
    ours = [value(result, "coef", term) for term in ("intercept", *USED)]
    assert ours == pytest.approx(oracle.params, rel=1e-6)
    assert result.model is None and "not for values as a hospital measures them" in result.note
    moments = run.results.get("model.combat.moments")
    assert [value(moments, "mean", name) for name in USED] == pytest.approx(adjusted.mean(axis=0), abs=1e-6)
    apparent = roc_auc_score(rows["mvi"], oracle.predict(sm.add_constant(adjusted)))
    assert value(run.results.get("model.combat.auc.train"), "auc") == pytest.approx(apparent, abs=1e-4)


def test_a_hospital_that_took_no_part_is_harmonised_by_the_frozen_numbers_and_its_own_patients(run: Run):
    rows, site = run.rows("external")
    step = published_step(run.results.get("model.combat.harmonisation"))
    adjusted = np.empty((site.size, len(USED)))
    for one in np.unique(site):
        own = {name: rows[name][site == one] for name in step.columns}
        adjusted[site == one] = step.apply(Frame(own, {}, int((site == one).sum()))).matrix(USED)
    result = run.results.get("model.combat.coefficients")
    linear = value(result, "coef", "intercept") + adjusted @ [value(result, "coef", name) for name in USED]
    score = np.round(1.0 / (1.0 + np.exp(-linear)), 4)
    auc = run.results.get("model.combat.auc.external")
    assert value(auc, "auc") == pytest.approx(roc_auc_score(rows["mvi"], score), abs=1e-12)


def test_harmonisation_recovers_what_the_scanners_cost(run: Run):
    """The ceiling is the pooled regression on what the scanners measured, each with its own gain and offset undone."""
    raw, combat = (value(run.results.get(f"model.{name}.auc.external"), "auc") for name in ("raw", "combat"))
    rows, site = run.rows("external")
    x = matrix(rows, tuple(name for name in SIGNAL if name in USED))
    true = np.vstack([(x[site == s] - x[site == s].mean(axis=0)) / x[site == s].std(axis=0) for s in np.unique(site)])
    ceiling = roc_auc_score(rows["mvi"], true.sum(axis=1))
    assert raw < ceiling - 0.1
    assert combat > ceiling - 0.02


def test_all_kinds_of_models_take_harmonised_features(run: Run):
    for name in ("filled", "selected", "hybrid"):
        assert run.results.get(f"model.{name}.auc.external").status == "estimated"
    assert "age" not in {e.term for e in run.results.get("model.filled.harmonisation").estimates}
    step = run.results.get("model.selected.harmonisation")
    assert value(step, "features") == 5 and "without outcomes" in step.note and "here none was" in step.note
    assert run.results.get("analysis.cal").status == "estimated"
    assert run.results.get("subgroups.by-sex").status == "estimated"


def test_every_question_was_foreseen_by_the_preview_and_answered(run: Run):
    assert assert_foreseen(run.made.study, run.made.folders, run.heard) > 200
    assert not [(ask, error) for asks in run.heard.asks.values() for ask, error in asks if error]


def test_missing_values_are_filled_on_the_common_scale_and_covariates_are_not(tmp_path: Path):
    def gaps(rows: list[Row]) -> None:
        scanned(rows)
        for row in rows[:10]:
            row["x01"] = ""
        rows[20]["age"] = ""  # a predictor of the model, too
        for row in rows[30:36]:
            row["cirrhosis"] = ""

    text = STUDY + variables() + model("filled", HARMONISE, 'missing = "mean"', predictors=(*USED, "age"))
    made = make(tmp_path, dict.fromkeys(SITES, gaps), study=text).open()
    results = conduct(made.study, made.port(), lambda _: None).results
    assert results.get("model.filled.coefficients").n == 3 * (110 - 6)
    assert results.get("model.filled.auc.external").status == "estimated"
    moments = results.get("model.filled.moments")
    assert value(moments, "known", "x01") == 3 * (110 - 10 - 1 - 6)
    assert value(moments, "known", "x02") == 3 * (110 - 1 - 6)
    step = published_step(results.get("model.filled.harmonisation"))
    read = [CodedColumn(name, name, "linear") for name in (*USED, "age")]
    read.append(CodedColumn("cirrhosis=yes", "cirrhosis", "equals", level="yes"))
    frames = [made.frame(site, Recipe((Select(tuple(read)), step))) for site in "abc"]
    pooled = np.concatenate([frame.columns["x01"] for frame in frames])
    assert value(moments, "mean", "x01") == pytest.approx(np.nanmean(pooled), rel=1e-9)


def test_a_reduced_model_and_the_same_harmonised_are_developed_in_one_run(tmp_path: Path):
    """Both are of the same columns: what is set once a run for the one is not what is set for the other.

    [shift] compares hospitals by the plain one, and tells what harmonising gained.
    """
    reduction = "reduction = { count = 4 }"
    text = STUDY + variables() + model("plain", reduction, predictors=FEATURES[6:11])
    text += model("twin", reduction, 'harmonise = { covariates = ["age"] }', predictors=FEATURES[6:11])
    text += '\n[shift]\nmodels = ["plain", "twin"]\npermutations = 99\n'
    made = make(tmp_path, dict.fromkeys(SITES, scanned), study=text, masked=True).sign()
    results = conduct(made.study, made.port(), lambda _: None).results
    for name in ("plain", "twin"):
        for part in ("coefficients", "cross-validated", "auc.external"):
            assert results.get(f"model.{name}.{part}").status == "estimated", (name, part)
    (gain,) = (e for e in results.get("model.twin.harmonisation").estimates if e.name == "auc_difference")
    plain, twin = (results.get(f"model.{name}.auc.external").estimates[0] for name in ("plain", "twin"))
    assert plain.value is not None and twin.value is not None and gain.term == "external"
    assert gain.value == pytest.approx(twin.value - plain.value)
    assert gain.std_err == pytest.approx(np.hypot(plain.std_err, twin.std_err))
    shifts = [r for r in results.results if r.statistic == "shift"]
    assert {r.status for r in shifts} == {"estimated"}
    assert all(any(e.name == "class_conditional" for e in r.estimates) for r in shifts)


def test_a_harmonised_model_is_not_handed_on_nor_one_that_is_built_on_it(run: Run):
    for name in ("combat", "hybrid"):
        with pytest.raises(FedmviError, match="120"):
            frozen_model(run.made.study, run.results, name)
    assert frozen_model(run.made.study, run.results, "raw").name == "raw"


def test_a_hospital_with_few_patients_is_refused_and_the_result_says_so(tmp_path: Path):
    def few(rows: list[Row]) -> None:
        scanned(rows)
        del rows[19:]

    text = STUDY.replace('sites = ["d", "e", "f"]', 'sites = ["d", "e"]') + variables() + model("combat", HARMONISE)
    text += "[limits]\nmin_patients = 10\n"
    changes = {**dict.fromkeys("abce", scanned), "d": few}
    policy = f"{POLICY}min_patients = 10\n"
    made = make(tmp_path, changes, study=text, policy=policy, sites=tuple("abcde")).open(*"abcde")
    results = conduct(made.study, made.port(), lambda _: None).results
    assert results.get("model.combat.auc.external.e").status == "estimated"
    refused = results.get("model.combat.auc.external.d")
    assert refused.status == "not-estimable" and "FEDMVI-617" in refused.note
    assert "not evaluated are external at d." in results.get("model.combat.harmonisation").note


def test_features_that_cannot_be_harmonised_stop_the_model_and_not_the_study(tmp_path: Path):
    """A covariate that is the same at every patient of each hospital cannot be told from the hospital."""

    def alike(rows: list[Row]) -> None:
        scanned(rows)
        for row in rows:
            row["cirrhosis"] = "yes" if row["patient_id"].startswith("a") else "no"

    text = STUDY + variables() + model("raw") + model("combat", HARMONISE)
    selected = model("selected", HARMONISE, "reduction = { count = 6 }", predictors=FEATURES[6:])
    made = make(tmp_path, dict.fromkeys(SITES, alike), study=text + selected).open()
    results = conduct(made.study, made.port(), lambda _: None).results
    assert results.get("model.raw.coefficients").status == "estimated"
    for name in ("combat", "selected"):
        for part in ("harmonisation", "coefficients", "auc.external"):
            assert results.get(f"model.{name}.{part}").status in ("refused", "not-estimable")


def test_a_correction_is_fitted_on_the_scale_on_which_it_is_applied(tmp_path: Path):
    """Calibration and test patients of a hospital are harmonised by all of them together, also where they differ.

    The oracle knows every patient: it harmonises each hospital whole, scores, and fits intercept and slope.
    """
    text = STUDY + variables() + model("combat", "harmonise = {}")
    text += """
[[cohorts]]
name = "calibration"
role = "calibration"
sites = ["d", "e", "f"]
split = { fraction = 0.5, stratify = "mvi" }

[[recalibrations]]
name = "updated"
model = "combat"
cohort = "calibration"
method = "slope"
"""
    made = make(tmp_path, dict.fromkeys(SITES, scanned), study=text, masked=True).sign()
    results = conduct(made.study, made.port(), lambda _: None).results
    step = published_step(results.get("model.combat.harmonisation"), USED, ())
    coefficients = results.get("model.combat.coefficients")
    read = Recipe((Select(tuple(CodedColumn(name, name, "linear") for name in USED)),))

    def slope(*cohorts: str) -> float:
        """Of calibration patients who are harmonised by patients of these cohorts, themselves first."""
        linear, outcomes = [], []
        for site in "def":
            parts = [made.frame(site, read, name) for name in cohorts]
            whole = {name: np.concatenate([part.columns[name] for part in parts]) for name in USED}
            adjusted = step.apply(Frame(whole, {}, sum(part.n for part in parts))).matrix(USED)[: parts[0].n]
            linear.append(adjusted @ [value(coefficients, "coef", name) for name in USED])
            outcomes.append(parts[0].endpoints["mvi"])
        design = sm.add_constant(value(coefficients, "coef", "intercept") + np.concatenate(linear))
        return float(sm.Logit(np.concatenate(outcomes), design).fit(disp=0, tol=1e-12).params[1])

    found = value(results.get("recalibration.updated"), "slope_unshrunk")
    assert found == pytest.approx(slope("calibration", "external"), abs=2e-3)
    assert abs(found - slope("calibration")) > 5e-3
