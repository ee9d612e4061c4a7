"""docs: whoever follows the tutorial and the guides, from the first line to the last, gets what they promise.

What a page takes for granted, such as a study or patients, is made here. Guides of a deployment are followed in
`test_deployment.py`, and the page about the report where there is one, in `tests/e2e/test_simulation.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from client.cohort.site import load_site
from client.release.keys import own_key
from server.study.execution import Action
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.network.example import make_example_hospitals, write_example_study
from simulation.running import Simulation
from tests.docs.elsewhere import ELSEWHERE, NO_TEST_CAN, is_elsewhere
from tests.docs.reader import DOCS, ROOT, Reader, Said, sections, typed_on
from tests.public_data import public

CONSORTIA = ROOT / "simulation" / "consortia"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in (*DOCS.glob("tutorial/*.md"), *DOCS.glob("howto/*.md")))
FOLLOWED_ELSEWHERE = {
    "tutorial/reading-a-report.md": "e2e/test_simulation.py",
    "howto/train-a-network.md": "simulation/learning/test_of_run.py",
    **dict.fromkeys(
        (
            "howto/provision-a-consortium.md", "howto/join-a-consortium.md", "howto/add-a-site.md",
            "howto/plan-a-study.md", "howto/deploy.md", "howto/recover-from-a-crash.md", "howto/rotate-keys.md",
        ),
        "docs/test_deployment.py",
    ),
}  # fmt: skip


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated hospitals, and a study over them with the names that the guides use."""
    folder = tmp_path_factory.mktemp("hospitals")
    make_example_hospitals(folder / "sites")
    study = write_example_study(folder / "study.toml", "study", models=True)
    text = study.read_text(encoding="utf-8").replace('name = "clinical"', 'name = "hybrid"')
    study.write_text(text, encoding="utf-8")
    return folder


def nothing(reader: Reader, hospitals: Path) -> None:
    """For a page that brings all that it needs."""


def a_table(reader: Reader, hospitals: Path) -> None:
    """A study, and the hospital's export in place of the empty table that `init` makes."""
    shutil.copy(hospitals / "study.toml", reader.folder)

    def put(said: Said) -> None:
        table = (hospitals / "sites" / "hospital-a" / "patients.csv").read_text(encoding="utf-8")
        (reader.folder / "hospital-a" / "patients.csv").write_text(table, encoding="utf-8")

    reader.after = {"fedmvi-site init": put}
    reader.answers = {"fedmvi-site approve": "study\n"}
    reader.changes = {"5f1c...e0": own_key(load_site(hospitals / "sites" / "hospital-b"))}


def a_prepared_site(reader: Reader, hospitals: Path) -> None:
    """A site that has prepared the study and approved nothing; its patients have ids as in the guide."""
    shutil.copy(hospitals / "study.toml", reader.folder)
    site = shutil.copytree(hospitals / "sites" / "hospital-a", reader.folder / "hospital-a")
    table = site / "patients.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("\nhospital-a-", "\nP"), encoding="utf-8")
    own = site / "site.toml"
    own.write_text(own.read_text(encoding="utf-8").replace('["any"]', "[]"), encoding="utf-8")
    assert reader.run("fedmvi-site prepare study.toml --site hospital-a").code == 0
    reader.answers = {"fedmvi-site approve": "study\n"}


def a_finished_run(reader: Reader, hospitals: Path) -> None:
    """A run with a model, and a table of new patients."""
    sites = shutil.copytree(hospitals / "sites", reader.folder / "sites")
    run = reader.folder / "hub" / "runs" / "study"
    Simulation.of(hospitals / "study.toml", sites, run, in_process=True).conduct(Action.RUN, lambda _: None)
    (sites / "hospital-a").rename(reader.folder / "hospital-a")
    head, *rows = (hospitals / "sites" / "hospital-b" / "patients.csv").read_text(encoding="utf-8").splitlines(True)
    (reader.folder / "new-patients.csv").write_text(head + "".join(rows[:5]), encoding="utf-8")


SIGNAL = """
name = "pictures"
title = "One hospital"

[[sites]]
name = "hospital-a"
groups = [
  { label = "train", patients = 12, present = 6 },
  { label = "internal-test", patients = 8, present = 4 },
  { label = "external-test", patients = 8, present = 4 },
]
scanner = { spacing_mm = 7.6, slice_mm = 14.0 }

[clinical]
size_absent = { lower = 4.5, median = 5.0, upper = 5.5 }
size_present = { lower = 4.5, median = 5.0, upper = 5.5 }

[imaging]
matrix = 48
slices = 16
phases = ["arterial", "portal"]
"""


def fewer_patients(reader: Reader, hospitals: Path) -> None:
    """The consortia of the page with two patients in every group, and of `hostile` the hospital that is checked."""
    for name in ("tiny", "demo-imaging", "hostile"):
        text = (CONSORTIA / f"{name}.toml").read_text(encoding="utf-8")
        if name == "hostile":
            head, *sites = re.split(r"(?=\[\[sites\]\]\n)", text)
            text = "".join([head, *(site for site in sites if 'name = "unit-mixture"' in site)])
        else:
            text = re.sub(r"patients = \d+, present = \d+", "patients = 2, present = 1", text)
        (reader.folder / f"few-{name}.toml").write_text(text, encoding="utf-8")
        reader.changes[f"cohort {name} "] = f"cohort few-{name}.toml --workers 1 "
    (reader.folder / "few-pictures.toml").write_text(SIGNAL, encoding="utf-8")
    reader.changes |= {
        "patients = 24": "patients = 2", "patients = 8": "patients = 2", "present = 12": "present = 1",
        "signal ct-as-published": "signal few-pictures.toml --workers 1", "--seed 1": "--seed 1 --patients 10",
        "cohort my-consortium.toml": "cohort my-consortium.toml --workers 1",
        "studies/demo-imaging.toml": str(ROOT / "studies" / "demo-imaging.toml"),
    }  # fmt: skip


