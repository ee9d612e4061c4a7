"""server: whole studies of networks over gated sites: every kind of training, masked or not, killed at any moment."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from client.answering import answer_message
from client.release.ledger import Ledger
from common.federation.codec import Packed
from common.study.loader import load_study
from server.study.execution import Action, execute
from server.study.run_directory import RunDirectory
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.running import Simulation
from tests.server.study.test_steps import check_steps

ROOT = Path(__file__).parents[3]

DOOMED = """
import sys
from pathlib import Path
from tests.server.study.test_resume import doomed
doomed(*map(Path, sys.argv[1:]), "work", 150)
"""
"""Conducts a study in a process of its own, which has no threads yet, until the first round is half done."""

HEAD = """
[study]
name = "all-networks"
title = "All kinds of networks"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[endpoints]]
name = "grade"
kind = "ordinal"
columns = ["mvi_grade"]
levels = [["M0"], ["M1"], ["M2"]]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "external"
role = "external-test"
sites = ["d"]

[limits]
min_class = 3
min_cell = 3
min_test_class = 5

[preparation]
modality = "mr"
phases = ["t1v"]
reference = "t1v"

[preparation.registration]
method = "rigid"

[preparation.stacks]
slices = 2
size = 32
"""

NETWORK = """
[[networks]]
name = "{name}"
endpoint = "{endpoint}"
cohort = "train"
combinations = [["t1v"]]
width = 8
blocks = 1
size = 32
seeds = 1
{further}

[networks.training]
learning_rate = 3e-3
batch = 8
augmentation = false

[networks.federation]
rounds = {rounds}
epochs_per_round = {epochs}
strategy = "{strategy}"
{tables}
"""

GRADED = """present = "mvi"
evaluate = ["external"]
normalisation = "batch"
adaptation = { cohorts = ["external"] }
"""

STUDY = HEAD + "".join(
    NETWORK.format(
        name=name, endpoint=endpoint, further=further, strategy=strategy, rounds=rounds, epochs=epochs, tables=tables
    )
    for name, endpoint, further, strategy, rounds, epochs, tables in (
        ("graded", "grade", GRADED, "fedavg", 2, 4, ""),
        ("local", "mvi", 'normalisation = "silobn"', "scaffold", 1, 4, ""),
        ("private", "mvi", "", "fedprox", 1, 1, "[networks.privacy]\nepsilon = 50.0\ndelta = 1e-3"),
    )
)

MASKED = "min_class = 5\n"
"""Each hospital has five patients of M2, and three of them in what a fold leaves to train on."""


def set_policy(folder: Path, limits: str) -> None:
    """Replace the policy in a site's file."""
    head = (folder / "site.toml").read_text(encoding="utf-8").split("[policy]")[0]
    policy = f'[policy]\napproved_studies = ["any"]\nrelease_alone = true\nmin_cell = 3\n{limits}'
    (folder / "site.toml").write_text(head + policy, encoding="utf-8")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("protocol") / "study.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hospitals(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hospitals") / "sites"
    make_learning_hospitals(out, load_study(study), Drawing(seed=3, patients=25, effect=2.0, shift=0.0))
    for path in out.glob("*/site.toml"):
        set_policy(path.parent, MASKED)
    return out


def simulation_of(study: Path, hospitals: Path, folder: Path) -> Simulation:
    """A run over copies of the hospitals, not yet conducted."""
    shutil.copytree(hospitals, folder / "sites")
    return Simulation.of(study, folder / "sites", folder / "run", in_process=True)


