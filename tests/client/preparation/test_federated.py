"""tests/client/preparation: a study whose predictors are features of images runs as any other.

The features are drawn, not computed: what is claimed is everything after the images.
"""

from __future__ import annotations

import csv
import json
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

from client.preparation import images
from client.preparation.patient import Job, Outcome
from common.errors import FedmviError
from common.study.loader import parse_study
from server.study.execution import Action
from simulation.running import Simulation
from tests.client.preparation.sites import STUDY

SITES = ("hospital-a", "hospital-b", "external-c")
MEAN = "arterial.tumour.original_firstorder_Mean"
ENERGY = "portal.tumour.original_firstorder_Energy"
PATIENTS = 40
UNUSABLE = 6


def features_of(patient: str) -> dict[str, float]:
    rng = np.random.default_rng(zlib.crc32(patient.encode()))
    return {MEAN: float(rng.normal(60, 15)), ENERGY: float(np.exp(rng.normal(23, 1)))}


def present(patient: str) -> bool:
    return zlib.crc32(patient[::-1].encode()) % 100 < 20 + features_of(patient)[MEAN] / 2


def unusable(patient: str) -> bool:
    return patient.endswith(tuple(f"-{i:02d}" for i in range(UNUSABLE)))


def drawn(jobs: Sequence[Job], workers: int | None, progress: Any) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(patient, failed=True, problems=(FedmviError(330, f"{patient}: damaged"),))
        if unusable(patient)
        else Outcome(patient, features={1: features_of(patient)})
        for patient in (job.case.patient for job in jobs)
    )


def fill(folder: Path, source: Path) -> list[str]:
    """A site of patients with files that nobody reads; their ids."""
    folder.mkdir(parents=True)
    for file in ("site.toml", "site.secret", "peers.toml"):
        shutil.copy(source / file, folder)
    patients = [f"{folder.name}-{i:02d}" for i in range(PATIENTS)]
    with (folder / "patients.csv").open("w", newline="") as file:
        rows = [[patient, "present" if present(patient) else "absent"] for patient in patients]
        csv.writer(file).writerows([["patient_id", "mvi"], *rows])
    for patient in patients:
        for name in ("images/{}/plain", "images/{}/arterial", "images/{}/portal", "masks/{}/tumour"):
            path = folder / f"{name.format(patient)}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return patients


def test_a_model_of_features_is_the_pooled_one_of_the_patients_whose_images_were_usable(
    hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "prepare_patients", drawn)
    predictors = f'predictors = ["{MEAN}", {{ variable = "{ENERGY}", coding = "log" }}]'
    start = STUDY.index("predictors = [")
    text = STUDY[:start] + predictors + STUDY[STUDY.index("\n", start) :]
    protocol = tmp_path / "study.toml"
    protocol.write_text(text)
    patients = [p for name in SITES for p in fill(tmp_path / "sites" / name, hospitals / name)]
    simulation = Simulation.of(protocol, tmp_path / "sites", tmp_path / "run", in_process=True)
    simulation.conduct(Action.RUN, lambda _: None)
    found = {result["id"]: result for result in json.loads(simulation.run.results_file.read_text())["results"]}

    (excluded,) = [count for count in found["flow.train"]["counts"] if count["name"] == "excluded by images"]
    assert excluded["pooled"] == 3 * UNUSABLE
    usable = [patient for patient in patients if not unusable(patient)]
    X = np.array([[features_of(p)[MEAN], np.log1p(features_of(p)[ENERGY])] for p in usable])
    pooled = sm.Logit(np.array([present(p) for p in usable], float), sm.add_constant(X)).fit(disp=False)
    (model,) = [result for result in found.values() if result["statistic"] == "multivariable-logistic"]
    assert model["status"] == "estimated", model
    assert model["n"] == len(usable)
    ours = {e["term"]: e for e in model["estimates"] if e["name"] == "odds_ratio"}
    assert np.log(ours[MEAN]["value"]) == pytest.approx(pooled.params[1], rel=1e-8)
    assert np.log(ours[f"log({ENERGY})"]["value"]) == pytest.approx(pooled.params[2], rel=1e-8)


@pytest.mark.parametrize(
    ("predictor", "sentence"),
    [
        (f'"{ENERGY}"', "may be too large: use the coding 'log'"),
        ('{ variable = "portal.tumour.original_glcm_ClusterShade", coding = "log" }', "may be negative"),
        (f'{{ variable = "{MEAN}", coding = "log" }}', "may be negative"),
    ],
)
def test_features_that_no_sum_could_hold_are_refused_when_the_protocol_is_read(predictor: str, sentence: str) -> None:
    start = STUDY.index("predictors = [")
    text = STUDY[:start] + f"predictors = [{predictor}]" + STUDY[STUDY.index("\n", start) :]
    with pytest.raises(FedmviError, match="103") as refused:
        parse_study(text)
    assert sentence in refused.value.local
