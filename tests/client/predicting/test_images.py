"""client/predicting: new patients from a folder of images to a score, and what is said of those who have none.

But for one test features are drawn, not computed: what is claimed is everything around them.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from client.cli import app
from client.cohort.site import Site, load_site
from client.cohort.store import load_prepared, store_folder
from client.cohort.withdrawn import withdraw_consent
from client.learning.dataset import load_learners
from client.learning.performing import scores_of
from client.predicting.images import Work, predict_from_images
from client.predicting.predict import predict
from client.predicting.prediction import Prediction
from client.preparation import images
from client.preparation.patient import Job, Outcome
from client.preparation.prepare import UnfitDataError, prepare
from common.errors import FedmviError, Severity
from common.models.archive import HandedOn, pack_model, read_model
from common.models.logistic import FrozenModel
from common.networks.weights import read_weights
from common.study.declarations import as_tuples
from common.study.protocol import Study
from common.study.recipe import Impute
from simulation.cohorts.clinical import draw_site
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import appointments
from simulation.imaging.examine import examine
from simulation.imaging.files import write_examination
from tests.docs.reader import Reader
from tests.handed_on import (
    DEEP,
    FEATURE,
    NETWORK,
    PREPARATION,
    RADIOMICS,
    SEQUENCES,
    network_weights,
    of_scores,
    on_a_feature,
)

SIZE = "tumour_size_imaging"
CONTRAST = {"p1": 2.123, "p2": 3.456, "p3": 12.5}
"""The last lies outside of what the model saw."""


def handed(model: FrozenModel, weights: bytes | None = None) -> HandedOn:
    return HandedOn(model, None, "0" * 64, {} if weights is None else {"dl": weights})


def drawn(jobs: Sequence[Job], workers: int | None, progress: Any) -> tuple[Outcome, ...]:
    """p2's images are unusable, and p3's were flagged."""
    found = []
    for patient in (job.case.patient for job in jobs):
        flags = (FedmviError(371, f"{patient}: arterial: overlaps poorly", severity=Severity.WARNING),)
        bad = Outcome(patient, failed=True, problems=(FedmviError(330, f"{patient}: portal.nii.gz: damaged"),))
        good = Outcome(patient, features={1: {FEATURE: CONTRAST[patient]}}, problems=flags if patient == "p3" else ())
        found.append(bad if patient == "p2" else good)
    return tuple(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three patients with files that nobody reads, and their sizes."""
    monkeypatch.setattr(images, "prepare_patients", drawn)
    place = tmp_path / "new"
    for patient in CONTRAST:
        for name in (*(f"images/{patient}/{phase}" for phase in PREPARATION.phases), f"masks/{patient}/tumour"):
            path = place / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (place / "patients.csv").write_text(f"patient_id,{SIZE}\np3,4.5\np1,3\np2,5\n")
    return place


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Another folder's site, which writes its tables in its own way."""
    place = tmp_path / "hospital-x"
    place.mkdir()
    (place / "site.toml").write_text(
        '[site]\nname = "hospital-x"\n[tables]\npatients = "all.csv"\ndelimiter = ";"\n'
        f'[images]\nimages = "/nowhere"\n[columns]\n{SIZE} = {{ header = "Groesse", unit = "mm" }}\n'
    )
    (place / "site.secret").write_text("ab" * 32)
    return load_site(place)


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def wanted(patient: str, size: float) -> float:
    return logistic(-1 + 0.2 * size + 3 * round(logistic(-4 + 1.5 * CONTRAST[patient]), 4))


def by_id(found: Sequence[Prediction]) -> dict[str, Prediction]:
    return {prediction.patient_id: prediction for prediction in found}


def test_images_and_a_table_become_scores_and_flags_in_the_tables_order(folder: Path) -> None:
    found = predict_from_images(handed(of_scores()), folder, None).predictions
    assert [p.patient_id for p in found] == ["p3", "p1", "p2"]
    of = by_id(found)
    assert of["p1"].probability == pytest.approx(wanted("p1", 3), abs=1e-14)
    assert of["p1"].scores == {RADIOMICS: round(logistic(-4 + 1.5 * CONTRAST["p1"]), 4)}
    assert (of["p1"].unusual, of["p1"].remarks, of["p1"].problem) == ((), (), "")
    assert of["p3"].probability == pytest.approx(wanted("p3", 4.5), abs=1e-14)
    assert of["p3"].unusual == (RADIOMICS, FEATURE)
    assert of["p3"].remarks == ("FEDMVI-371 arterial: overlaps poorly",)


