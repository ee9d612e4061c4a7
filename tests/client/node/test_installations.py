from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from flwr.app import RecordDict

from client.cohort.site import load_site
from client.node import installations
from common.errors import FedmviError
from tests.client.node.bare_hub import BareHub, error_in

ROOT = Path(__file__).parents[3]


class Installation:
    """Another version of the packages in an environment of its own, with the libraries of this one."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        for package in ("common", "client", "server"):
            shutil.copytree(ROOT / package, self.packages / package, ignore=shutil.ignore_patterns("__pycache__"))
        (self.packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        self.change("# made in another year\n")

    def change(self, line: str) -> None:
        path = self.packages / "client" / "app.py"
        path.write_text((ROOT / "client" / "app.py").read_text() + line)

    def stage(self, staged: Path) -> None:
        """Make a staged bundle one of this version."""
        shutil.copy(self.packages / "client" / "app.py", staged / "client" / "app.py")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("other"))


def list_in_site(hub: BareHub, *pythons: str) -> None:
    listed = ", ".join(f'"{python}"' for python in pythons)
    path = hub.site("alpha") / "site.toml"
    path.write_text(f'[site]\nname = "alpha"\nsimulated = true\n\n[node]\ninstallations = [{listed}]\n')


@pytest.fixture(scope="module")
def site(hub: BareHub) -> BareHub:
    hub.start_site("alpha")
    return hub


def test_a_run_with_another_listed_versions_code_is_answered_by_that_version(
    site: BareHub, other: Installation
) -> None:
    list_in_site(site, str(other.python))
    with site.run(site.bundle(other.stage)) as run:
        assert error_in(run.ask("alpha")) == 0
    assert " handed " in site.node("alpha").local_log.read_text()
    # A run that goes on with the newest version is answered beside it.
    with site.run(site.bundle()) as run:
        assert error_in(run.ask("alpha")) == 0


def test_a_version_that_is_not_listed_is_not_asked(site: BareHub, other: Installation) -> None:
    list_in_site(site)
    with site.run(site.bundle(other.stage)) as run:
        assert error_in(run.ask("alpha")) == 502


def test_the_other_version_verifies_by_itself(site: BareHub, other: Installation) -> None:
    list_in_site(site, str(other.python))
    bundle = site.bundle(other.stage)
    other.change("# made in yet another year\n")
    try:
        with site.run(bundle) as run:
            assert error_in(run.ask("alpha")) == 502
    finally:
        other.change("# made in another year\n")


def test_an_interpreter_that_is_gone_is_told_unless_another_one_fits(site: BareHub, other: Installation) -> None:
    list_in_site(site, "/nowhere/bin/python", str(other.python))
    with site.run(site.bundle(other.stage)) as run:
        assert error_in(run.ask("alpha")) == 0
    list_in_site(site, "/nowhere/bin/python")
    with site.run(site.bundle(other.stage)) as run:
        assert error_in(run.ask("alpha")) == 724


@pytest.mark.parametrize(("script", "number"), [
    ("exit 0", 724),
    ("echo nonsense", 724),
    ("exec sleep 60", 724),  # hangs, and is ended when nobody waits any more
    # Says that the bundle is its own, and ends.
    ("printf '\\000\\000\\000\\000\\000\\000\\000\\016{\"mine\": true}'; exec 1>&-; cat >/dev/null", 725),
])  # fmt: skip
def test_an_installation_that_talks_nonsense_ends_in_a_number(tmp_path: Path, script: str, number: int) -> None:
    (tmp_path / "site.toml").write_text(
        f'[site]\nname = "alpha"\n\n[node]\ninstallations = ["{tmp_path / "python"}"]\n'
    )
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o700)
    with pytest.raises(FedmviError) as error:
        installations.hand_over(load_site(tmp_path), b"bundle", RecordDict(), 2.0)
    assert error.value.number == number
