"""simulation: three real centres' model, recalibrated in a part of the fourth and tested in the rest of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score

from client.cohort.membership import members
from client.cohort.store import load_prepared
from common.models.archive import read_model
from common.published.results import Estimate, Result, Results, read_results
from common.statistics.calibration import logit
from common.study.recipe import Complete, Frame, Recipe, Score, Select
from server.export.logistic import frozen_model, write_model
from server.study.execution import Action
from simulation.importers.folder import ImportReport
from simulation.running import Simulation
from tests.simulation.conftest import NO_STORE

ROOT = Path(__file__).parents[2]

FURTHER = """
[[cohorts]]
name = "calibration"
role = "calibration"
sites = ["va"]
split = { fraction = 0.5, stratify = "disease" }

[[recalibrations]]
name = "updated"
label = "Closed testing"
model = "clinical-mean"
cohort = "calibration"
sensitivity = 0.9

[[recalibrations]]
name = "intercept"
model = "clinical-mean"
cohort = "calibration"
method = "intercept"

[[recalibrations]]
name = "prior"
model = "clinical-mean"
cohort = "calibration"
method = "prior"
"""


class Run:
    """The study over the public data, in this process."""

    def __init__(self, folder: Path, sites: Path, fourth: str) -> None:
        text = (ROOT / "studies" / "heart-disease.toml").read_text(encoding="utf-8") + FURTHER
        text = text.replace('"external-va"', '"external"')
        if fourth != "va":
            text = text.replace(f'"{fourth}"', '"other"').replace('"va"', f'"{fourth}"').replace('"other"', '"va"')
        (folder / "study.toml").write_text(text, encoding="utf-8")
        self.fourth = fourth
        self.simulation = Simulation.of(folder / "study.toml", sites, folder / "run", in_process=True)
        self.simulation.conduct(Action.RUN, lambda _: None)
        self.study = self.simulation.run.study()
        self.results: Results = read_results(self.simulation.run.results_file)

    def frame(self, cohort: str, recipe: Recipe) -> Frame:
        site = self.simulation.sites[self.fourth]
        table = load_prepared(site, self.study)
        return recipe.apply(table, members(site, table, self.study, self.study.cohort(cohort)), ("disease",))


@pytest.fixture(scope="module", params=["va", "hungarian"])
def run(
    imported: Callable[[str], tuple[Path, ImportReport]],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(imported("heart-disease")[0], folder / "sites", ignore=NO_STORE)
    return Run(folder, folder / "sites", request.param)


def estimate(result: Result, name: str, term: str = "") -> Estimate:
    return next(e for e in result.estimates if (e.name, e.term) == (name, term))


def scored(run: Run, name: str) -> tuple[Recipe, str]:
    """The recipe of a model as it was handed on, of patients of whom the endpoint is known."""
    model = frozen_model(run.study, run.results, name)
    assert model.filling is not None
    steps = (Select(model.columns), model.filling, Complete(model.terms, ("disease",)))
    return Recipe((*steps, Score(name, "disease", model.terms, model.coefficients[1:], model.coefficients[0]))), name


def test_the_correction_is_that_of_the_calibration_patients_of_the_fourth_centre(run: Run):
    told = run.results.get("recalibration.intercept")
    assert told.how == "site-alone"
    recipe, _ = scored(run, "clinical-mean")
    frame = run.frame("calibration", recipe)
    risk, y = frame.columns["score.clinical-mean"], frame.endpoints["disease"]
    assert (told.n, told.events) == (len(y), int(y.sum()))
    large = sm.GLM(y, np.ones((len(y), 1)), sm.families.Binomial(), offset=logit(risk)).fit(tol=1e-14)
    assert estimate(told, "intercept").value == pytest.approx(large.params[0], abs=1e-9)
    closed = run.results.get("recalibration.updated")
    first = next(e for e in closed.estimates if e.name == "chi2")
    offset = np.sum(np.where(y == 1, np.log(risk), np.log1p(-risk)))
    # At the fourth centre fewer than 30 patients of the cohort are without disease: too few for a slope.
    few = bool(min(np.bincount(y.astype(int))) < 30)
    # Elsewhere the smaller class is too small for a refit of the model's eight coefficients.
    slope = sm.Logit(y, sm.add_constant(logit(risk))).fit(disp=0, tol=1e-14, maxiter=100)
    assert few is (run.fourth == "va") and min(np.bincount(y.astype(int))) < 80
    assert first.value == pytest.approx(2 * ((large if few else slope).llf - offset), abs=1e-8)
    assert first.term == ("none v intercept" if few else "none v slope")


def test_the_rest_of_the_centre_sees_both_risks_and_no_calibration_patient(run: Run):
    for name in ("updated", "intercept"):
        told = run.results.get(f"recalibration.{name}.external.{run.fourth}")
        for term, model in (("before", "clinical-mean"), ("after", name)):
            recipe, column = scored(run, model)
            frame = run.frame("external", recipe)
            risk, y = frame.columns[f"score.{column}"], frame.endpoints["disease"]
            assert told.n == len(y)
            assert estimate(told, "auc", term).value == pytest.approx(roc_auc_score(y, risk), abs=1e-12)
            # One site tells sums of risks in whole patients.
            squares, expected = round(np.sum(np.square(y - risk))), round(risk.sum())
            assert estimate(told, "brier", term).value == pytest.approx(squares / len(y), abs=1e-12)
            assert estimate(told, "observed_expected", term).value == pytest.approx(y.sum() / expected, abs=1e-10)
    n = run.results.get("recalibration.intercept").n + told.n
    assert n == {"va": 200, "hungarian": 294}[run.fourth], "every patient is in one of the two cohorts"


def test_a_prevalence_is_not_corrected_for_where_patients_differ_in_more_than_that(run: Run):
    """At neither centre; predictors alone show it, without the outcome of any patient there."""
    told = run.results.get("recalibration.prior")
    assert "FEDMVI-657" in told.note and not told.estimates
    assert not [result.id for result in run.results.results if result.id.startswith("recalibration.prior.")]


def test_where_the_centre_differs_the_correction_helps_and_an_unlabelled_one_is_shown_as_it_is(run: Run):
    """Hungarian patients have the disease less often than those of training; at the fourth centre the risks hold."""
    told = run.results.get(f"recalibration.updated.external.{run.fourth}")
    before, after = (abs(np.log(estimate(told, "observed_expected", term).value)) for term in ("before", "after"))
    if run.fourth == "hungarian":
        assert run.results.get("recalibration.updated").verdict != "none"
        assert after < before / 2
        assert estimate(told, "brier", "after").value < estimate(told, "brier", "before").value
    else:
        assert run.results.get("recalibration.updated").verdict == "none"
        assert after == before


def test_a_recalibrated_model_is_written_to_a_file_and_read_back(run: Run, tmp_path: Path):
    written = write_model(run.simulation.run.folder, "intercept", tmp_path / "model.zip")
    read = read_model(tmp_path / "model.zip").model
    assert read == written == frozen_model(run.study, run.results, "intercept")
    assert read.coefficients[1:] == frozen_model(run.study, run.results, "clinical-mean").coefficients[1:]


def test_what_was_seen_of_the_test_patients_came_after_both_freezes(run: Run):
    """In the order of the site's ledger."""
    lines = run.simulation.sites[run.fourth].store / "ledger.jsonl"
    entries = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    names = [(entry["query"], entry["cohort"]) for entry in entries]
    first = names.index(("task.freeze", ""))
    second = names.index(("task.freeze_corrections", ""))
    assert first < second
    beside = {"query.roc_alone", "query.risk_quality_alone", "query.recalibration_alone", "query.guaranteed_alone"}
    asked = {(query, cohort): i for i, (query, cohort) in reversed(list(enumerate(names))) if query in beside}
    assert {cohort for _, cohort in asked} == {"calibration", "external"}
    for (_, cohort), place in asked.items():
        assert place > (first if cohort == "calibration" else second)
        assert cohort != "calibration" or place < second
