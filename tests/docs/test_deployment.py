"""docs: coordinator, hospitals and a new one follow the guides of a deployment, and a study survives what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

from client.cohort.site import load_site
from client.cohort.template import init_site
from client.release.keys import own_key
from common.deployment.ports import free_port
from server.hub.orders import State
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.network.deployment import Network
from simulation.network.example import write_example_study
from simulation.processes import private_folder, short_temporary_folder
from tests.docs.elsewhere import is_elsewhere
from tests.docs.reader import Reader, Said, process_of

STUDY = "mvi"
HOSPITALS = ("hospital-a", "hospital-b", "hospital-d")
"""The last is the new one. The guides' hospital-c is declared, and never comes."""
PATIENTS = 40
SECONDS = 300.0
PASSPHRASE = re.compile(r"wrote \S*?([\w-]+\.kit)\s+passphrase (\S+)")

pytestmark = pytest.mark.xdist_group("documented-deployment")


class Deployment:
    """One machine on which everybody follows the guides, below a folder that stands for `/srv/fedmvi`."""

    def __init__(self, folder: Path, reader: Reader) -> None:
        self.folder, self.reader = folder, reader
        make_hospitals(load_consortium("demo").with_patients(dict.fromkeys(HOSPITALS, PATIENTS)), folder / "sites", 7)
        shutil.rmtree(folder / "sites" / "truth")
        write_example_study(folder / "study.toml", STUDY, HOSPITALS)
        self.keys = {name: own_key(load_site(self._secret_of(name))) for name in HOSPITALS}
        self.network = Network(folder / "network", {})
        self.network.hub = folder / "srv" / "hub"
        self.network.daemons.__enter__()
        reader.instead = {
            "fedmvi-server start": self._start_hub,
            "fedmvi-site start": self._start_site,
            "fedmvi-server submit": self._submit,
            "fedmvi-server resume": self._resume,
            "fedmvi-site enrol": self._enrol,
            "fedmvi-server status": lambda line: reader.run(line.removesuffix(" --watch")),
            "fedmvi-site metrics": self._look_at_metrics,
            "fedmvi-server metrics": self._look_at_metrics,
        }
        reader.after = dict.fromkeys(("fedmvi-server provision", "fedmvi-server r"), self._send_kits)
        reader.after |= {"fedmvi-site init": lambda said: self._put_data()}
        reader.answers = {"fedmvi-site approve": f"{STUDY}\n"}
        self.metrics_port = free_port()
        for place in ("opt", "system"):
            (folder / place).mkdir()
        self.here()

    def here(self, name: str = HOSPITALS[0]) -> None:
        """From now on whoever reads is at this hospital, and telephones with the others of a page."""
        second, third = [other for other in HOSPITALS if other != name]
        self.reader.changes = {
            "/srv/fedmvi": str(self.folder / "srv"),
            "/opt/": f"{self.folder}/opt/",
            "/etc/systemd/system/": f"{self.folder}/system/",
            "--port 9464": f"--port {self.metrics_port}",
            'host = "hub.example.org"': f'host = "127.0.0.1"\nport = {self.network.port}\n'
            f"superlink_port = {self.network.superlink_port}",
            "hospital-a": name,
            "hospital-b 5f1c...e0": f"{second} {self.keys[second]}",
            "hospital-c 91aa...07": f"{third} {self.keys[third]}",
            "hospital-d 5f1c...e0": f"hospital-d {self.keys['hospital-d']}",
            "pull NAME": f"pull {STUDY}",
        }

    def site(self, name: str) -> Path:
        return self.folder / "srv" / name

    def _secret_of(self, name: str) -> Path:
        """A folder with the secret that the hospital will have, so that its key can be told before it has a site."""
        made = self.folder / "secrets" / name
        init_site(made, name)
        return made

    def _put_data(self) -> None:
        name = self.reader.changes["hospital-a"]
        shutil.copy(self.folder / "sites" / name / "patients.csv", self.site(name))
        shutil.copy(self.folder / "secrets" / name / "site.secret", self.site(name))

    def _send_kits(self, said: Said) -> None:
        """Kits arrive at hospitals, and everybody is told the passphrase."""
        for kit, passphrase in PASSPHRASE.findall(said.text):
            shutil.copy(self.folder / "kits" / kit, self.folder / kit)
            for command in (f"fedmvi-server install kits/{kit}", f"fedmvi-site enrol {kit}"):
                self.reader.answers[command] = f"{passphrase}\n"

    def _start_hub(self, line: str) -> Said:
        assert line == f"fedmvi-server start --hub {self.network.hub}"
        if not self.network.pids("hub"):
            self.network.start_hub()
        return Said(0, "")

    def _start_site(self, line: str) -> Said:
        name = Path(line.rsplit(maxsplit=1)[-1]).name
        assert line == f"fedmvi-site start --site {self.site(name)}"
        self.network.sites[name] = self.site(name)
        self.network.start_site(name)
        return Said(0, "")

    def _look_at_metrics(self, line: str) -> Said:
        """It goes on until it is ended, and answers whoever asks meanwhile."""
        limit, text = time.monotonic() + SECONDS, ""
        place, opener = f"http://127.0.0.1:{self.metrics_port}/metrics", build_opener(ProxyHandler({}))
        with subprocess.Popen(process_of(line)) as process:
            while not text and time.monotonic() < limit and process.poll() is None:
                time.sleep(0.2)
                with suppress(OSError), opener.open(place, timeout=10) as answer:
                    text = answer.read().decode()
            process.terminate()
        return Said(process.returncode if "fedmvi_certificate_expiry_seconds" in text else 1, text)

    def _enrol(self, line: str) -> Said:
        """Where the hub has not taken new keys up yet, look again, as the guide says."""
        said, site = self.reader.run(line), line.rsplit(maxsplit=1)[-1]
        limit = time.monotonic() + SECONDS
        while said.code and "FEDMVI-777" in said.text and time.monotonic() < limit:
            time.sleep(1.0)
            said = self.reader.run(f"fedmvi-site connect --site {site}")
        return said

    def _submit(self, line: str) -> Said:
        """While the study goes on, the hub and two hospitals die, and are looked after as the guide says."""
        said = self.reader.run(line)
        self.reader.after["fedmvi-site connect"] = lambda _: self._crash()
        self.reader.follow("howto/recover-from-a-crash.md")
        return said

    def _crash(self) -> None:
        del self.reader.after["fedmvi-site connect"]
        for part in ("whole-hub", "whole-site:hospital-a", "whole-site:hospital-b"):
            assert self.network.kill(part)

    def _resume(self, line: str) -> Said:
        stopped = self.reader.run(f"fedmvi-server stop {STUDY} --hub {self.network.hub}")
        assert stopped.code == 0, stopped.text
        said = self.reader.run(line)
        self.network.start_site("hospital-b")  # without it nothing could have ended before
        assert self.network.await_end(self.network.run(STUDY), SECONDS) is State.FINISHED
        return said


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    with private_folder("fedmvi-docs-", short_temporary_folder()) as name:
        folder = Path(name).resolve()
        made = Deployment(folder, Reader(folder, monkeypatch))
        try:
            yield made
        finally:
            made.network.close()
        assert not made.network.living()


