"""The documents keep up with the program."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
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
from common.study.loader import load_study, parse_study
from simulation.cohorts import consortium
from simulation.cohorts.consortium import load_consortium
from simulation.cohorts.faults import check_faults
from simulation.hospitals import make_hospitals

ROOT = Path(__file__).parents[1]
PROGRAMS = {"fedmvi-site": client.cli.app, "fedmvi-server": server.cli.app, "fedmvi-simulate": simulation.cli.app}


HOWTO = (ROOT / "docs" / "howto" / "simulate-a-consortium.md").read_text(encoding="utf-8")


def example(page: str, begin: str) -> str:
    """The one TOML block of a page that begins so."""
    (found,) = re.findall(rf"```toml\n({re.escape(begin)}.*?)```", page, re.DOTALL)
    return str(found)


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


def test_the_documents_are_a_site_without_a_broken_link(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    built = {path.parent.relative_to(tmp_path / "site") for path in (tmp_path / "site").rglob("index.html")}
    assert pages - {Path("index")} <= built
    absent = [str(page) for page in pages if f"- {page}.md" not in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")]
    assert [page for page in absent if page != "index"] == [], "put it among `nav` of mkdocs.yml"
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8"))
        assert [one for one in loaded if "rel=" not in one] == [], "nothing comes from elsewhere"


def test_the_reference_of_consortium_files_describes_every_table(generate: ModuleType) -> None:
    page = generate.consortium()
    models = [m for _, m in inspect.getmembers(consortium, inspect.isclass) if issubclass(m, consortium._Declared)]
    absent = [
        m.__name__ for m in models if m is not consortium._Declared and f"\n\n{inspect.getdoc(m)}\n\n" not in page
    ]
    assert absent == []


def test_the_consortium_of_the_guide_makes_hospitals(tmp_path: Path) -> None:
    file = tmp_path / "my-consortium.toml"
    file.write_text(example(HOWTO, 'name = "my-consortium"'), encoding="utf-8")
    declared = load_consortium(file)
    check_faults(declared)
    few = [
        site.model_copy(
            update={"groups": tuple(g.model_copy(update={"patients": 1, "present": 1}) for g in site.groups)}
        )
        for site in declared.sites
    ]
    make_hospitals(declared.model_copy(update={"sites": tuple(few)}), tmp_path / "sites", 7, workers=1)
    for place in (
        "north/patients.csv", "north/expression.csv", "west/images/west-0001/portal.nii.gz",
        "west/masks/west-0001/tumour.reader2.nii.gz", "cohort.json", "truth/consortium.json",
        "truth/patients.csv", "truth/typing-errors.csv", "truth/west/west-0001/motion-arterial.nii.gz",
    ):  # fmt: skip
        assert (tmp_path / "sites" / place).is_file(), place


def test_the_study_of_the_guide_is_of_hospitals_of_the_hostile_consortium() -> None:
    study = parse_study(example(HOWTO, "[study]"))
    assert {site for cohort in study.cohorts for site in cohort.sites} <= {
        s.name for s in load_consortium("hostile").sites
    }


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


def anchors(path: Path) -> set[str]:
    """What a link may name in a page: its headings, as they are spelt in addresses, and ids that it gives itself."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain} | set(
        re.findall(r'\bid="([^"]+)"', text)
    )


@pytest.mark.parametrize(
    "path", [p for p in ROOT.rglob("*.md") if ".venv" not in p.parts and "runs" not in p.parts], ids=str
)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target, place in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            page = path.parent / target if target else path
            assert page.exists(), target
            assert not place or place in anchors(page), f"{target}#{place}"
