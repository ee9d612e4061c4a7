"""A model that a run hands on gives a hospital the run's own scores, and the probabilities of its nomogram."""

from __future__ import annotations

import csv
import json
import math
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import client.cli
import server.cli
from client.cohort.site import load_site
from client.cohort.store import load_prepared
from client.predicting.predict import predict
from client.predicting.prediction import Prediction
from common.errors import FedmviError
from common.models.archive import read_model
from common.models.logistic import FrozenModel
from common.published.results import Results, read_results
from common.study.loader import load_study
from common.study.recipe import SCORE_DECIMALS
from common.study.table import SiteTable
from server.export.logistic import frozen_model, write_model
from server.report.nomogram import Nomogram, nomograms
from server.study import evaluation
from server.study.execution import Action
from server.study.models import FittedModel
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.running import Simulation
from tests.consortium_kits import provisioned

MORE = """
[[models]]
name = "by-median"
endpoint = "mvi"
cohort = "train"
predictors = [
  { variable = "afp", coding = "log" },
  "sex",
  "tumour_margin_smooth",
  { variable = "ast", coding = "linear" },
]
missing = "median"
evaluate = ["internal-test"]

[[models]]
name = "by-chain"
endpoint = "mvi"
cohort = "train"
predictors = [{ variable = "age", coding = "linear" }, "afp", "ggt", "tumour_margin_smooth"]
missing = "chained"
evaluate = ["internal-test"]
"""
MODELS = ("clinical", "clinical-imaging", "by-median", "by-chain")
EXACT = 1e-12


@dataclass(frozen=True)
class Run:
    """A run of the demonstration with two models more, the models as it fitted them, and its sites."""

    folder: Path
    sites: Path
    fitted: dict[str, FittedModel]

    @property
    def results(self) -> Results:
        return read_results(self.folder / "results.json")

    def model(self, name: str) -> FrozenModel:
        return frozen_model(load_study(self.folder / "study.toml"), self.results, name)

    def table(self, site: str) -> SiteTable:
        """What the site answered from."""
        return load_prepared(load_site(self.sites / site), load_study(self.folder / "study.toml"))

    def predictions(self, name: str, site: str) -> tuple[Prediction, ...]:
        return predict(self.model(name), self.sites / site / "patients.csv", load_site(self.sites / site)).predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    place = tmp_path_factory.mktemp("handed-on")
    make_hospitals(load_consortium("demo"), place / "sites", 1)
    study = place / "study.toml"
    study.write_text(resources.files("studies").joinpath("demo.toml").read_text(encoding="utf-8") + MORE, "utf-8")
    fitted: dict[str, FittedModel] = {}
    evaluate = evaluation.evaluate

    def seen(protocol: object, models: list[FittedModel]) -> object:
        fitted.update({model.model.name: model for model in models})
        return evaluate(protocol, models)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "evaluate", seen)
        folder = place / "hub" / "runs" / "study"
        Simulation.of(study, place / "sites", folder, in_process=True).conduct(Action.RUN, lambda _: None)
    yield Run(folder, place / "sites", fitted)


@pytest.mark.parametrize("site", ["hospital-a", "external-e"])
@pytest.mark.parametrize("name", MODELS)
def test_a_hospital_gets_the_scores_of_the_run(run: Run, name: str, site: str) -> None:
    scoring, table = run.fitted[name].scoring, run.table(site)
    assert scoring is not None
    everybody = np.ones(table.n, dtype=bool)
    own = scoring.apply(table, everybody, ()).columns[f"score.{name}"]
    predictions = run.predictions(name, site)
    given = np.array([p.probability for p in predictions if p.probability is not None])
    assert [p.patient_id for p in predictions] == list(table.patients)
    assert own.size > 80
    np.testing.assert_allclose(np.round(given, SCORE_DECIMALS), own, rtol=0, atol=EXACT)
    if name == "clinical":
        assert given.size < table.n and all(p.missing for p in predictions if p.probability is None)
    else:
        assert given.size == table.n and any(p.filled for p in predictions)


def _nomogram_says(nomogram: Nomogram, model: FrozenModel, table: SiteTable, row: int) -> float:
    """The probability as a person adds it up: points of every axis, their total, the scale below."""
    total = 0.0
    for axis, one in zip(nomogram.axes, model.inputs, strict=True):
        value = float(table.columns[axis.variable].values[row])
        if axis.coding:
            total += axis.points(value)
        else:
            choice = int(value) if one.coding == "levels" else int(value > (one.cutoff or 0.0))
            total += axis.choices[choice].points
    return nomogram.probability(total)


