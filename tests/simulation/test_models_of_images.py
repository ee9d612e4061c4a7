"""Models of images that a run hands on give a hospital the run's own scores, from images to the Hybrid's probability.

Features are drawn, not computed (`tests/client/predicting/test_images.py` has those that are): what is claimed is
everything after them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohort.site import load_site
from client.cohort.store import load_prepared
from client.predicting.images import predict_from_images
from client.predicting.prediction import Prediction
from client.preparation import images
from client.preparation.patient import Job, Outcome
from common.models.archive import HandedOn, read_model
from common.models.logistic import FrozenModel
from common.published.results import read_results
from common.study.coding import coded_columns
from common.study.features import feature_variable
from common.study.loader import load_study, parse_study
from common.study.recipe import SCORE_DECIMALS
from common.study.table import SiteTable
from server.export.logistic import write_model
from server.report.nomogram import nomograms
from server.study import evaluation
from server.study.execution import Action
from server.study.models import ScoredModel
from simulation.importers.folder import introduce
from simulation.pooled_and_alone import developments
from simulation.running import Simulation, find_sites
from tests.disclosure.consortium import rows_of, write_site

SITES = ("a", "b", "c")
PATIENTS = 150
PHASES = ("arterial", "portal")
SIGNAL = {"portal.tumour.original_glcm_Contrast": 4.0, "portal.tumour.original_glcm_Idm": -3.0}
STUDY = """
[study]
name = "images"
title = "A study of images"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[preparation]
modality = "ct"
phases = ["arterial", "portal"]
reference = "portal"
radiomics = { regions = ["tumour"], classes = ["glcm"], log_sigma_mm = [], wavelet = "none" }

[[models]]
name = "few"
endpoint = "mvi"
cohort = "train"
predictors = ["portal.tumour.original_glcm_Contrast", { variable = "age", coding = "linear" }]

[[models]]
name = "portal"
endpoint = "mvi"
cohort = "train"
features = { images = ["portal"], regions = ["tumour"] }
reduction = { count = 8 }

[[models]]
name = "arterial"
endpoint = "mvi"
cohort = "train"
features = { images = ["arterial"], regions = ["tumour"] }
reduction = { count = 8 }

[[choices]]
name = "radiomics"
label = "Radiomics score"
models = ["arterial", "portal"]

[[models]]
name = "hybrid"
label = "Hybrid model"
endpoint = "mvi"
cohort = "train"
predictors = [{ variable = "age", coding = "linear" }, "score.radiomics", "cirrhosis"]
missing = "mean"

[[models]]
name = "high"
endpoint = "mvi"
cohort = "train"
predictors = ["cirrhosis", { variable = "score.radiomics", coding = "above" }]

