"""disclosure: risks of a network, as a model on its score gives them, are corrected in patients whom it is asked of."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from client.approval.preview import preview
from client.cohort.membership import members
from client.cohort.site import load_site
from client.cohort.store import load_prepared
from client.learning.work import Works
from common.federation.learning import WHOLE, ExplainPatients, Member, ScorePatients
from common.federation.query import each, perform
from common.statistics.recalibration import Rule
from common.statistics.recalibration_alone import RecalibrationAlone
from common.study.loader import parse_study
from common.study.recipe import Complete, Made, Recipe
from server.report.page import render
from server.study.conduct import conduct
from simulation.importers.folder import introduce
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from tests.disclosure.consortium import Consortium
from tests.disclosure.networks import NETWORK_STUDY, ONE, SITES, scoring, set_policy, weights

CALIBRATION = """
[[cohorts]]
name = "calibration"
role = "calibration"
sites = ["d"]
split = { fraction = 0.5, stratify = "mvi" }

[[models]]
name = "risk"
endpoint = "mvi"
cohort = "train"
predictors = ["score.net"]
evaluate = ["external"]

[[recalibrations]]
name = "large"
model = "risk"
cohort = "calibration"
method = "intercept"

[[recalibrations]]
name = "least"
model = "risk"
cohort = "calibration"
"""
TEXT = (
    NETWORK_STUDY.replace('phases = ["t1", "t1v"]', 'phases = ["t1v"]')
    .replace('sequences = ["t1", "t1v"]\n', "")
    .replace('[["t1v"], ["t1", "t1v"]]', '[["t1v"]]')
    .replace('normalisation = "silobn"', 'normalisation = "group"')
    .replace("seeds = 2", "seeds = 1")
    .replace("rounds = 5", "rounds = 2")
    + CALIBRATION
)
POLICY = 'approved_studies = ["any"]\nrelease_alone = true\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    folder, study = tmp_path_factory.mktemp("recalibrated"), parse_study(TEXT)
    make_learning_hospitals(folder, study, Drawing(seed=3, patients=80))
    folders = {name: folder / name for name in SITES}
    for site in folders.values():
        set_policy(site, POLICY)
    introduce(folders)
    return Consortium(folders, study).sign()


def _scores(made: Consortium, cohort: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The network's scores of a cohort at d, and the endpoint."""
    site = load_site(made.folders["d"])
    table = load_prepared(site, made.study)
    rows = members(site, table, made.study, made.study.cohort(cohort))
    (folder,) = (site.store / "work").iterdir()
    works = Works(folder)
    facts = {path.name: works.facts(path.name) for path in folder.iterdir() if (path / "facts.json").exists()}
    (task,) = [
        name for name, fact in facts.items() if fact["cohort"] == cohort and fact["task"] == ScorePatients.name
    ]  # fmt: skip
    scored = dict(zip(facts[task]["patients"], works.arrays(task)["mean"], strict=True))
    patients = [patient for patient, inside in zip(table.patients, rows, strict=True) if inside]
    assert set(scored) == set(patients), "these patients, and no others"
    return np.array([scored[patient] for patient in patients]), table.endpoints["mvi"][rows]


def test_the_correction_is_that_of_the_scores_of_patients_who_are_neither_trained_nor_tested_on(
    made: Consortium,
) -> None:
    results = conduct(made.study, made.port(), lambda _: None).results
    fit = {(e.name, e.term): e.value for e in results.get("model.risk.coefficients").estimates}
    intercept, slope = fit["coef", "intercept"], fit["coef", "score.net"]
    assert intercept is not None and slope is not None
    scores, present = _scores(made, "calibration")
    linear = intercept + slope * scores
    risk = np.round(1.0 / (1.0 + np.exp(-linear)), 4)
    offset = np.log(risk / (1.0 - risk))
    expected = sm.GLM(present, np.ones((present.size, 1)), family=sm.families.Binomial(), offset=offset).fit()
    told = {(e.name, e.term): e.value for e in results.get("recalibration.large").estimates}
    (found,) = [value for (name, _), value in told.items() if name == "intercept"]
    assert found == pytest.approx(float(expected.params[0]), abs=1e-6)
    assert results.get("recalibration.least").status == "estimated"
    (evaluated,) = [r for r in results.results if r.id.startswith("recalibration.large.external")]
    assert {e.term for e in evaluated.estimates} >= {"before", "after"}, "without and with it"
    tested, _ = _scores(made, "external")
    assert scores.size + tested.size == 80
    assert "large" in render(results, None, {})


def test_in_that_cohort_only_the_frozen_network_scores_and_nothing_is_asked_of_its_scores(made: Consortium) -> None:
    made.open(*SITES)
    task = scoring(made.study, "calibration")
    assert made.number("d", perform(task)) == 407, "not before it is frozen"
    explained = ExplainPatients("calibration", "net", ONE, 0, Member(WHOLE, weights(made.study)))
    assert made.number("d", perform(explained)) == 414
    step = Made("0" * 64, "net", ("mean",))
    recipe = Recipe((step, Complete(step.names, ("mvi",))))
    query = RecalibrationAlone("calibration", recipe, "mvi", "net.mean", (), Rule.INTERCEPT, 10, min_cell=5)
    assert made.number("d", each(query)) == 414
    foreseen = preview(load_site(made.folders["d"]), made.study).releases
    assert "calibration" in {r.cohort for r in foreseen if r.query == ScorePatients.name}
    assert "calibration" not in {r.cohort for r in foreseen if r.query == ExplainPatients.name}


def test_a_network_itself_is_no_model_and_the_message_says_what_is() -> None:
    with pytest.raises(Exception, match=r"is a network: name a model that has `score\.net`"):
        parse_study(TEXT.replace('model = "risk"', 'model = "net"', 1))
