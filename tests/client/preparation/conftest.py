"""tests/client/preparation: simulated sites with images, and a study that prepares them quickly."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from client.cohort.site import Site, load_site
from common.study.loader import parse_study
from common.study.protocol import Study
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from tests.client.preparation.sites import STUDY, MakeSite


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY)


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sites of the consortium `tiny`: NIfTI, DICOM with SEG, DICOM with RTSTRUCT."""
    out = tmp_path_factory.mktemp("hospitals") / "sites"
    make_hospitals(load_consortium("tiny"), out, seed=1)
    return out


@pytest.fixture
def make_site(hospitals: Path, tmp_path: Path) -> MakeSite:
    """A copy of a site with its first patients only."""

    def make(name: str = "hospital-a", patients: int = 2) -> Site:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("site.toml", "site.secret"):
            shutil.copy(hospitals / name / file, folder)
        with (hospitals / name / "patients.csv").open(newline="") as source:
            rows = list(csv.reader(source))[: patients + 1]
        with (folder / "patients.csv").open("w", newline="") as target:
            csv.writer(target).writerows(rows)
        for row in rows[1:]:
            for kind in ("images", "masks"):
                shutil.copytree(hospitals / name / kind / row[0], folder / kind / row[0])
        return load_site(folder)

    return make