def test_who_has_no_usable_images_has_no_probability_whatever_the_model_fills_and_his_row_says_why(
    folder: Path,
) -> None:
    filling = of_scores(missing="mean", filling=Impute((SIZE,), (4.0,)))
    for model in (of_scores(), filling):
        refused = by_id(predict_from_images(handed(model), folder, None).predictions)["p2"]
        assert refused.probability is None and refused.missing == refused.filled == ()
        assert refused.problem == "FEDMVI-330 An image cannot be read. portal.nii.gz: damaged"


def without_a_table(folder: Path) -> FrozenModel:
    """A model that reads nothing but images, in a folder that has no table."""
    (folder / "patients.csv").unlink()
    model = on_a_feature().model_copy(update={"preparation": PREPARATION})
    return FrozenModel.model_validate({
        **dict(model), "inputs": model.inputs[:1], "terms": (FEATURE,), "coefficients": (-4.0, 1.5), "covariance": None,
    })  # fmt: skip


def test_without_a_table_everybody_of_whom_there_is_anything_is_predicted(folder: Path) -> None:
    model = without_a_table(folder)
    (folder / "masks" / "p9").mkdir()
    found = by_id(predict_from_images(handed(model), folder, None).predictions)
    assert list(found) == ["p1", "p2", "p3", "p9"]
    assert found["p1"].probability == pytest.approx(logistic(-4 + 1.5 * CONTRAST["p1"]), abs=1e-14)
    assert "FEDMVI-351" in found["p9"].problem
    with pytest.raises(UnfitDataError) as needed:
        predict_from_images(handed(of_scores()), folder, None)
    assert needed.value.number == 204
    shutil.rmtree(folder / "masks")
    with pytest.raises(UnfitDataError) as nothing:
        predict_from_images(handed(model), folder, None)
    assert nothing.value.number == 356


def test_another_folder_is_read_as_the_site_writes_its_tables_with_the_usual_names_of_files(
    folder: Path, site: Site
) -> None:
    (folder / "patients.csv").write_text("patient_id;Groesse\np1;30\np3;45\n")
    found = by_id(predict_from_images(handed(of_scores()), folder, site).predictions)
    assert found["p1"].probability == pytest.approx(wanted("p1", 3), abs=1e-14)
    assert (site.store / "steps").is_dir() and not (folder / "store").exists()
    predict_from_images(handed(of_scores()), folder, site, work=Work(store=folder / "elsewhere"))
    assert (folder / "elsewhere" / "steps").is_dir()


def test_a_patient_who_withdrew_has_a_row_that_says_so_and_nothing_of_him_is_read_or_computed(
    folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noted(jobs: Sequence[Job], workers: int | None, progress: Any) -> tuple[Outcome, ...]:
        asked.extend(job.case.patient for job in jobs)
        return drawn(jobs, workers, progress)

    monkeypatch.setattr(images, "prepare_patients", noted)
    withdraw_consent(site, "p3", date(2024, 5, 1))
    (folder / "patients.csv").write_text("patient_id;Groesse\np3;no number\np1;30\n")
    found = predict_from_images(handed(of_scores()), folder, site).predictions
    assert [p.patient_id for p in found] == ["p3", "p1"] and asked == ["p1"]
    assert found[0].probability is None and found[0].problem.startswith("FEDMVI-787 The patient withdrew")
    assert found[1].probability == pytest.approx(wanted("p1", 3), abs=1e-14)
    with pytest.raises(FedmviError) as alone:
        predict_from_images(handed(of_scores()), folder, site, only="p3")
    assert alone.value.number == 787 and asked == ["p1"]
    # The same of a table of features, without any image.
    table = folder / "features.csv"
    table.write_text(f"patient_id;Groesse;{FEATURE}\np3;no number;?\np1;30;{CONTRAST['p1']}\n")
    gone, there = predict(of_scores(), table, site).predictions
    assert gone.problem == found[0].problem and there.probability == found[1].probability


def test_a_row_of_the_manifest_that_cannot_be_read_costs_its_patient_the_score_and_nobody_else(folder: Path) -> None:
    model = without_a_table(folder)
    rows = ["patient_id,kind,phase,region,path,b_value,use"]
    for patient in CONTRAST:
        rows += [f"{patient},image,{phase},,images/{patient}/{phase}.nii.gz,,yes" for phase in PREPARATION.phases]
        rows.append(f"{patient},mask,,tumour,masks/{patient}/tumour.nii.gz,,yes")
    rows += ["p3,image,dwi,,images/p3/dwi.nii.gz,-5,yes", "p9,image,plain,,images/p9/plain.nii.gz,,no"]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(rows))
    found = by_id(predict_from_images(handed(model), folder, None).predictions)
    assert list(found) == ["p1", "p2", "p3"]
    assert found["p1"].probability == pytest.approx(logistic(-4 + 1.5 * CONTRAST["p1"]), abs=1e-14)
    assert found["p3"].probability is None and "FEDMVI-350" in found["p3"].problem
    manifest.write_text(f"{rows[0]}\n,image,arterial,,images/p1,,often")
    with pytest.raises(UnfitDataError) as nobody:
        predict_from_images(handed(model), folder, None)
    assert nobody.value.number == 350


