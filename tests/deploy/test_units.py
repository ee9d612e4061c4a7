"""deploy: systemd reads the units, and what they may do is little."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.kits import shown

ANALYZE = shutil.which("systemd-analyze")
UNITS = ("fedmvi-site.service", "fedmvi-server.service")
MOST_EXPOSED = 2.0
"""Of 10, in systemd's own judgement; a service with the network and a folder has 1.5 to 2."""

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")


def settings(text: str) -> dict[str, list[str]]:
    """The settings of a unit, each with its values in order."""
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found.setdefault(name.strip(), []).append(value.strip())
    return found


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit whose program exists: systemd looks for it."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = re.sub(r"(?m)^(Exec\w+=[-+!@:]*)(\S+)", rf"\g<1>{program}", shown(request.param))
    path = tmp_path / request.param
    path.write_text(text, encoding="utf-8")
    return path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ANALYZE), *words], capture_output=True, text=True, check=False)


def test_systemd_has_nothing_to_say_against_a_unit(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert ours == []


def test_a_unit_is_little_exposed(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={int(MOST_EXPOSED * 10)}", str(unit))
    assert done.returncode == 0, done.stdout


def test_a_daemon_writes_to_its_folder_alone_and_is_not_root(unit: Path) -> None:
    given = settings(unit.read_text(encoding="utf-8"))
    assert given["ProtectSystem"] == ["strict"]
    assert len(given["ReadWritePaths"]) == 1
    assert given["User"][0] not in ("", "root", "0")
    assert given["CapabilityBoundingSet"] == [""]
    assert given["UMask"] == ["0077"]


def test_a_daemon_that_ends_comes_back_and_takes_its_processes_along(unit: Path) -> None:
    given = settings(unit.read_text(encoding="utf-8"))
    assert given["Restart"][0] in ("always", "on-failure")
    assert given.get("KillMode", ["control-group"])[0] in ("mixed", "control-group")
    assert "/bin/sh" not in given["ExecStart"][0]