def sequenced_patients(reader: Reader, hospitals: Path) -> None:
    """A hospital with RNA-seq of some patients, and the study that wants it."""
    declared = load_consortium("radiogenomics")
    make_hospitals(declared.model_copy(update={"sites": declared.sites[:1]}), reader.folder / "sites", 7, workers=1)
    (reader.folder / "sites" / declared.sites[0].name).rename(reader.folder / "hospital-a")
    shutil.copy(ROOT / "studies" / "radiogenomics.toml", reader.folder / "study.toml")


def without_flower(reader: Reader, hospitals: Path) -> None:
    """Studies run in this process: that Flower gives the same bytes is tested elsewhere."""
    reader.instead = {"fedmvi-simulate run": reader.in_one_process}


def simulated_hospitals(reader: Reader, hospitals: Path) -> None:
    """The hospitals that the worked example names."""
    assert reader.run("fedmvi-simulate cohort demo --out sites --seed 7").code == 0


def images_of_a_few_patients(reader: Reader, hospitals: Path) -> None:
    """CT in DICOM, an export of the PACS, and a study; whoever should correct the manifest goes by folders instead."""
    declared = load_consortium("demo-imaging")
    group = declared.sites[0].groups[0].model_copy(update={"patients": 2, "present": 1})
    few = declared.sites[0].model_copy(update={"groups": (group,)})
    make_hospitals(declared.model_copy(update={"sites": (few,)}), reader.folder / "sites", 7, workers=1)
    site = (reader.folder / "sites" / few.name).rename(reader.folder / "hospital-a")
    shutil.copy(ROOT / "studies" / "demo-imaging.toml", reader.folder / "study.toml")
    shutil.copytree(site / "images", reader.folder / "export")
    reader.changes = {"/archive/export": "export", "/mnt/pacs-export": "export"}
    reader.after = {"fedmvi-site discover": lambda said: (site / "manifest.csv").unlink()}


def published_data(reader: Reader, hospitals: Path) -> None:
    """The three data sets, where they are."""
    folders = {"tcga_lihc": "tcga_lihc", "heart_disease": "heart_disease_4centres", "asaur": "hcc_resection_asaur"}
    reader.changes = {f"path/to/{name}": str(public(folder)) for name, folder in folders.items()}


BEFORE: dict[str, Callable[[Reader, Path], None]] = {
    "howto/prepare-a-site.md": a_table,
    "howto/approve-a-study.md": a_prepared_site,
    "howto/use-a-model.md": a_finished_run,
    "howto/write-a-study.md": simulated_hospitals,
    "howto/public-data.md": published_data,
    "howto/prepare-images.md": images_of_a_few_patients,
    "howto/name-the-images.md": images_of_a_few_patients,
    "howto/prepare-gene-expression.md": sequenced_patients,
    "howto/radiogenomics.md": without_flower,
    "howto/simulate-a-consortium.md": fewer_patients,
}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in FOLLOWED_ELSEWHERE])
def test_a_page_can_be_followed_to_its_end(reader: Reader, hospitals: Path, page: str) -> None:
    if all(is_elsewhere(page, typed.line) for typed in typed_on(DOCS / page)):
        return
    BEFORE.get(page, nothing)(reader, hospitals)
    reader.follow(page)


def test_what_is_not_typed_here_is_typed_by_the_test_that_is_named() -> None:
    for page, listed in ELSEWHERE.items():
        pages = [page] if page else PAGES
        lines = [typed.line for each in pages for typed in typed_on(DOCS / each)]
        for one in listed:
            test = (ROOT / "tests" / one.test).read_text(encoding="utf-8")
            begun = [line for line in lines if line.startswith(one.begins)]
            assert begun, f"no longer there: {page} {one}"
            if one.why:
                assert one.why in NO_TEST_CAN and one.words and one.words in test, one
            else:
                assert len(begun) == 1, f"more than one of {page} begins so: {one}"
                assert f'type_from("{page}", ' in test and f'"{one.begins}"' in test, one
    for page, test in FOLLOWED_ELSEWHERE.items():
        assert f'"{page}"' in (ROOT / "tests" / test).read_text(encoding="utf-8"), page


def test_make_demo_is_the_command_that_a_test_types() -> None:
    told = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "--old-file", "install", "demo"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.splitlines() == [".venv/bin/fedmvi-simulate demo --out runs/demo"]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_stands_in_a_block_that_says_so(page: str) -> None:
    """A block without a language is an output, a file or a tree: nobody would type it here."""
    for _, language, text in sections((DOCS / page).read_text(encoding="utf-8")):
        if language not in ("sh", "console"):
            assert not re.search(r"^(\$ |fedmvi-)", text, re.MULTILINE), text