def test_a_consortium_that_follows_the_guides_runs_a_study_and_changes_its_keys(deployment: Deployment) -> None:
    reader = deployment.reader
    reader.skipped = lambda page, line: line.startswith("fedmvi-site enrol")
    reader.follow("howto/provision-a-consortium.md")
    reader.skipped = is_elsewhere
    reader.type(f"fedmvi-server start --hub {deployment.network.hub}")
    for name in HOSPITALS[:2]:
        deployment.here(name)
        reader.follow("howto/join-a-consortium.md")
    deployment.here()
    reader.follow("howto/add-a-site.md")
    deployment.here("hospital-d")
    reader.follow("howto/join-a-consortium.md")
    deployment.here()
    reader.follow("howto/plan-a-study.md")
    reader.follow("howto/deploy.md")
    assert (deployment.folder / "system" / "fedmvi-site.service").is_file()
    assert (deployment.folder / "results" / "report.html").is_file()
    reader.follow("howto/rotate-keys.md")
    limit = time.monotonic() + SECONDS
    while not (said := reader.type(f"fedmvi-site connect --site {deployment.site('hospital-a')}")).code:
        assert time.monotonic() < limit, "it was revoked in the end, and the hub takes that up within seconds"
        time.sleep(1.0)
    assert said.code == 1
