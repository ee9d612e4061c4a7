"""tests/simulation: where the public data are, and folders imported from them once per session."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simulation.importers import IMPORTERS
from simulation.importers.folder import ImportReport
from tests.public_data import public

NO_STORE = shutil.ignore_patterns("store")
"""Copies of hospitals that have told nothing yet: what they told other tests would be compared with what they tell."""


@pytest.fixture(scope="session")
def public_data() -> Callable[[str], Path]:
    """A folder of the public test data by name; skips where it is absent."""
    return public


@pytest.fixture(scope="session")
def imported(
    public_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, ImportReport]]:
    """The folder of sites and the report of an importer by name; imported once."""
    folders = {"tcga-lihc": "tcga_lihc", "heart-disease": "heart_disease_4centres", "asaur": "hcc_resection_asaur"}
    done: dict[str, tuple[Path, ImportReport]] = {}

    def run(name: str) -> tuple[Path, ImportReport]:
        if name not in done:
            out = tmp_path_factory.mktemp("sites") / name
            done[name] = (out, IMPORTERS[name].run(public_data(folders[name]), out))
        return done[name]

    return run
