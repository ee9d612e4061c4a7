"""tests: a model on a network's score, handed on with its weights, tried on a hospital's own patients."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from client.cohort.site import Site
from client.cohort.store import STACKS, store_folder
from client.predicting.images import predict_from_images
from client.predicting.prediction import Prediction
from client.preparation import images
from client.preparation.patient import Job, Outcome
from common.models.archive import read_model
from common.study.protocol import Study
from server.export.logistic import write_model


def hand_on(run: Path, models: Iterable[str], site: Site, study: Study, folder: Path) -> dict[str, list[Prediction]]:
    """What a hospital gets for the patients of its table who have stacks, by model, of models of a finished run.

    The stacks are those of the site's store: they were drawn, and there are no images that they were made of.
    """
    store = store_folder(site, study) / STACKS

    def prepared(jobs: Sequence[Job], workers: int | None, progress: Any) -> tuple[Outcome, ...]:
        patients = (job.case.patient for job in jobs)
        return tuple(Outcome(p, stacks={path.name: path for path in (store / p).iterdir()}) for p in patients)

    shutil.copy(site.folder / "patients.csv", folder)
    for patient in store.iterdir():
        names = [
            *(f"images/{patient.name}/{phase.name}" for phase in patient.iterdir()),
            f"masks/{patient.name}/tumour",
        ]
        for name in names:
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "prepare_patients", prepared)
        for name in models:
            write_model(run, name, folder / f"{name}.zip")
            handed = read_model(folder / f"{name}.zip")
            found[name] = list(predict_from_images(handed, folder, site).predictions)
    return found