[[models]]
name = "formula"
endpoint = "mvi"
cohort = "train"
predictors = ["cirrhosis", { variable = "score.radiomics", coding = "above" }]
fixed = { intercept = -1.5, coefficients = [0.25, 2.0] }
"""
MODELS = ("few", "portal", "hybrid", "high", "formula")
EXACT = 1e-9


def names() -> tuple[str, ...]:
    preparation = parse_study(STUDY).preparation
    assert preparation is not None
    return preparation.feature_names()


NAMES = names()


def uniform(patient: str) -> dict[str, float]:
    """A number between 0 and 1 for each feature."""
    drawn = np.random.default_rng(zlib.crc32(patient.encode())).uniform(0.05, 0.95, len(NAMES))
    return dict(zip(NAMES, map(float, drawn), strict=True))


def features_of(patient: str) -> dict[str, float]:
    """Numbers on the scale of each feature."""
    highest = {name: feature_variable(name).high or 1.0 for name in NAMES}
    return {name: u if highest[name] <= 1 else u * highest[name] / 100 for name, u in uniform(patient).items()}


def prepared(jobs: Sequence[Job], workers: int | None, progress: Any) -> tuple[Outcome, ...]:
    return tuple(Outcome(job.case.patient, features={1: features_of(job.case.patient)}) for job in jobs)


def present(patient: str) -> bool:
    features, rng = uniform(patient), np.random.default_rng(zlib.crc32(patient[::-1].encode()))
    logit = sum(effect * (features[name] - 0.5) for name, effect in SIGNAL.items())
    return bool(rng.random() < 1 / (1 + np.exp(-logit)))


def fill(folder: Path) -> None:
    """A site whose patients have files that nobody reads; of a few cirrhosis is not known."""
    rows = rows_of(folder.name, PATIENTS)
    for i, row in enumerate(rows):
        row["mvi"] = str(int(present(row["patient_id"])))
        row["cirrhosis"] = "" if i % 25 == 0 else row["cirrhosis"]
        for name in (*(f"images/{row['patient_id']}/{phase}" for phase in PHASES), f"masks/{row['patient_id']}/tumour"):
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    write_site(folder, folder.name, rows, masked=True)


@dataclass(frozen=True)
class Run:
    """A finished run, the models as it fitted them, and its sites."""

    folder: Path
    sites: Path
    fitted: dict[str, ScoredModel]

    def table(self, site: str) -> SiteTable:
        """What the site answered from."""
        study = load_study(self.folder / "study.toml")
        table = load_prepared(load_site(self.sites / site), study)
        return replace(table, declared={m.name: coded_columns(study, m.predictors) for m in study.models})

    def scores(self, name: str, site: str) -> dict[str, float]:
        """The run's own, of the patients whom it scores."""
        scoring, table = self.fitted[name].scoring, self.table(site)
        assert scoring is not None
        keys = np.arange(table.n, dtype=np.uint64)
        frame = scoring.apply(table, np.ones(table.n, dtype=bool), (), keys)
        return {
            table.patients[int(k)]: float(s) for k, s in zip(frame.keys, frame.columns[f"score.{name}"], strict=True)
        }

    def model(self, name: str) -> FrozenModel:
        return self.handed(name).model

    def handed(self, name: str) -> HandedOn:
        path = self.folder / f"{name}.zip"
        if not path.exists():
            write_model(self.folder, name, path)
        return read_model(path)

    def predictions(self, name: str, site: str) -> dict[str, Prediction]:
        here = load_site(self.sites / site)
        found = predict_from_images(self.handed(name), self.sites / site, here).predictions
        assert [p.patient_id for p in found] == list(self.table(site).patients)
        return {p.patient_id: p for p in found}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    place = tmp_path_factory.mktemp("images")
    for site in SITES:
        fill(place / "sites" / site)
    introduce({site: place / "sites" / site for site in SITES})
    study = place / "study.toml"
    study.write_text(STUDY, "utf-8")
    fitted: dict[str, ScoredModel] = {}
    evaluate = evaluation.evaluate

    def seen(protocol: Any, models: Sequence[ScoredModel]) -> Any:
        fitted.update({model.model.name: model for model in models})
        return evaluate(protocol, models)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "prepare_patients", prepared)
        patch.setattr(evaluation, "evaluate", seen)
        Simulation.of(study, place / "sites", place / "run", in_process=True).conduct(Action.RUN, lambda _: None)
        yield Run(place / "run", place / "sites", fitted)


@pytest.mark.parametrize("name", MODELS)
def test_a_hospital_gets_the_scores_of_the_run_from_images(run: Run, name: str) -> None:
    own, given = run.scores(name, "b"), run.predictions(name, "b")
    known = {patient: p.probability for patient, p in given.items() if p.probability is not None}
    assert set(known) == set(own) and len(own) > PATIENTS * 0.9
    if name in ("few", "portal", "hybrid"):
        assert len(own) == PATIENTS and len(set(own.values())) > PATIENTS / 2
    for patient, probability in known.items():
        assert round(probability, SCORE_DECIMALS) == pytest.approx(own[patient], abs=EXACT)


def test_a_reduced_model_asks_for_the_features_that_it_selected_and_for_no_other(run: Run) -> None:
    model, results = run.model("portal"), read_results(run.folder / "results.json")
    told = results.get("model.portal.reduction")
    selected = [e.term for e in told.estimates if e.name == "selected_in_folds"]
    assert list(model.terms) == selected and set(SIGNAL) <= set(model.features)
    assert len(model.features) < len([n for n in NAMES if n.startswith("portal.")])
    assert model.covariance is None and model.preparation == results.preparation
    assert all(p.low is None and p.probability is not None for p in run.predictions("portal", "a").values())


