"""simulation: benchmarks: shift: a small network that is adapted to the images of a target hospital.

Four hospitals train a network of batch normalisation, federated, on the pictures of this benchmark, cut around the
lesion. The target has the shifts of `scenarios`, none of them chosen for networks; gain and offset are left out, to
which a network is blind, because every image is normalised by itself. What is asked is what adaptation brings where
images differ, costs where nothing does, and does where MVI is more frequent: by every hospital, or as hospitals judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from client.learning.adapting import adapt, adapted_statistics, adapted_weights
from client.learning.dataset import UNKNOWN, Learners
from client.learning.scoring import probabilities
from common.federation.learning import WHOLE, Member
from common.networks.adapting import AdaptNetwork
from common.statistics.calibration import BinnedRisks
from common.statistics.refinement import order_keys
from common.statistics.roc import delong
from common.statistics.score_mixture import GRID, ScoreClasses
from common.study.features import LANDMARKS
from common.study.loader import parse_study
from common.study.networks import Network
from common.study.recipe import Frame, Recipe
from common.study.table import FloatArray
from simulation.benchmarks.shift.cohorts import stream
from simulation.benchmarks.shift.patients import PREVALENCE, Patients, draw_patients
from simulation.benchmarks.shift.pictures import ARTERIAL, PLAIN, SIZE, Pictures, draw_pictures
from simulation.benchmarks.shift.scenarios import JUDGED, JUDGED_SCENARIOS, NONE, SEVERITIES, Scanner, training_scanner
from simulation.benchmarks.shift.trained_otherwise import OTHERWISE, TrainedOtherwise, trained_otherwise
from simulation.learning.ways import Ways

SEQUENCES = (PLAIN, ARTERIAL)
HOSPITALS = ("a", "b", "c", "d")
CUT = 16
"""Pixels around the lesion, which become 32."""
TRAINED, ALWAYS, BY_SCORES = "as trained", "always adapted", "as hospitals judge"
WAYS = (TRAINED, ALWAYS, BY_SCORES, *OTHERWISE)

STUDY = """
[study]
name = "adapted-network"
title = "A network that is adapted to a hospital's images"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c", "d"]

[[cohorts]]
name = "target"
role = "external-test"
sites = ["e"]

[preparation]
modality = "mr"
phases = ["t1", "t1a"]
reference = "t1a"

[preparation.registration]
method = "rigid"

[preparation.stacks]
size = 32

[[networks]]
name = "net"
endpoint = "mvi"
cohort = "train"
evaluate = ["target"]
combinations = [["t1", "t1a"]]
normalisation = "batch"
width = 8
blocks = 1
size = 32
seeds = 1
adaptation = { cohorts = ["target"] }

[networks.training]
learning_rate = 3e-3
batch = 8
precision = "fp32"
augmentation = { crop = [0.9, 1.0], scale = [0.95, 1.05], noise = 0.02 }