@pytest.mark.parametrize("name", MODELS)
def test_a_hospital_gets_the_probabilities_and_intervals_of_the_nomogram(run: Run, name: str) -> None:
    nomogram = next(n for n in nomograms(run.results) if n.name == name)
    model, table = run.model(name), run.table("external-e")
    compared = 0
    for row, given in enumerate(run.predictions(name, "external-e")):
        if given.filled or given.probability is None or given.low is None or given.high is None:
            continue
        assert given.probability == pytest.approx(_nomogram_says(nomogram, model, table, row), abs=EXACT)
        middle, low, high = (math.log(p / (1 - p)) for p in (given.probability, given.low, given.high))
        assert middle - low == pytest.approx(high - middle, rel=1e-9)
        compared += 1
    assert compared > 100


def test_the_interval_is_walds_by_the_published_covariance(run: Run) -> None:
    fit = next(r for r in run.results.results if r.id == "model.clinical.coefficients")
    assert fit.model is not None
    first = next(p for p in run.predictions("clinical", "hospital-b") if p.probability is not None)
    table = run.table("hospital-b")
    row, x = table.patients.index(first.patient_id), [1.0]
    for predictor in fit.model.predictors:
        value = table.columns[predictor.variable].values[row]
        x.append(float(value > predictor.cutoff) if predictor.cutoff is not None else float(value))
    b = np.array([e.value for e in fit.estimates if e.name == "coef"], dtype=float)
    reach = 1.959963984540054 * math.sqrt(np.array(x) @ np.array(fit.model.covariance) @ np.array(x))
    wanted = [1 / (1 + math.exp(-(b @ x + side * reach))) for side in (0, -1, 1)]
    np.testing.assert_allclose([first.probability, first.low, first.high], wanted, rtol=0, atol=EXACT)


def test_a_patient_is_called_high_as_the_study_calls_him(run: Run) -> None:
    model = run.model("clinical")
    told = next(r for r in run.results.results if r.id == "analysis.cut-off")
    assert model.cutoff == next(e.value for e in told.estimates if e.name == "cutoff")
    assert model.cutoff is not None
    for given in run.predictions("clinical", "external-f"):
        expected = "" if given.probability is None else "low"
        if given.probability is not None and round(given.probability, SCORE_DECIMALS) >= model.cutoff:
            expected = "high"
        assert given.group == expected
    assert run.model("by-chain").cutoff is None
    measures = {(p.statistic, m.name): m.value for p in model.performance for m in p.measures if p.how != "site-alone"}
    assert measures["cut-off", "sensitivity"] == next(e.value for e in told.estimates if e.name == "sensitivity")
    assert ("calibration", "slope") in measures


def test_the_file_holds_published_numbers_and_no_smallest_or_largest_value(run: Run, tmp_path: Path) -> None:
    write_model(run.folder, "by-median", tmp_path / "m.zip")
    model = read_model(tmp_path / "m.zip").model
    published = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    fit = next(r for r in published["results"] if r["id"] == "model.by-median.coefficients")
    assert list(model.coefficients) == [e["value"] for e in fit["estimates"] if e["name"] == "coef"]
    assert [list(row) for row in model.covariance] == fit["model"]["covariance"]
    with zipfile.ZipFile(tmp_path / "m.zip") as archive:
        assert model.intended_use in archive.read("README.md").decode()
    areas = [r for r in published["results"] if r["id"].startswith("model.by-median.auc.")]
    assert [(p.cohort, p.measures[0].value) for p in model.performance] == [
        (r["cohort"], r["estimates"][0]["value"]) for r in areas
    ]
    assert model.origin.study_fingerprint == published["study_fingerprint"]
    moments = next(r for r in published["results"] if r["id"] == "model.by-median.moments")["estimates"]
    (mean,) = [e["value"] for e in moments if (e["name"], e["term"]) == ("mean", "ast")]
    (std,) = [e["value"] for e in moments if (e["name"], e["term"]) == ("std", "ast")]
    assert model.inputs[3].usual == (0.0, pytest.approx(mean + 2 * std))
    write_model(run.folder, "by-median", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "m.zip").read_bytes()


