"""deploy: the images, as far as they can be judged without a container engine."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.dockerfile_steps import Step, steps

ROOT = Path(__file__).parents[2]
FILES = {name: ROOT / "deploy" / "docker" / f"{name}.Dockerfile" for name in ("site", "server")}
HADOLINT = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.get_exec_path()[0]]))


def final(name: str) -> list[Step]:
    """The steps of the stage that becomes the image."""
    found = steps(FILES[name].read_text(encoding="utf-8"))
    return found[max(i for i, step in enumerate(found) if step.word == "FROM") :]


@pytest.mark.skipif(HADOLINT is None and "CI" not in os.environ, reason="hadolint is not installed")
@pytest.mark.parametrize("name", FILES)
def test_a_linter_of_dockerfiles_finds_nothing(name: str) -> None:
    done = subprocess.run([str(HADOLINT), str(FILES[name])], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_an_image_runs_as_a_user_by_number_without_a_shell_and_can_say_how_it_is(name: str) -> None:
    said = {step.word: step.text for step in final(name)}
    assert said["USER"] == "10001:10001"
    for word in ("ENTRYPOINT", "CMD"):
        assert said[word].startswith("["), "the exec form: signals reach the program, and no shell reads the words"
    assert f'CMD ["fedmvi-{name}"' in said["HEALTHCHECK"]
    assert "FLWR_TELEMETRY_ENABLED=0" in said["ENV"]
    assert "FLWR_DISABLE_UPDATE_CHECK=1" in said["ENV"]


@pytest.mark.parametrize("name", FILES)
def test_the_final_stage_brings_no_compiler_and_no_source_and_fetches_nothing_by_hand(name: str) -> None:
    for step in final(name):
        assert step.word != "ADD"
        assert step.word != "COPY" or step.text.startswith("--from=build /opt/fedmvi ")
        assert not any(tool in step.text.split() for tool in ("gcc", "curl", "wget", "pip"))


@pytest.mark.parametrize("name", FILES)
def test_what_an_image_is_built_from_is_in_the_context_and_data_and_keys_are_not(name: str) -> None:
    copied = [step.text.split()[:-1] for step in steps(FILES[name].read_text(encoding="utf-8")) if step.word == "COPY"]
    for source in (word for words in copied for word in words if not words[0].startswith("--from")):
        assert (ROOT / source).exists()
        assert in_context(source), source
    for source in (
        "sites/a/patients.csv",
        "runs/demo/journal",
        "kits/hub.kit",
        ".git/config",
        "deploy/hub/keys/ca.key",
    ):
        assert not in_context(source), source


def in_context(path: str) -> bool:
    """Whether .dockerignore, whose last fitting line counts, lets a path through to the engine."""
    chosen = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.lstrip("!").rstrip("/")
        if line and not line.startswith("#"):
            whole = path.rstrip("/")
            if fnmatch.fnmatchcase(whole, pattern) or fnmatch.fnmatchcase(whole, pattern + "/*"):
                chosen = line.startswith("!")
    return chosen