[networks.federation]
rounds = 10
epochs_per_round = 2
patience = 8
"""


@dataclass(frozen=True)
class Sizes:
    """Patients: of each hospital that trains, of the target by whom it is adapted, and in whom it is measured."""

    trained: int = 100
    here: int = 100
    tested: int = 1000


@dataclass(frozen=True)
class Target:
    """What differs at the target: its scanner, and how frequent MVI is."""

    name: str
    scanner: Scanner
    prevalence: float = PREVALENCE


def _targets() -> tuple[Target, ...]:
    known = {one.name: one for one in (*JUDGED_SCENARIOS, *SEVERITIES)}
    images = [f"{kind}-{JUDGED}" for kind in ("bias", "noise", "blur", "spacing", "timing")]
    found = [Target(NONE.name, NONE.scanner), *(Target(name, known[name].scanner) for name in images)]
    for severity in (JUDGED, 3):
        name = f"label-{severity}"
        found.append(Target(name, NONE.scanner, known[name].prevalence or PREVALENCE))
    both = known[f"blur-{JUDGED}"], known[f"label-{JUDGED}"]
    found.append(Target(f"{both[0].name} and {both[1].name}", both[0].scanner, both[1].prevalence or PREVALENCE))
    return tuple(found)


TARGETS = _targets()
IMAGES = tuple(target.name for target in TARGETS if target.scanner != NONE.scanner and target.prevalence == PREVALENCE)


@dataclass(frozen=True)
class AdaptedTarget:
    """One target of one seed.

    Attributes
    ----------
    areas
        By way.
    risk_errors
        By way, |log odds of the observed frequency less that of the mean risk|.
    verdict
        Of the hospital, by its scores.
    """

    areas: Mapping[str, float]
    risk_errors: Mapping[str, float]
    verdict: str


def adapted_seed(seed: int, sizes: Sizes) -> dict[str, AdaptedTarget]:
    """Train, and adapt to every target: by target."""
    torch.set_num_threads(1)
    network = parse_study(STUDY).networks[0]
    task, others = _developed(seed, network, sizes)
    return {target.name: _at(seed, network, task, others, target, sizes) for target in TARGETS}


def _developed(seed: int, network: Network, sizes: Sizes) -> tuple[AdaptNetwork, dict[str, TrainedOtherwise]]:
    """The network as it is frozen, with the out-of-fold scores of its training patients; and those of `OTHERWISE`."""
    sites = {}
    for name in HOSPITALS:
        draw = stream(seed, f"network, hospital {name}")
        patients = draw_patients(sizes.trained, draw)
        pictures = draw_pictures(patients, training_scanner(draw), draw)
        sites[name] = {network.cohort: _learners(name, patients, pictures, labelled=True)}
    with TemporaryDirectory(prefix="fedmvi-adapting-") as folder:
        ways = Ways(parse_study(STUDY), network, SEQUENCES, sites, Path(folder))
        trained = ways.federated()
        scores = ways.scored(trained, network.cohort).present[0]
        others = trained_otherwise(ways, trained.rounds)
    labels = np.concatenate([sites[name][network.cohort].labels for name in HOSPITALS]).astype(np.float64)
    question = BinnedRisks(network.cohort, Recipe(), "score", network.binary, order_keys(GRID))
    sums = question.answer(Frame({"score": scores}, {network.binary: labels}, labels.size))
    weights = next(member.weights for member in trained.members[0] if member.fold == WHOLE)
    k = network.adaptation.patients if network.adaptation is not None else 0
    task = AdaptNetwork("target", network.name, SEQUENCES, 0, Member(WHOLE, weights), k, ScoreClasses.of(sums))
    return task, others


def _at(
    seed: int,
    network: Network,
    task: AdaptNetwork,
    others: Mapping[str, TrainedOtherwise],
    target: Target,
    sizes: Sizes,
) -> AdaptedTarget:
    """The same patients are pictured by every scanner; it is measured in others than those by whom it is adapted."""
    cohorts = []
    for part, n in (("here", sizes.here), ("tested", sizes.tested)):
        draw = stream(seed, f"network, target, {part}")
        patients = draw_patients(n, draw, target.prevalence)
        cohorts.append((_learners("e", patients, draw_pictures(patients, target.scanner, draw)), patients.mvi))
    (here, _), (tested, mvi) = cohorts
    found = adapt(network, here, task, b"target")
    always = adapted_statistics(network, here, task.member.weights, task.patients, b"target")
    by_way = {way: other.scores(here, tested) for way, other in others.items()}
    for way, statistics in ((TRAINED, {}), (ALWAYS, always), (BY_SCORES, found.statistics)):
        weights = adapted_weights(network, SEQUENCES, task.member.weights, statistics)
        by_way[way] = probabilities(network, tested, weights, {})[network.inference][:, 1].astype(np.float64)
    areas, errors = {}, {}
    for way in WAYS:
        scores = by_way[way]
        areas[way] = _area(scores, mvi)
        errors[way] = abs(_log_odds(float(mvi.mean())) - _log_odds(float(scores.mean())))
    return AdaptedTarget(areas, errors, found.verdict.value)


def _area(scores: FloatArray, mvi: FloatArray) -> float:
    values, at = np.unique(scores, return_inverse=True)
    absent, present = (np.bincount(at[mvi == label], minlength=values.size) for label in (0.0, 1.0))
    return delong(absent.astype(np.int64), present.astype(np.int64))[0]


def _log_odds(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))


def _learners(site: str, patients: Patients, pictures: Pictures, *, labelled: bool = False) -> Learners:
    """The lesion and what is around it, as a prepared store has it: one slice of each phase."""
    whole = np.stack([pictures.phases[name] for name in SEQUENCES], axis=1)
    body = np.percentile(whole, LANDMARKS, axis=(2, 3)).transpose(1, 2, 0).astype(np.float32)
    n, labels = patients.n, patients.mvi.astype(np.int64)
    folds = np.empty(n, dtype=np.int64)
    for label in (0, 1):
        folds[labels == label] = np.arange(np.count_nonzero(labels == label)) % 5
    unknown = np.full(n, UNKNOWN, dtype=np.int64)
    drawn = Learners(
        ids=tuple(f"{site}-{i:04d}" for i in range(n)),
        images=_cut(whole, pictures),
        present=np.ones((n, len(SEQUENCES)), dtype=np.bool_),
        labels=labels,
        folds=folds,
        body=body,
        sequences=SEQUENCES,
    )
    return drawn if labelled else replace(drawn, labels=unknown, folds=unknown)


def _cut(whole: NDArray[np.float32], pictures: Pictures) -> NDArray[np.float32]:
    """(n, phases, 1, 2 CUT, 2 CUT) around the middle of the outline."""
    inside, at = pictures.core.astype(np.float64), np.arange(SIZE, dtype=np.float64)
    middles = [inside.sum(axis=axis) @ at / inside.sum(axis=(1, 2)) for axis in (2, 1)]
    rows, columns = (np.clip(np.rint(m - CUT / 2).astype(np.int64), 0, SIZE - CUT) for m in middles)
    parts = [one[:, y : y + CUT, x : x + CUT] for one, y, x in zip(whole, rows, columns, strict=True)]
    larger = functional.interpolate(torch.from_numpy(np.stack(parts)), scale_factor=2.0, mode="bilinear")
    images: NDArray[np.float32] = larger[:, :, None].numpy()
    return images