def test_one_patient_is_predicted_whatever_is_wrong_with_the_others(folder: Path) -> None:
    (folder / "patients.csv").write_text(f"patient_id,{SIZE}\np3,large\np1,3\n")
    (only,) = predict_from_images(handed(of_scores()), folder, None, "p1").predictions
    assert only.probability == pytest.approx(wanted("p1", 3), abs=1e-14)
    for table in (folder, folder / "patients.csv"):
        with pytest.raises(FedmviError) as refused:
            predict_from_images(handed(of_scores()), folder, None, "p8")
        assert refused.value.number == 786, table


def test_a_table_cannot_give_the_score_of_a_network(folder: Path) -> None:
    with pytest.raises(FedmviError) as refused:
        predict(of_scores(network_weights()), folder / "patients.csv", None)
    assert refused.value.number == 788


def test_the_command_tells_what_there_is_none_of_and_marks_every_row_as_research(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(pack_model(of_scores(), "# A model\n", None))
    typed = ["predict", "--model", str(tmp_path / "m.zip"), "--patients", str(folder), "--out"]
    done = CliRunner().invoke(app, [*typed, str(tmp_path / "all.csv")])
    assert done.exit_code == 1 and "1 of whom nothing was computed" in done.output
    assert "p2 FEDMVI-330" in done.output and "p3 FEDMVI-371" in done.output
    rows = {row["patient_id"]: row for row in csv.DictReader((tmp_path / "all.csv").read_text().splitlines())}
    assert rows["p1"]["scores"] == f"{RADIOMICS}={round(logistic(-4 + 1.5 * CONTRAST['p1']), 4)}"
    assert {row["use"] for row in rows.values()} == {"research use only"}
    one = CliRunner().invoke(app, [*typed, str(tmp_path / "one.json"), "--patient", "p1"])
    assert one.exit_code == 0, one.output
    told = json.loads((tmp_path / "one.json").read_text())
    assert [p["probability"] for p in told["predictions"]] == [float(rows["p1"]["probability"])]
    assert "Research only" in told["intended_use"] and told["same_program"] is False


def test_the_commands_of_the_guide_predict_all_patients_of_a_folder_and_one(
    folder: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.zip").write_bytes(pack_model(of_scores(), "# A model\n", None))
    shutil.rmtree(folder / "images" / "p2")
    shutil.rmtree(folder / "masks" / "p2")
    (folder / "patients.csv").write_text("patient_id;Groesse\np1;30\np3;45\n")
    there = {"hybrid.zip": "m.zip", "new-patients": str(folder), "p17": "p1", "hospital-a": str(site.folder)}
    reader = Reader(tmp_path, monkeypatch, there)
    begins = "fedmvi-site predict --model hybrid.zip --patients new-patients --out"
    reader.type_from("howto/use-a-model.md", begins)
    begins = "fedmvi-site predict --model hybrid.zip --patients new-patients --patient"
    reader.type_from("howto/use-a-model.md", begins)
    rows = {row["patient_id"]: row for row in csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines())}
    (one,) = json.loads((tmp_path / "p1.json").read_text())["predictions"]
    assert set(rows) == {"p1", "p3"} and float(rows["p1"]["probability"]) == one["probability"]
    assert one["probability"] == pytest.approx(wanted("p1", 3.0), abs=1e-9)


def test_a_folder_with_a_site_toml_is_its_own_site(folder: Path, site: Site, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(pack_model(of_scores(), "# A model\n", None))
    settings = (
        (site.folder / "site.toml").read_text().replace('"all.csv"', '"patients.csv"').replace("/nowhere", "images")
    )
    (folder / "site.toml").write_text(settings)
    shutil.copy(site.folder / "site.secret", folder)
    (folder / "patients.csv").write_text("patient_id;Groesse\np1;30\np3;45\n")
    withdraw_consent(load_site(folder), "p3", date(2024, 5, 1))
    typed = ["predict", "--model", str(tmp_path / "m.zip"), "--patients", str(folder), "--out"]
    done = CliRunner().invoke(app, [*typed, str(tmp_path / "out.csv")])
    assert done.exit_code == 1 and "p3 FEDMVI-787" in done.output
    alone = CliRunner().invoke(app, [*typed, str(tmp_path / "other.csv"), "--patient", "p3"])
    assert isinstance(alone.exception, FedmviError) and alone.exception.number == 787
    assert not (tmp_path / "other.csv").exists()


STUDY = f"""
[study]
name = "images"
title = "Two simulated patients"
simulated = true
[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
[[cohorts]]
name = "train"
role = "train"
sites = ["hospital-a", "hospital-b", "external-c"]
[[models]]
name = "tumour"
endpoint = "mvi"
cohort = "train"
predictors = ["{FEATURE}", "{SIZE}"]
"""


def test_new_patients_have_the_features_and_network_scores_of_a_prepared_store_and_nothing_is_done_twice(
    tmp_path: Path,
) -> None:
    consortium, place = load_consortium("tiny"), tmp_path / "hospital-a"
    declared = consortium.sites[0]
    booked = appointments(consortium, 1, [draw_site(consortium, declared, 1)])[:2]
    for one in booked:
        shown = examine(one.findings, one.imaging, declared.scanner, one.stream())
        write_examination(place, shown, "nifti", "nifti", one.acquisition())
    patients = sorted(path.name for path in (place / "images").iterdir())
    (place / "site.toml").write_text('[site]\nname = "hospital-a"\nsimulated = true\n')
    (place / "site.secret").write_text("cd" * 32)
    (place / "patients.csv").write_text(f"patient_id,mvi,{SIZE}\n{patients[0]},yes,4\n{patients[1]},no,6\n")
    here = load_site(place)
    study = Study.model_validate(as_tuples(tomllib.loads(STUDY)) | {"preparation": PREPARATION})
    prepare(here, study, workers=1)
    store, unknown = store_folder(here, study), np.full(2, -1, dtype=np.int64)
    learners = load_learners(store, patients, unknown, unknown, SEQUENCES, NETWORK)
    weights = network_weights()
    (tmp_path / "w.safetensors").write_bytes(weights)
    deep = scores_of(NETWORK, learners, read_weights(tmp_path / "w.safetensors")[1], {})["mean"][:, 1]
    assert deep[0] != deep[1]
    features = load_prepared(here, study).columns[FEATURE].values
    radiomics = [round(logistic(-4 + 1.5 * value), 4) for value in features]

    def made() -> list[Path]:
        return sorted(here.store.glob("steps/*/*/*/result.json"))

    steps = made()
    (tmp_path / "m.zip").write_bytes(pack_model(of_scores(weights), "# A model\n", None, {"dl": weights}))
    model = read_model(tmp_path / "m.zip")
    for folder, site, work in (
        (place, here, Work(workers=1, pages=tmp_path / "pages")),
        (
            shutil.copytree(place, tmp_path / "new", ignore=shutil.ignore_patterns("store", "site.*")),
            here,
            Work(workers=1),
        ),
    ):
        found = predict_from_images(model, folder, site, work=work).predictions
        for row, (prediction, size) in enumerate(zip(found, (4, 6), strict=True)):
            assert prediction.patient_id == patients[row] and prediction.problem == ""
            assert prediction.scores == {RADIOMICS: radiomics[row], DEEP: round(float(deep[row]), 4)}
            x = -1 + 0.2 * size + 3 * radiomics[row] + 1.5 * (round(float(deep[row]), 4) >= 0.5)
            assert prediction.probability == pytest.approx(logistic(x), abs=1e-14)
        assert made() == steps
    assert all(patient in (tmp_path / "pages" / "stacks.html").read_text() for patient in patients)
    with pytest.raises(FedmviError) as there:
        predict_from_images(model, place, here, work=Work(pages=tmp_path / "pages"))
    assert there.value.number == 213
