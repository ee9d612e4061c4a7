"""client/predicting: scores of networks for patients whose ROI stacks were just made, as a run scores its patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from client.cohort.store import PIXELS
from client.learning.dataset import UNKNOWN, Learners, resized
from client.learning.performing import scores_of as probabilities_of
from client.preparation.steps import read_result
from common.errors import FedmviError
from common.models.archive import HandedOn
from common.models.network import FrozenNetwork
from common.networks.architecture import architecture_of
from common.networks.weights import read_weights
from common.study.features import LANDMARKS
from common.study.recipe import SCORE_DECIMALS
from common.study.table import FloatArray

AT_ONCE = 16
"""Patients whose stacks are in memory together."""


def scores_of(handed: HandedOn, stacks: Sequence[Mapping[str, Path]], patients: Sequence[str]) -> dict[str, FloatArray]:
    """(n,) the score of every network of the model, by the input's name; NaN for a patient who lacks a sequence.

    Parameters
    ----------
    stacks
        Of every patient, for every phase the finished step that made his ROI stack.
    patients
        (n,) ids.

    Raises
    ------
    FedmviError
        686 or 687 the weights are not those of the network that the model describes, 392 out of memory.
    """
    found = {}
    for name, network in handed.model.networks.items():
        vector = _weights(network, handed.weights[network.name])
        scores = np.full(len(patients), np.nan)
        rows = np.array([row for row, own in enumerate(stacks) if _can_be_scored(network, own)], dtype=np.int64)
        for start in range(0, rows.size, AT_ONCE):
            some = rows[start : start + AT_ONCE]
            learners = _learners(network, [stacks[row] for row in some], [patients[row] for row in some])
            given = probabilities_of(network.network, learners, vector, {})[network.network.inference]
            scores[some] = np.round(np.clip(given[:, 1:].sum(axis=1), 0.0, 1.0), SCORE_DECIMALS)
        found[name] = scores
    return found


def _weights(network: FrozenNetwork, content: bytes) -> NDArray[np.float32]:
    """(p,) shared weights; the file that is read for a moment has nothing of a patient."""
    with TemporaryDirectory(prefix="fedmvi-weights-") as folder:
        path = Path(folder, "weights.safetensors")
        path.write_bytes(content)
        architecture, vector = read_weights(path)
    if architecture != architecture_of(network.network, network.sequences, network.classes):
        raise FedmviError(686, f"{network.name}: {architecture.text}")
    return vector


def _can_be_scored(network: FrozenNetwork, own: Mapping[str, Path]) -> bool:
    enough = any if network.network.missing == "mask" else all
    return enough(sequence in own for sequence in network.sequences)


def _learners(network: FrozenNetwork, stacks: Sequence[Mapping[str, Path]], patients: Sequence[str]) -> Learners:
    """Their stacks; nobody's outcome is known."""
    n, k, size = len(patients), len(network.sequences), network.network.size
    read = {(i, j): _read(own[s]) for i, own in enumerate(stacks) for j, s in enumerate(network.sequences) if s in own}
    slices = len(next(iter(read.values()))[0])
    images = np.zeros((n, k, slices, size, size), dtype=np.float32)
    body = np.zeros((n, k, len(LANDMARKS)), dtype=np.float32)
    present = np.zeros((n, k), dtype=np.bool_)
    for at, (pixels, percentiles) in read.items():
        images[at], body[at], present[at] = resized(pixels, size), percentiles, True
    unknown = np.full(n, UNKNOWN, dtype=np.int64)
    return Learners(tuple(patients), images, present, unknown, unknown, body, network.sequences)


def _read(step: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(s, h, w) and (landmarks,) of a stack; the step was found to be as it was made."""
    return np.load(step / PIXELS, allow_pickle=False), np.array(read_result(step)["percentiles"], dtype=np.float32)
