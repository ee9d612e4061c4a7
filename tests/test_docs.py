"""The documents keep up with the program."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest
from typer.testing import CliRunner

import client.cli
import server.cli
import simulation.cli
from common.errors import CATALOGUE
from common.study.loader import load_study

ROOT = Path(__file__).parents[1]
PROGRAMS = {"fedmvi-site": client.cli.app, "fedmvi-server": server.cli.app, "fedmvi-simulate": simulation.cli.app}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


def test_reference_pages_are_the_generated_ones(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.pages().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `python docs/generate.py`"


def test_the_published_schema_is_a_schema(generate: ModuleType) -> None:
    jsonschema.Draft202012Validator.check_schema(generate.schema())


def test_every_error_number_raised_is_in_the_catalogue_and_every_entry_is_raised() -> None:
    used: set[int] = set()
    for room in ("common", "client", "server", "simulation"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name != "errors.py":
                used |= {
                    int(n) for n in re.findall(r"(?<![\w.])([1-9]\d\d)(?![\w.])", path.read_text(encoding="utf-8"))
                }
    numbers = set(CATALOGUE)
    assert numbers <= used, f"never raised: {sorted(numbers - used)}"
    raised = re.compile(r"FedmviError\(\s*(\d{3})")
    for room in ("common", "client", "server", "simulation"):
        for path in (ROOT / room).rglob("*.py"):
            assert {int(n) for n in raised.findall(path.read_text(encoding="utf-8"))} <= numbers, path


def commands(app: object) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for command in app.registered_commands:  # type: ignore[attr-defined]
        found.append([command.name or command.callback.__name__.replace("_", "-")])
    for group in app.registered_groups:  # type: ignore[attr-defined]
        found += [[group.name, *rest] for rest in commands(group.typer_instance)]
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_explains_itself_with_an_example(program: str) -> None:
    for words in commands(PROGRAMS[program]):
        shown = CliRunner().invoke(PROGRAMS[program], [*words, "--help"])
        assert shown.exit_code == 0, words
        if words and words not in (["ledger"], ["benchmark"]):
            assert f"Example: {program} {' '.join(words)}" in " ".join(shown.output.split()), words


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_study_is_sound(path: Path) -> None:
    assert load_study(path).study.name == path.stem


@pytest.mark.parametrize(
    "path", [p for p in ROOT.rglob("*.md") if ".venv" not in p.parts and "runs" not in p.parts], ids=str
)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target
