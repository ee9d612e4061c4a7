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
    """Three connected hospitals that approved two studies, one that has a kit and stays away, and the hub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sites = make_example_hospitals(folder / "sites")
        self.short = write_example_study(folder / "short.toml", "short")
        self.long = write_example_study(folder / "long.toml", "long", models=True)
        fingerprints = [study_fingerprint(load_study(study)) for study in (self.short, self.long)]
        for site in sites.values():
            approve(site, fingerprints)
            prepare(load_site(site), load_study(self.long))
            prepare(load_site(site), load_study(self.short))
        shutil.copytree(folder / "sites", folder / "one-process")
        self.network = Network(folder / "network", {**sites, ABSENT: folder / "sites" / ABSENT})

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
