"""client/learning: a network with batch normalisation, adapted to a site by its own images: no label is looked at.

Means and variances of all normalisation layers are estimated anew (AdaBN: Li et al., arXiv 1603.04779, 2016) and
shrunk towards those of training, which count as k patients (N / (N + n) and n / (N + n) of Schneider et al., NeurIPS
2020, arXiv 2006.16971).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.learning.augmentation import draw_variation, varied
from client.learning.dataset import Learners
from client.learning.device import Device, computing
from client.learning.model import fitting_architecture, images_of, load_network
from client.learning.scoring import FEWEST, probabilities
from common.networks.adapting import AdaptNetwork
from common.networks.weights import statistics_of, with_statistics
from common.statistics.score_mixture import ADAPTED, adapted_verdict
from common.statistics.shift_verdict import Verdict
from common.study.networks import Network
from common.study.recipe import SCORE_DECIMALS
from common.study.table import FloatArray

Statistics = Mapping[str, NDArray[np.float32]]
Weights = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Adapted:
    """What a site made of a network.

    Attributes
    ----------
    verdict
        See `adapted_verdict`.
    statistics
        Means and variances by layer with which the site scores; empty where those of training are kept.
    before, after
        (n,) scores with the statistics of training, and with these.
    """

    verdict: Verdict
    statistics: Statistics
    before: FloatArray
    after: FloatArray


def adapt(network: Network, learners: Learners, task: AdaptNetwork, seed: bytes) -> Adapted:
    """Estimate, judge and score.

    Parameters
    ----------
    network
        The protocol's, with `normalisation = "batch"`.
    learners
        n patients; labels are not looked at.
    task
        Weights, shrinkage and reference.
    seed
        Of how slices are varied.

    Raises
    ------
    FedmviError
        392 out of memory; 686 weights of another network.
    """
    weights = task.member.weights
    before = _scores(network, learners, weights)
    seen: NDArray[np.bool_] = np.asarray(learners.present.any(axis=1))
    pictured = learners.keep(seen)
    kept = Adapted(Verdict.CANNOT_TELL, {}, before, before)
    if pictured.n < FEWEST:
        return kept
    found = adapted_statistics(network, pictured, weights, task.patients, seed)
    if not all(np.isfinite(array).all() for array in found.values()):
        return kept
    after = _scores(network, learners, adapted_weights(network, learners.sequences, weights, found))
    verdict = adapted_verdict(before[seen], after[seen], task.reference)
    return Adapted(verdict, found, before, after) if verdict in ADAPTED else Adapted(verdict, {}, before, before)


def adapted_statistics(
    network: Network, learners: Learners, weights: Weights, patients: float, seed: bytes
) -> dict[str, NDArray[np.float32]]:
    """Means and variances by layer: n / (n + k) of those estimated on n patients, the rest of those of training.

    n is of patients, not of pixels or slices: what differs from one patient to the next is what an estimate lacks.
    """
    trained, found = _estimated(network, learners, weights, seed)
    own = learners.n / (learners.n + patients)
    return {
        name: ((1.0 - own) * trained[name].astype(np.float64) + own * values.astype(np.float64)).astype(np.float32)
        for name, values in found.items()
    }


def adapted_weights(network: Network, sequences: tuple[str, ...], weights: Weights, statistics: Statistics) -> Weights:
    """(p,) the weights with other statistics, in whose place those of training were."""
    if not statistics:
        return weights
    return with_statistics(fitting_architecture(network, sequences, weights), weights, statistics)


def _estimated(network: Network, learners: Learners, weights: Weights, seed: bytes) -> tuple[Statistics, Statistics]:
    """Statistics of training, and those of these patients.

    One pass in training mode, every layer by the statistics of its own batch, averaged over batches with equal
    weights (`torch.optim.swa_utils.update_bn`). It is done as training does it, so that what differs is the patients
    and not the way: slices are varied as there, and a batch has as many patients as there (or a few more, where they
    do not divide evenly), whatever the device holds at once. Patients are dealt out in the order of their ids.
    """
    exact = network.training.model_copy(update={"precision": "fp32"})
    with computing(exact) as device, torch.inference_mode():
        net = load_network(network, learners.sequences, weights, {}, device)
        trained = statistics_of(net)
        torch.optim.swa_utils.update_bn(_batches(network, learners, device, seed), net.trunk)
        return trained, statistics_of(net)


def _batches(network: Network, learners: Learners, device: Device, seed: bytes) -> Iterator[Tensor]:
    """(m, 1, h, w) the slices of a batch of patients."""
    settings, k = network.training.augmentation, len(learners.sequences)
    order = np.array(sorted(range(learners.n), key=learners.ids.__getitem__), dtype=np.int64)
    count = max(learners.n // network.training.batch, 1)
    for first in range(count):
        rows = order[first::count]
        images, present = images_of(learners, rows, device)
        if settings is not None:
            ids = [learners.ids[row] for row in rows]
            images = varied(images, draw_variation(settings, seed, 0, ids, k, learners.slices), settings.noise)
        slices = images[present].reshape(-1, 1, *images.shape[-2:])
        yield slices.contiguous(memory_format=torch.channels_last)


def _scores(network: Network, learners: Learners, weights: Weights) -> FloatArray:
    """(n,) probabilities of presence by the network's way of inference, rounded as all scores are."""
    given = probabilities(network, learners, weights, {})[network.inference].astype(np.float64)
    scores: FloatArray = np.round(np.clip(given[:, 1:].sum(axis=1), 0.0, 1.0), SCORE_DECIMALS)
    return scores