def test_a_run_in_a_hubs_folder_is_signed_with_its_key_and_no_other_site_takes_it(run: Run, tmp_path: Path) -> None:
    kits, others = provisioned(tmp_path / "ours"), provisioned(tmp_path / "theirs")
    hub = kits.install(tmp_path / "hub")
    elsewhere = others.install(tmp_path / "other-hub")
    site = load_site(run.sites / "hospital-a")
    (tmp_path / "hospital-a").mkdir()
    for file in ("site.toml", "site.secret"):
        (tmp_path / "hospital-a" / file).write_bytes((site.folder / file).read_bytes())
    enrolled = kits.enrol(load_site(tmp_path / "hospital-a"))
    in_hub = hub.runs / "study"
    in_hub.parent.mkdir(exist_ok=True)
    in_hub.symlink_to(run.folder)
    typed = ["export", str(run.folder), "--model", "clinical", "--out"]
    shown = CliRunner().invoke(server.cli.app, [*typed, str(tmp_path / "signed.zip"), "--hub", str(hub.folder)])
    assert shown.exit_code == 0, shown.output
    assert read_model(tmp_path / "signed.zip").signed_by == enrolled.coordinator
    write_model(run.folder, "clinical", tmp_path / "unsigned.zip")
    write_model(run.folder, "clinical", tmp_path / "theirs.zip", elsewhere.folder)

    def use(file: str, out: str) -> object:
        return CliRunner().invoke(client.cli.app, [
            "predict", "--model", str(tmp_path / file), "--patients", str(site.folder / "patients.csv"),
            "--out", str(tmp_path / out), "--site", str(tmp_path / "hospital-a"),
        ])  # fmt: skip

    done = use("signed.zip", "out.csv")
    assert done.exit_code == 0 and "signed by the coordinator of Test consortium" in done.output  # type: ignore[attr-defined]
    for file in ("unsigned.zip", "theirs.zip"):
        refused = use(file, "none.csv")
        assert isinstance(refused.exception, FedmviError)  # type: ignore[attr-defined]
        assert refused.exception.number == 782  # type: ignore[attr-defined]
    assert not (tmp_path / "none.csv").exists()


def test_a_run_that_lies_in_a_hub_is_signed_without_being_asked(run: Run, tmp_path: Path) -> None:
    hub = provisioned(tmp_path / "ours").install(tmp_path / "hub")
    (hub.runs / "study").mkdir(parents=True)
    for file in ("study.toml", "results.json"):
        (hub.runs / "study" / file).write_bytes((run.folder / file).read_bytes())
    write_model(hub.runs / "study", "clinical", tmp_path / "signed.zip")
    assert read_model(tmp_path / "signed.zip").signed_by is not None


def test_what_cannot_be_handed_on_is_refused_by_number(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there.zip").touch()
    for number, name, to in (
        (780, "clinica", tmp_path / "m.zip"),
        (784, "clinical", tmp_path / "there.zip"),
        (785, "clinical", tmp_path / "nowhere" / "m.zip"),
    ):
        with pytest.raises(FedmviError) as refused:
            write_model(run.folder, name, to)
        assert refused.value.number == number
    with pytest.raises(FedmviError) as misspelt:
        write_model(run.folder, "clinica", tmp_path / "m.zip")
    assert misspelt.value.do.startswith("Name one of: clinical")
    results = run.results
    fit = results.get("model.by-chain.coefficients")
    assert fit.model is not None
    older = fit.model_copy(update={"model": fit.model.model_copy(update={"filling": None})})
    others = [older if r.id == fit.id else r for r in results.results]
    with pytest.raises(FedmviError) as before:
        frozen_model(load_study(run.folder / "study.toml"), results.model_copy(update={"results": others}), "by-chain")
    assert before.value.number == 780 and "run it again" in before.value.local
    both = CliRunner().invoke(server.cli.app, ["export", str(run.folder), "--out", str(tmp_path / "x")])
    assert both.exit_code == 2


def test_the_command_writes_a_private_table_or_json_of_all_or_of_one_patient(run: Run, tmp_path: Path) -> None:
    write_model(run.folder, "clinical-imaging", tmp_path / "m.zip")
    lines = (run.sites / "external-e" / "patients.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "one.csv").write_text("\n".join(lines[:2]) + "\n", "utf-8")
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n", "utf-8")
    made = {}
    for table, out in (("all.csv", "all.out.csv"), ("one.csv", "one.out.json")):
        typed = ["--patients", str(tmp_path / table), "--out", str(tmp_path / out)]
        done = CliRunner().invoke(client.cli.app, ["predict", "--model", str(tmp_path / "m.zip"), *typed])
        assert done.exit_code == 0, done.output
        assert stat.S_IMODE((tmp_path / out).stat().st_mode) == 0o600
        made[out] = (tmp_path / out).read_text(encoding="utf-8")
    rows = list(csv.DictReader(made["all.out.csv"].splitlines()))
    (one,) = json.loads(made["one.out.json"])["predictions"]
    assert len(rows) == len(lines) - 1
    assert float(rows[0]["probability"]) == one["probability"]
    assert {row["use"] for row in rows} == {one["use"]} == {"research use only; learned from invented patients"}
    again = CliRunner().invoke(client.cli.app, [
        "predict", "--model", str(tmp_path / "m.zip"), "--patients", str(tmp_path / "all.csv"),
        "--out", str(tmp_path / "all.out.csv"),
    ])  # fmt: skip
    assert isinstance(again.exception, FedmviError) and again.exception.number == 784