@pytest.fixture(scope="module")
def masked(study: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    simulation = simulation_of(study, hospitals, tmp_path_factory.mktemp("masked"))
    told: list[str] = []
    simulation.conduct(Action.RUN, told.append)
    (simulation.run.folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
    return simulation


def results_of(simulation: Simulation) -> dict[str, dict[str, Any]]:
    found = json.loads(simulation.run.results_file.read_text(encoding="utf-8"))["results"]
    return {result["id"]: result for result in found}


def test_every_kind_of_training_passes_the_gate_under_masks_and_is_reported(masked: Simulation) -> None:
    results = results_of(masked)
    parts = ("selection", "training.t1v", "combinations.train", "performance.t1v.train", "pictures.t1v")
    told = {f"network.{name}.{part}" for name in ("graded", "local") for part in parts}
    # So few patients teach a private network nothing; that it was trained is what is asked here.
    assert {results[one]["status"] for one in {*told, "network.private.training.t1v"}} == {"estimated"}
    assert results["network.graded.combinations.train"]["how"] == "exact-masked"
    alone = results["network.graded.performance.t1v.external.d"]
    assert (alone["status"], alone["how"]) == ("estimated", "site-alone")


def test_trainings_take_the_rounds_that_the_protocol_allows_and_no_more(masked: Simulation) -> None:
    """One that counts the classes, two and one that measures, for all folds together; then two at most on everybody."""
    told = json.loads((masked.run.folder / "told.json").read_text(encoding="utf-8"))
    steps = check_steps(masked.run, told)
    most = {step.words: step.most for step in steps if step.network == "graded"}
    assert list(most.values()) == [4, 2], most


def test_a_hospital_by_itself_adapts_the_network_and_tells_whether_and_how_well(masked: Simulation) -> None:
    adapted = results_of(masked)["network.graded.adaptation.external.d"]
    assert (adapted["status"], adapted["how"], adapted["n"]) == ("estimated", "site-alone", 25)
    found = {(e["name"], e["term"]): e for e in adapted["estimates"]}
    trained = results_of(masked)["network.graded.performance.t1v.external.d"]["estimates"][0]
    assert found["auc", "before"]["value"] == trained["value"], "the same patients and scores"
    told, (after, before) = found["auc_difference", ""], (found["auc", side]["value"] for side in ("after", "before"))
    assert told["value"] == pytest.approx(after - before) and told["low"] <= told["value"] <= told["high"]
    decision = found["adapted", "d"]
    assert decision["value"] in (0.0, 1.0) and decision["note"]


def test_what_its_fall_is_made_of_passes_the_gate_at_a_hospital_by_itself(masked: Simulation) -> None:
    results = results_of(masked)
    fall = results["network.graded.drop.external.d"]
    assert (fall["status"], fall["how"], fall["n"]) == ("estimated", "site-alone", 25)
    found = {(e["name"], e["term"]): e for e in fall["estimates"]}
    for step, cohort in (("out_of_fold", "train"), ("observed", "external.d")):
        (area,) = [e for e in results[f"network.graded.performance.t1v.{cohort}"]["estimates"]
                   if (e["name"], e["term"]) == ("auc", "mean")]  # fmt: skip
        assert found[step, "auc"]["value"] == area["value"]
    promised = found["expected", "auc"]
    assert promised["low"] < promised["value"] < promised["high"]
    parts = [found[name, "auc"]["value"] for name in ("case_mix", "remaining")]
    assert sum(parts) == pytest.approx(found["out_of_fold", "auc"]["value"] - found["observed", "auc"]["value"])


def test_three_grades_pass_the_gate_with_fewer_of_a_grade_in_a_fold_than_a_class_needs(masked: Simulation) -> None:
    performance = results_of(masked)["network.graded.performance.t1v.train"]
    grades = next(table for table in performance["tables"] if table["name"] == "mean, by the likeliest grade")
    assert grades["rows"] == grades["columns"] == ["M0", "M1", "M2"]
    named = {(e["name"], e["term"]) for e in performance["estimates"]}
    assert {("grade_accuracy", "mean"), ("recall", "mean, M2"), ("f1", "first, M1")} <= named


def test_what_private_training_has_spent_is_reported_and_is_within_the_protocol(masked: Simulation) -> None:
    training = results_of(masked)["network.private.training.t1v"]
    spent = {e["term"]: e["value"] for e in training["estimates"] if e["name"] == "epsilon"}
    assert training["how"] == "private(50)"
    assert {f"fold {fold} held out" for fold in range(1, 6)} <= set(spent)
    # One round is all that the protocol pays for, and the noise is the least that keeps within it.
    assert all(49.5 < value <= 50 for value in spent.values())


def test_each_hospital_keeps_pictures_of_the_cohorts_that_it_is_in(masked: Simulation) -> None:
    pictures = results_of(masked)["network.graded.pictures.t1v"]["estimates"]
    assert {(e["term"], e["value"]) for e in pictures} == {("train", 3), ("external", 1)}
    for name, site in masked.sites.items():
        pages = list(site.folder.glob("store/work/*/*/explained.html"))
        # The page of each network that was chosen; of the private one there may be none.
        assert len(pages) >= (1 if name == "d" else 2)
        assert all("t1v" in page.read_text(encoding="utf-8").lower() for page in pages)


def test_plain_sums_give_the_masked_results_to_the_last_byte_but_their_label(
    study: Path, hospitals: Path, masked: Simulation, tmp_path: Path
) -> None:
    plain = simulation_of(study, hospitals, tmp_path)
    for site in plain.sites.values():
        # A part that is not masked is this site's alone, and all of it must reach the limit.
        set_policy(site.folder, 'masks = "off"\nmin_class = 3\n')
    plain.conduct(Action.RUN, lambda _: None)
    theirs = plain.run.results_file.read_bytes()
    assert b"-masked" not in theirs
    assert masked.run.results_file.read_bytes().replace(b'-masked"', b'"') == theirs


class Crashed(BaseException):
    """The server's process ends here: nothing catches it."""


@dataclass
class Crashing:
    """Sites in this process, and a server that dies in every message once, when half of the sites have answered."""

    folders: Mapping[str, Path]
    seen: set[str] = field(default_factory=set)

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        name = "".join(sorted(message.digest for message in messages.values()))
        for i, (site, message) in enumerate(messages.items()):
            reply = answer_message(self.folders[site], message)
            if name not in self.seen and i == len(messages) // 2:
                self.seen.add(name)
                raise Crashed
            yield site, reply


def test_killed_in_training_and_then_in_every_message_once_the_run_ends_with_the_same_bytes(
    study: Path, hospitals: Path, masked: Simulation, tmp_path: Path
) -> None:
    sites, out = tmp_path / "sites", tmp_path / "run"
    shutil.copytree(hospitals, sites)
    killed = subprocess.run(
        [sys.executable, "-c", DOOMED, str(study), str(sites), str(out)], cwd=ROOT, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert list(sites.glob("*/store/work/*/*/arrays.npz")) and not (out / "models").exists(), "in training"
    run = RunDirectory(out)
    crashing = Crashing({name: sites / name for name in masked.sites})
    crashes = 0
    while not run.results_file.exists():
        try:
            execute(run, crashing, Action.RUN, lambda _: None)
        except Crashed:
            crashes += 1
    assert crashes == len(crashing.seen) > 20
    assert run.results_file.read_bytes() == masked.run.results_file.read_bytes()
    for ledger in sites.glob("*/store/ledger.jsonl"):
        given: dict[str, set[str]] = {}
        for entry in Ledger(ledger).entries():
            given.setdefault(entry["question"], set()).add(entry["answer"])
        assert all(len(answers) == 1 for answers in given.values()), "one question, two different answers"
