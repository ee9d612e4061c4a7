"""simulation: the combined study in small: a radiomics score and a network's, both out of fold, in one Hybrid model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score

from client.approval.preview import preview
from client.cohort.site import load_site
from common.published.results import read_results
from common.statistics.logistic import LogisticSums
from common.study.loader import load_study
from common.study.protocol import Study
from common.study.recipe import Frame
from server.cli import publish
from server.report.page import write_report
from server.study.execution import Action
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.running import Simulation
from simulation.shipped import shipped_study
from tests.client.approval.asked import heard_in_simulations, key_of
from tests.headless import WIDTHS, faults
from tests.report_numbers import printed, read, unknown

SCORES = ("score.radiomics", "score.dl_mvi")
LIMITS = "\n[limits]\nmin_class = 3\nmin_cell = 3\nmin_test_class = 5\n"
POLICY = '[policy]\napproved_studies = ["any"]\nmin_cell = 3\nmin_class = 3\nrelease_alone = true\n'


def small(text: str) -> str:
    """The shipped study with a tiny network and hundreds of features instead of thousands."""
    for old, new in (
        ('phases = ["t1", "t1a", "t1v", "t1d"]', 'phases = ["t1", "t1a", "t1v"]'),
        ('images = ["t1", "t1a", "t1v", "t1d"]', 'images = ["t1", "t1v"]'),
        ("log_sigma_mm = [3.0]", 'log_sigma_mm = []\nclasses = ["firstorder"]'),
        ("count = 30", "count = 8"),
        ("slices = 3", "slices = 2"),
        ("size = 320", "size = 32"),
        ('combinations = [["t1a", "t1v", "t1d"]]', 'combinations = [["t1a", "t1v"]]\nwidth = 8\nblocks = 1'),
        ('normalisation = "group"', 'normalisation = "group"\nsize = 32'),
        ("seeds = 3", "seeds = 1"),
        ("dimensions = 8", "dimensions = 4"),
        ("[networks.federation]\nrounds = 60\npatience = 15", "[networks.training]\nlearning_rate = 3e-3\nbatch = 8\n\n"
         "[networks.federation]\nrounds = 2\npatience = 2\nepochs_per_round = 4"),
        ("optimism = 50", "optimism = 0"),
    ):  # fmt: skip
        assert old in text, old
        text = text.replace(old, new)
    # Within two years a hospital of ninety patients has too few recurrences for three coefficients (439).
    text, early = re.subn(r"(horizon = 730[^\n]*\n)cox = [^\n]*\n", r"\1", text)
    assert early == 2
    return text + LIMITS


class Finished:
    """A run, and what the sites' patients had in the Hybrid's frames, which only a test can bring together."""

    def __init__(self, study: Study, simulation: Simulation, frames: dict[tuple[str, int], dict[str, np.ndarray]]):
        self.study, self.simulation = study, simulation
        found = json.loads(simulation.run.results_file.read_text(encoding="utf-8"))["results"]
        self.results: dict[str, dict[str, Any]] = {result["id"]: result for result in found}
        self.frames = frames

    def wald(self, model: str) -> list[float]:
        """Coefficients over their standard errors, which no scale of the columns changes, without the intercept's."""
        result = self.results[f"model.{model}.coefficients"]
        assert result["status"] == "estimated", result["note"]
        return [e["value"] / e["std_err"] for e in result["estimates"] if e["name"] == "coef"][1:]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("combined")
    path = folder / "study.toml"
    path.write_text(small(shipped_study(Path("combined")).read_text(encoding="utf-8")), encoding="utf-8")
    study = load_study(path)
    make_learning_hospitals(folder / "sites", study, Drawing(seed=2, patients=90, effect=0.3, shift=0.3))
    for toml in (folder / "sites").glob("*/site.toml"):
        toml.write_text(toml.read_text(encoding="utf-8").split("[policy]")[0] + POLICY, encoding="utf-8")
    simulation = Simulation.of(path, folder / "sites", folder / "run", in_process=True)
    frames: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    answer = LogisticSums.answer

    def seen(self: LogisticSums, frame: Frame) -> Any:
        if set(SCORES) <= set(self.columns):
            own = {name: frame.columns[name].copy() for name in self.columns} | {"y": frame.endpoints["mvi"].copy()}
            frames[self.columns, hash(own["y"].tobytes() + own[SCORES[0]].tobytes())] = own
        return answer(self, frame)

    with pytest.MonkeyPatch.context() as patch, heard_in_simulations(patch) as heard:
        patch.setattr(LogisticSums, "answer", seen)
        simulation.conduct(Action.RUN, lambda _: None)
    for name, site in simulation.sites.items():
        declared = {release.key for release in preview(load_site(site.folder), study).releases if release.declared}
        asked = {key_of(ask) for ask, _ in heard.asks[name]}
        assert asked <= declared, sorted(asked - declared)
    return Finished(study, simulation, frames)


def test_every_part_is_estimated(run: Finished) -> None:
    refused = {name: result["note"] for name, result in run.results.items() if result["status"] != "estimated"}
    assert not refused


def test_subgroups_of_the_hybrid_have_areas_and_one_test_of_interaction_a_variable(run: Finished) -> None:
    estimates = run.results["subgroups.hybrid-external"]["estimates"]
    areas = [e["term"].partition(":")[0] for e in estimates if e["name"] == "auc" and e["value"] is not None]
    tested = {e["term"] for e in estimates if e["name"] == "interaction_chi2" and e["value"] is not None}
    assert tested and all(areas.count(variable) == 2 for variable in tested)
    assert len([e for e in estimates if e["name"] == "interaction_chi2"]) == 7


def test_the_hybrid_is_fitted_on_both_scores_out_of_fold(run: Finished) -> None:
    parts = [frame for (columns, _), frame in run.frames.items() if set(SCORES) <= set(columns)]
    assert len(parts) == 3, "one frame a training hospital"
    y = np.concatenate([part["y"] for part in parts])
    names = [name for name in parts[0] if name != "y"]
    x = np.column_stack([np.concatenate([part[name] for part in parts]) for name in names])
    fit = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-12)
    # The frames have standardised columns, as sites fit them.
    assert run.wald("hybrid") == pytest.approx(fit.tvalues[1:], abs=1e-6)
    assert run.results["model.hybrid.coefficients"]["n"] == y.size
    for score in SCORES:
        # In-sample scores of a LASSO on hundreds of features would tell the classes nearly apart.
        assert 0.5 < roc_auc_score(y, x[:, names.index(score)]) < 0.93, score


def test_the_report_has_both_kinds_of_models_and_fits_every_screen(run: Finished, browser: Any) -> None:
    publish(run.simulation.run, json_=True)
    page = run.simulation.run.folder / "report.html"
    text = page.read_text(encoding="utf-8")
    for words in ("Radiomics score", "DL-MVI", "Hybrid model", "Cross-validated"):
        assert words in text, words
    assert [fault for width in WIDTHS for fault in faults(browser, page, width)] == []


def test_every_number_of_a_report_of_images_is_in_the_results(run: Finished) -> None:
    write_report(read_results(run.simulation.run.results_file), None, run.simulation.run.folder)
    page, content = read(run.simulation.run.folder)
    assert printed(page) > 1000
    assert unknown(page, content) == []