def test_the_hybrid_is_one_file_with_the_model_that_the_choice_took(run: Run) -> None:
    model = run.model("hybrid")
    part = model.scores["score.radiomics"]
    assert isinstance(part, FrozenModel) and part.name == "portal"
    assert part == run.model("portal").model_copy(update={"preparation": None})
    assert {v.name for v in model.clinical} == {"age", "cirrhosis"} and model.features == part.features
    own, given = run.scores("portal", "c"), run.predictions("hybrid", "c")
    assert {patient: p.scores["score.radiomics"] for patient, p in given.items()} == pytest.approx(own, abs=EXACT)
    filled = {patient for patient, p in given.items() if p.filled}
    assert len(filled) == PATIENTS / 25 and {p.filled for p in given.values()} == {(), ("cirrhosis",)}
    assert all(p.low is not None and p.low < p.probability < p.high for p in given.values())  # type: ignore[operator]


def test_models_of_scores_are_developed_on_pooled_rows_and_by_each_hospital_alone(run: Run) -> None:
    study = load_study(run.folder / "study.toml")
    looked = study.model_copy(
        update={"models": tuple(model.model_copy(update={"evaluate": ("train",)}) for model in study.models)}
    )
    found = {r.id: r for r in developments(looked, find_sites(run.sites))}
    assert set(found) == {f"model.{m.name}.pooled-and-alone.train" for m in study.models if m.fixed is None}
    ways = ["federated", "pooled", *(f"alone: {site}" for site in SITES)]
    results = read_results(run.folder / "results.json")
    for name in ("portal", "few"):  # apparent areas, which the run tells of these models as well
        areas = {e.term: e.value for e in found[f"model.{name}.pooled-and-alone.train"].estimates if e.name == "auc"}
        own = results.get(f"model.{name}.auc.train").estimates[0].value
        assert list(areas) == ways and areas["federated"] == pytest.approx(own, abs=EXACT)
    hybrid = {e.term: e.value for e in found["model.hybrid.pooled-and-alone.train"].estimates if e.name == "auc"}
    assert all(hybrid[way] is not None for way in ("federated", "pooled"))


def test_a_score_is_cut_where_training_froze_it(run: Run) -> None:
    results = read_results(run.folder / "results.json")
    frozen = next(e.value for e in results.get("model.portal.coefficients").estimates if e.name == "cutoff")
    assert [i.cutoff for i in run.model("high").inputs] == [None, frozen]
    given, cirrhosis = run.predictions("formula", "a"), run.table("a").columns["cirrhosis"].values
    reached = set()
    for p, diseased in zip(given.values(), cirrhosis, strict=True):
        score = p.scores["score.radiomics"]
        assert score is not None and frozen is not None
        if p.probability is not None:
            x = -1.5 + 0.25 * diseased + 2.0 * (score >= frozen)
            assert p.probability == pytest.approx(1 / (1 + np.exp(-x)), abs=1e-12)
            reached.add(score >= frozen)
    assert reached == {True, False}


SCALES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "linear": (np.asarray, np.asarray),
    "log": (np.log1p, np.expm1),
    "asinh": (np.arcsinh, np.sinh),
}


def test_features_have_a_usual_range_of_the_training_patients(run: Run) -> None:
    for one in (one for name in ("few", "portal") for one in run.model(name).inputs if one.variable.name in NAMES):
        there, back = SCALES[one.coding]
        values = there([features_of(p)[one.variable.name] for site in SITES for p in run.table(site).patients])
        ends = back(values.mean() + np.array([-2, 2]) * values.std(ddof=1))
        low, high = one.variable.low, one.variable.high
        assert one.usual == pytest.approx((max(ends[0], low), min(ends[1], high)), rel=1e-9)


def test_the_hybrids_nomogram_gives_the_same_probability_where_its_score_is_entered(run: Run) -> None:
    (nomogram,) = (n for n in nomograms(read_results(run.folder / "results.json")) if n.name == "hybrid")
    age, radiomics, cirrhosis = nomogram.axes
    assert radiomics.slider == (0.0, 1.0) and "of portal:" in radiomics.source
    table, compared = run.table("a"), 0
    for patient, p in run.predictions("hybrid", "a").items():
        row, score = table.patients.index(patient), p.scores["score.radiomics"]
        if p.filled or score is None:
            continue
        ages, diseased = table.columns["age"].values, table.columns["cirrhosis"].values
        total = age.points(ages[row]) + radiomics.points(score) + cirrhosis.choices[int(diseased[row])].points
        assert nomogram.probability(total) == pytest.approx(p.probability, abs=1e-12)
        compared += 1
    assert compared > PATIENTS * 0.9
