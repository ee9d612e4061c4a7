"""tests: a small consortium with drawn ROI stacks, and a network that its sites are asked to train."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.learning.workbench import shared_size
from common.federation.learning import Job, Member, RoundLoss, RoundUpdate, ScorePatients, TrainRound
from common.federation.query import Ask, perform, total
from common.study.loader import parse_study
from common.study.networks import Network
from common.study.protocol import Study
from simulation.importers.folder import introduce
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from tests.disclosure.consortium import Consortium

NETWORK_STUDY = """
[study]
name = "small-network"
title = "A small network"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "external"
role = "external-test"
sites = ["d"]

[preparation]
modality = "mr"
phases = ["t1", "t1v"]
reference = "t1v"

[preparation.registration]
method = "rigid"

[preparation.stacks]
slices = 2
size = 32

[[networks]]
name = "net"
endpoint = "mvi"
cohort = "train"
evaluate = ["external"]
sequences = ["t1", "t1v"]
combinations = [["t1v"], ["t1", "t1v"]]
normalisation = "silobn"
width = 8
blocks = 1
size = 32
folds = 5
seeds = 2

[networks.training]
batch = 8

[networks.federation]
rounds = 5
"""

BARE_STUDY = NETWORK_STUDY.replace("[[endpoints]]", "[limits]\nmin_cell = 3\n\n[[endpoints]]", 1)
"""The same with so small a cell that folds of 24 patients reach it where nothing is masked."""

ONE = ("t1v",)
JOB = Job("net", ONE, 0, 1)
POLICY = 'approved_studies = ["any"]\nmin_class = 3\nmin_cell = 3\n'
SITES = ("a", "b", "c", "d")


def make_networks(folder: Path, text: str = NETWORK_STUDY, *, masked: bool = True, policy: str = POLICY) -> Consortium:
    """Sites with stacks, ready to open a run; those that mask have met."""
    study = parse_study(text)
    make_learning_hospitals(folder, study, Drawing(seed=3, patients=24))
    folders = {name: folder / name for name in SITES}
    for name in SITES:
        set_policy(folders[name], policy, masked=masked)
    if masked:
        introduce(folders)
    return Consortium(folders, study)


def anew(folder: Path, to: Path, text: str, *, masked: bool, policy: str = POLICY) -> Consortium:
    """The same sites with the same secrets and stacks, at which nothing was opened yet, and another protocol."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("runs", "work", "ledger.jsonl"))
    folders = {name: to / name for name in SITES}
    for site in folders.values():
        set_policy(site, policy, masked=masked)
    return Consortium(folders, parse_study(text))


def set_policy(folder: Path, policy: str, *, masked: bool = True) -> None:
    """Replace the policy in a site's file."""
    head = (folder / "site.toml").read_text(encoding="utf-8").split("[policy]")[0]
    masks = "" if masked else 'masks = "off"\n'
    (folder / "site.toml").write_text(f"{head}[policy]\n{masks}{policy}", encoding="utf-8")


def network(study: Study) -> Network:
    return study.networks[0]


def weights(study: Study, combination: tuple[str, ...] = ONE, seed: int = 0) -> NDArray[np.float32]:
    from common.networks.architecture import architecture_of
    from common.networks.network import build
    from common.networks.weights import to_vector

    made: NDArray[np.float32] = to_vector(build(architecture_of(network(study), combination, 2), seed))
    assert made.size == shared_size(study, network(study), combination)
    return made


def round_of(study: Study, number: int = 0, before: str = "", **changes: object) -> TrainRound:
    """A round of `JOB` as an honest server asks for it, but for what is changed."""
    none = np.empty(0, dtype=np.float32)
    honest = TrainRound("train", JOB, number, weights(study), none, (0.8, 1.25), before)
    return replace(honest, **changes)  # type: ignore[arg-type]


def update_of(ask: Ask, **changes: object) -> RoundUpdate:
    asked = ask.question
    assert isinstance(asked, TrainRound)
    honest = RoundUpdate(asked.cohort, asked.job.summed, asked.job, asked.round, ask.digest, asked.weights.size)
    return replace(honest, **changes)  # type: ignore[arg-type]


def loss_of(task: Ask) -> RoundLoss:
    asked = task.question
    assert isinstance(asked, TrainRound)
    return RoundLoss(asked.cohort, asked.job.summed, asked.job, asked.round, task.digest)


def message(task: TrainRound) -> tuple[Ask, Ask, Ask]:
    """What one round of a job asks."""
    ask = perform(task)
    return ask, total(update_of(ask)), total(loss_of(ask))


def members(study: Study, local: Mapping[int, str] | None = None) -> tuple[Member, ...]:
    known = local or {}
    return tuple(Member(fold, weights(study), known.get(fold, "")) for fold in range(5))


def scoring(study: Study, cohort: str = "train", **changes: object) -> ScorePatients:
    from common.federation.learning import WHOLE

    who = members(study) if cohort == "train" else (Member(WHOLE, weights(study)),)
    return replace(ScorePatients(cohort, "net", ONE, 0, who), **changes)  # type: ignore[arg-type]
