"""simulation: the MRI study in small, from stacks to results: a network's scores in models, groups and cohorts."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from lifelines.statistics import logrank_test
from sklearn.metrics import roc_auc_score

from client.approval.preview import preview
from client.cohort.site import load_site
from client.learning.work import Works, work_folder
from client.release.ledger import Ledger
from common.errors import FedmviError
from common.federation.learning import ScorePatients
from common.published.results import read_results
from common.study.loader import load_study, parse_study
from common.study.protocol import Study
from server.report.figures import draw_all
from server.report.page import render
from server.study.execution import Action
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.running import Simulation
from simulation.shipped import shipped_study
from tests.client.approval.asked import Heard, heard_in_simulations, key_of
from tests.report_numbers import unknown
from tests.simulation.learning.handed_on import hand_on

SHIPPED = shipped_study(Path("mri-deep-learning")).read_text(encoding="utf-8")
EVALUATE = '["internal-test", "external-test", "outcome"]'
FURTHER = """
[[cohorts]]
name = "outcome"
role = "outcome"
label = "2018"
sites = ["hospital-d", "hospital-e", "hospital-f"]

[limits]
min_class = 3
min_cell = 3
min_test_class = 5
"""

FORMULA = {(0, 0): 0.029, (1, 0): 0.121, (0, 1): 0.517, (1, 1): 0.832}
"""Published: probability of MVI by AFP above 20 ng/mL and by DL-MVI."""


def small(text: str) -> str:
    """The shipped study with one sequence and a tiny network, for some fifty patients a site."""
    for old, new in (
        ('phases = ["t1", "t1a", "t1v", "t1d", "t2", "dwi"]', 'phases = ["t1v"]'),
        ("slices = 3", "slices = 2"),
        ("size = 320", "size = 32"),
        ('sequences = ["t1", "t1a", "t1v", "t1d", "t2", "dwi"]', 'sequences = ["t1v"]'),
        ('combinations = ["published-methods", "published-results", "single", "all"]', 'combinations = ["single"]'),
        ("width = 64", "width = 8"),
        ("blocks = 6", "blocks = 1"),
        ("seeds = 5", "seeds = 1"),
        ("dimensions = 8", "dimensions = 4"),
        ('preset = "sane"', "learning_rate = 3e-3"),
        ("batch = 4", "batch = 8"),
        ("rounds = 60", "rounds = 2\nepochs_per_round = 4"),
        ("patience = 15", "patience = 2"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    # Survival of high and low scores in a cohort of its own, whose patients may be those of others.
    text = text.replace('evaluate = ["internal-test", "external-test"]\nsequences', f"evaluate = {EVALUATE}\nsequences")
    head, _, tail = text.partition('name = "os-by-dl-mvi"')
    tail = tail.replace('cohort = "external-test"', 'cohort = "outcome"', 1)
    return f'{head}name = "os-by-dl-mvi"{tail}{FURTHER}'


class Run:
    """A finished run with what every patient was scored, which only a test can bring together."""

    def __init__(self, study: Study, simulation: Simulation, heard: Heard) -> None:
        self.study, self.simulation, self.heard = study, simulation, heard
        found = json.loads(simulation.run.results_file.read_text(encoding="utf-8"))["results"]
        self.results: dict[str, dict[str, Any]] = {result["id"]: result for result in found}

    def estimates(self, identifier: str) -> dict[tuple[str, str], Any]:
        return {(e["name"], e["term"]): e["value"] for e in self.results[identifier]["estimates"]}

    def rows(self, cohort: str) -> pd.DataFrame:
        """AFP, invasion, follow-up and the network's score of every patient of a cohort, over all sites."""
        parts = []
        for site in (self.simulation.sites[name] for name in self.study.cohort(cohort).sites):
            with (site.folder / "patients.csv").open(encoding="utf-8", newline="") as file:
                table = pd.DataFrame(csv.DictReader(file)).set_index("patient_id")
            (folder,) = work_folder(site, "run").parent.glob("*")
            works = Works(folder)
            for path in folder.glob("*/facts.json"):
                facts = json.loads(path.read_text(encoding="utf-8"))
                if facts["task"] == ScorePatients.name and facts["cohort"] == cohort:
                    part = table.loc[facts["patients"]].copy()
                    part["score"] = works.arrays(path.parent.name)["mean"]
                    parts.append(part)
        rows = pd.concat(parts)
        return pd.DataFrame(
            {
                "afp": (rows.afp.astype(float) > 20).astype(float),
                "score": rows.score,
                "y": (rows.mvi == "present").astype(float),
                "time": rows.rfs_days.astype(float),
                "event": rows.rfs_event.astype(float),
            }
        )

    @property
    def cutoff(self) -> float:
        return float(self.estimates("network.dl_mvi.selection")["cutoff", "mean"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("mri")
    path = folder / "study.toml"
    path.write_text(small(SHIPPED), encoding="utf-8")
    study = load_study(path)
    make_learning_hospitals(folder / "sites", study, Drawing(seed=3, patients=52, effect=0.15, shift=0.3))
    policy = '[policy]\napproved_studies = ["any"]\nmin_cell = 3\nmin_class = 3\n'
    for toml in (folder / "sites").glob("*/site.toml"):
        toml.write_text(toml.read_text(encoding="utf-8").split("[policy]")[0] + policy, encoding="utf-8")
    shutil.copytree(folder / "sites", folder / "sites-over-flower")
    simulation = Simulation.of(path, folder / "sites", folder / "run", in_process=True)
    with pytest.MonkeyPatch.context() as patch, heard_in_simulations(patch) as heard:
        simulation.conduct(Action.RUN, lambda _: None)
    return Run(study, simulation, heard)


def test_every_part_of_the_study_is_estimated_and_every_question_was_foreseen(run: Run) -> None:
    parts = [f"model.{name}.auc.{cohort}" for name in ("clinical", "multivariable", "dl-afp", "dl-afp-binary",
             "published") for cohort in ("internal-test", "external-test")]  # fmt: skip
    parts += [f"comparison.{endpoint}-by-{group}" for endpoint in ("rfs", "os") for group in ("mvi", "dl-mvi")]
    parts += [
        f"analysis.{name}-{cohort}" for name in ("areas", "decision-curve") for cohort in ("internal", "external")
    ]
    parts += ["model.characteristics.univariable", "analysis.calibration-internal", "analysis.chi-square"]
    parts += ["analysis.calibration-external", "analysis.histology", "characteristics.train"]
    parts += ["subgroups.dl-afp-external"]
    parts += ["network.dl_mvi.projection.t1v", "network.dl_mvi.combinations.train"]
    parts += [f"network.dl_mvi.drop.{cohort}" for cohort in ("internal-test", "external-test")]
    assert {part: run.results[part]["status"] for part in parts} == dict.fromkeys(parts, "estimated")
    for name, site in run.simulation.sites.items():
        declared = {release.key for release in preview(load_site(site.folder), run.study).releases if release.declared}
        asked = {key_of(ask) for ask, _ in run.heard.asks[name]}
        assert asked <= declared and len(asked) > 20, sorted(asked - declared)


def test_over_flower_the_study_gives_the_same_bytes(run: Run) -> None:
    folder = run.simulation.run.folder.parent
    again = Simulation.of(
        folder / "study.toml", folder / "sites-over-flower", folder / "run-over-flower", in_process=False
    )
    again.conduct(Action.RUN, lambda _: None)
    assert again.run.results_file.read_bytes() == run.simulation.run.results_file.read_bytes()


def test_models_are_fitted_on_out_of_fold_scores_of_the_pooled_patients(run: Run) -> None:
    rows = run.rows("train")
    for model, score in (("dl-afp", rows.score), ("dl-afp-binary", (rows.score >= run.cutoff).astype(float))):
        fit = sm.Logit(rows.y, sm.add_constant(np.column_stack([rows.afp, score]))).fit(disp=0, tol=1e-12)
        found = [v for (name, _), v in run.estimates(f"model.{model}.coefficients").items() if name == "coef"]
        assert found == pytest.approx(fit.params, abs=1e-6), model
        assert run.results[f"model.{model}.coefficients"]["n"] == len(rows)


def test_in_other_patients_the_frozen_network_scores_and_the_fitted_model_predicts(run: Run) -> None:
    coef = [v for (name, _), v in run.estimates("model.dl-afp.coefficients").items() if name == "coef"]
    for cohort in ("internal-test", "external-test"):
        rows = run.rows(cohort)
        linear = coef[0] + coef[1] * rows.afp + coef[2] * rows.score
        area = roc_auc_score(rows.y, np.round(1 / (1 + np.exp(-linear)), 4))
        assert run.estimates(f"model.dl-afp.auc.{cohort}")["auc", ""] == pytest.approx(area, abs=1e-6)


def test_the_fall_of_the_network_goes_from_out_of_fold_to_what_is_seen_in_other_patients(run: Run) -> None:
    for cohort in ("internal-test", "external-test"):
        told = run.estimates(f"network.dl_mvi.drop.{cohort}")
        for step, rows in (("out_of_fold", run.rows("train")), ("observed", run.rows(cohort))):
            assert told[step, "auc"] == pytest.approx(roc_auc_score(rows.y, rows.score), abs=1e-6)
        risk = run.rows(cohort).score.to_numpy()
        pairs = risk[:, None] * (1 - risk[None, :]) * (1 - np.eye(risk.size))
        promised = (pairs * (np.sign(risk[:, None] - risk[None, :]) + 1) / 2).sum() / pairs.sum()
        assert told["expected", "auc"] == pytest.approx(promised, abs=0.005)


def test_the_published_formula_gives_its_four_probabilities_and_their_area(run: Run) -> None:
    published = next(model for model in run.study.models if model.name == "published")
    assert published.fixed is not None
    a, (b, c) = published.fixed.intercept, published.fixed.coefficients
    for (afp, dl), probability in FORMULA.items():
        assert round(1 / (1 + math.exp(-(a + b * afp + c * dl))), 3) == probability
    rows = run.rows("external-test")
    risk = [FORMULA[int(afp), int(score >= run.cutoff)] for afp, score in zip(rows.afp, rows.score, strict=True)]
    found = run.estimates("model.published.auc.external-test")["auc", ""]
    assert found == pytest.approx(roc_auc_score(rows.y, risk), abs=1e-9)
    assert len(set(risk)) == len(FORMULA)


def test_a_hospital_gets_the_scores_of_the_run_with_the_models_that_are_handed_on(run: Run, tmp_path: Path) -> None:
    site, rows = run.simulation.sites["hospital-d"], run.rows("external-test")
    models = ("dl-afp", "dl-afp-binary", "published")
    for name, predictions in hand_on(run.simulation.run.folder, models, site, run.study, tmp_path).items():
        coef = [v for (kind, _), v in run.estimates(f"model.{name}.coefficients").items() if kind == "coef"]
        known = {p.patient_id: p for p in predictions}
        compared = [patient for patient in rows.index if patient in known]
        assert len(compared) > 10
        for patient in compared:
            found, (afp, score) = known[patient], rows.loc[patient, ["afp", "score"]]
            assert found.scores == {"score.dl_mvi": pytest.approx(score, abs=1e-12)}
            used = score if name == "dl-afp" else float(score >= run.cutoff)
            wanted = 1 / (1 + np.exp(-(coef[0] + coef[1] * afp + coef[2] * used)))
            assert found.probability == pytest.approx(wanted, abs=1e-12), (name, patient)


def test_survival_is_compared_below_and_from_the_frozen_cutoff_on(run: Run) -> None:
    rows, found = run.rows("external-test"), run.estimates("comparison.rfs-by-dl-mvi")
    high = rows.score >= run.cutoff
    sizes = [value for (name, _), value in found.items() if name == "patients"]
    assert sizes == [int((~high).sum()), int(high.sum())]
    test = logrank_test(rows.time[~high], rows.time[high], rows.event[~high], rows.event[high])
    assert found["log_rank_chi2", "df=1"] == pytest.approx(test.test_statistic, rel=1e-6)


def test_cohorts_are_compared_by_what_the_network_sees_and_the_ledger_says_so(run: Run) -> None:
    found = run.estimates("network.dl_mvi.projection.t1v")
    assert 0.0 <= found["two_sample_auc", "internal-test v external-test"] <= 1.0
    groups = {term for name, term in found if name == "patients"}
    assert {"internal-test, M0", "external-test, M0", "external-test, M1"} <= groups
    words = [
        str(line["words"])
        for line in Ledger(run.simulation.sites["hospital-d"].folder / "store/ledger.jsonl").entries()
    ]
    assert any("scores and projections stay" in line for line in words)
    assert any("bins of a linear score of 4 columns" in line for line in words)
    assert not any("projections" in line and "train" in line for line in words)


def test_every_number_of_the_report_is_in_the_results(run: Run) -> None:
    results = read_results(run.simulation.run.results_file)
    page = render(results, None, draw_all(results))
    assert 'id="network.dl_mvi.projection.t1v"' in page and "Published formula" in page
    assert unknown(page, results.model_dump(mode="json")) == []


def test_the_shipped_studies_of_networks_load_and_join_out_of_fold_scores(run: Run) -> None:
    combined = parse_study(shipped_study(Path("combined")).read_text(encoding="utf-8"))
    hybrid = next(model for model in combined.models if model.name == "hybrid")
    scores = {term.variable for term in hybrid.predictors if term.variable.startswith("score.")}
    assert scores == {"score.radiomics", "score.dl_mvi"}
    elsewhere = shipped_study(Path("combined")).read_text(encoding="utf-8")
    elsewhere = elsewhere.replace(
        'group = "score.hybrid"\ncohort = "external-test"', 'group = "score.hybrid"\ncohort = "outcome"'
    )
    with pytest.raises(FedmviError, match="103") as refused:
        parse_study(elsewhere + FURTHER)
    assert "'dl_mvi' is not evaluated in 'outcome', and 'hybrid' uses it" in refused.value.local
    whole = parse_study(SHIPPED)
    assert len(whole.networks[0].sequences) == 6 and len(whole.networks[0].combinations) == 9
    assert run.study.networks[0].grades == whole.networks[0].grades == "mvi_grade"
