"""tests/client: a site without the libraries for images is told what to install; its tables do without them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from client.images.libraries import LIBRARIES
from tests.client.preparation.sites import STUDY

PROGRAM = """
import json, sys
absent, commands = json.loads(sys.argv[1])

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from typer.testing import CliRunner
from client.cli import app
runs = [CliRunner().invoke(app, command) for command in commands]
print(json.dumps([getattr(run.exception, "number", repr(run.exception)) for run in runs]))
"""


def outcomes(absent: tuple[str, ...], *commands: list[str]) -> list[object]:
    """What commands end with in a process in which libraries are not installed: the error's number, or None's text."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([absent, commands])], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found: list[object] = json.loads(run.stdout)
    return found


def test_without_libraries_for_images_the_commands_say_what_to_install_and_tables_are_checked(tmp_path: Path) -> None:
    site = tmp_path / "hospital-a"
    site.mkdir()
    (site / "site.toml").write_text('[site]\nname = "hospital-a"\n')
    rows = [f"P{number:04},{('present', 'absent')[number % 2]}" for number in range(40)]
    (site / "patients.csv").write_text("\n".join(["patient_id,mvi", *rows]) + "\n")
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    at = ["--site", str(site)]
    images = [["check", *at, "--study", str(study)], ["prepare", str(study), *at], ["discover", str(tmp_path), *at]]
    tables = ["check", *at, "--study", str(study), "--tables-only"]
    assert outcomes((*LIBRARIES, "highdicom", "pywt"), *images, tables) == [804, 804, 804, "None"]
    assert outcomes(("torch",), *images) == [804, 804, 804]
