"""tests/e2e: a whole deployment on the loopback address: a hub with its proxy and hospitals, as real processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study
from server.study.execution import Action
from simulation.network.deployment import Network
from simulation.network.example import HOSPITALS, make_example_hospitals, write_example_study
from simulation.processes import private_folder, short_temporary_folder
from simulation.running import Simulation

ABSENT = "hospital-d"
"""A site that has a kit and is never started."""


class Consortium:
    """Three connected hospitals that approved three studies, one that has a kit and stays away, and the hub."""

    absent = ABSENT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sites = make_example_hospitals(folder / "sites")
        self.short = write_example_study(folder / "short.toml", "short")
        self.long = write_example_study(folder / "long.toml", "long", models=True)
        self.patient = self._study_of_all("wait_hours = 24.0")
        studies = [load_study(study) for study in (self.long, self.short, self.patient)]
        for site in sites.values():
            approve(site, [study_fingerprint(study) for study in studies])
            for study in studies:
                prepare(load_site(site), study)
        shutil.copytree(folder / "sites", folder / "one-process")
        self.network = Network(folder / "network", {**sites, ABSENT: folder / "sites" / ABSENT})

    def _study_of_all(self, waits: str) -> Path:
        """The short study over the absent site too, which is waited for some seconds and then left out."""
        file = write_example_study(self.folder / "patient.toml", "patient", [*HOSPITALS, ABSENT])
        text = file.read_text(encoding="utf-8")
        assert waits in text
        file.write_text(text.replace(waits, 'wait_hours = 0.003\nmissing_site = "leave-out"'), encoding="utf-8")
        return file

    def start(self) -> None:
        """Provision everybody, start the hub and the three."""
        network = self.network
        network.daemons.__enter__()
        network.provision()
        del network.sites[ABSENT]
        network.start_hub()
        for name in HOSPITALS:
            network.enrol(name)
        network.start_sites()

    def expected(self, study: Path, action: Action) -> bytes:
        """What the same study gives over copies of the same sites in one process."""
        out = self.folder / f"one-process-{study.stem}-{action}"
        simulation = Simulation.of(study, self.folder / "one-process", out, in_process=True)
        if not out.joinpath("run.json").exists() or not wanted(out, action).exists():
            simulation.conduct(action, lambda _: None)
        return wanted(out, action).read_bytes()


def wanted(run: Path, action: Action) -> Path:
    """The file that a run or a plan is for."""
    return run / ("results.json" if action is Action.RUN else "plan.json")


def approve(site: Path, fingerprints: list[str]) -> None:
    """What a hospital writes into site.toml when it agrees to studies; simulated ones come agreeing to all."""
    file = site / "site.toml"
    text = file.read_text(encoding="utf-8")
    assert 'approved_studies = ["any"]' in text
    listed = ", ".join(f'"{one}"' for one in fingerprints)
    file.write_text(text.replace('["any"]', f"[{listed}]"), encoding="utf-8")


@pytest.fixture(scope="module")
def consortium() -> Iterator[Consortium]:
    """A deployment for the tests of one module; whatever was started has ended afterwards."""
    with private_folder("fedmvi-e2e-", short_temporary_folder()) as folder:
        made = Consortium(Path(folder).resolve())
        try:
            made.start()
            yield made
        finally:
            made.network.close()
        assert not made.network.living()
