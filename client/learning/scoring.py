"""client/learning: probabilities of the grades, as the mean over combinations of slices and by the first slices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.learning.combinations import combination_logits
from client.learning.dataset import Learners
from client.learning.device import Device, computing
from client.learning.model import Arrays, images_of, load_network, portions, slice_vectors
from common.errors import FedmviError
from common.networks.normalisation import MIN_ESTIMATED
from common.networks.weights import local_state
from common.study.networks import Network

FEWEST = MIN_ESTIMATED
"""Patients from whose images statistics of normalisation may be estimated."""


def probabilities(
    network: Network, learners: Learners, weights: NDArray[np.float32], local: Arrays | None
) -> dict[str, NDArray[np.float32]]:
    """Score patients, in float32 whatever the training's precision.

    Parameters
    ----------
    network
        The protocol's.
    learners
        n patients; labels are not looked at.
    weights
        (p,) shared weights.
    local
        `Trained.local` that goes with the weights. None, where the network has normalisation of its own at each site:
        its statistics are estimated on these patients (`estimate_statistics`).

    Returns
    -------
    `mean`: (n, classes) the mean of the softmax over all combinations; `first`: (n, classes) of the first slices. A
    combination whose softmax is no number has equal probabilities: a refusal would tell that somebody's is.

    Raises
    ------
    FedmviError
        392 out of memory; 393 too few patients to estimate statistics on; 686 weights of another network.
    """
    if local is None and network.statistics_stay:
        local = estimate_statistics(network, learners, weights)
    exact = network.training.model_copy(update={"precision": "fp32"})
    with computing(exact) as device, torch.inference_mode():
        net = load_network(network, learners.sequences, weights, local or {}, device).eval()
        classes, scores = net.architecture.classes, []
        for rows in portions(learners, np.arange(learners.n), device):
            images, present = images_of(learners, rows, device)
            vectors = slice_vectors(net, images, present, device)
            each = combination_logits(net, vectors, present).softmax(dim=-1).nan_to_num(1 / classes)
            scores.append(torch.stack([each.mean(dim=1), each[:, 0]]).cpu())
    mean, first = torch.cat(scores, dim=1).numpy() if scores else np.zeros((2, 0, classes), dtype=np.float32)
    return {"mean": mean, "first": first}


def mean_vectors(
    network: Network, learners: Learners, weights: NDArray[np.float32], local: Arrays | None
) -> NDArray[np.float64]:
    """(n, k, d) the mean over slices of the trunk's vectors of each sequence; zeros where a patient lacks it.

    Parameters and errors as of `probabilities`.
    """
    if local is None and network.statistics_stay:
        local = estimate_statistics(network, learners, weights)
    exact = network.training.model_copy(update={"precision": "fp32"})
    with computing(exact) as device, torch.inference_mode():
        net = load_network(network, learners.sequences, weights, local or {}, device).eval()
        shape = (learners.n, len(learners.sequences), net.architecture.dimension)
        means = np.zeros(shape)
        for rows in portions(learners, np.arange(learners.n), device):
            images, present = images_of(learners, rows, device)
            means[rows] = slice_vectors(net, images, present, device).double().mean(dim=2).cpu().numpy()
    return means


def estimate_statistics(
    network: Network, learners: Learners, weights: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Means and variances of normalisation layers from images without labels (AdaBN: Li et al., 2016).

    They are averages over batches (`torch.optim.swa_utils.update_bn`). With `fedbn` scales and shifts, which no site
    hands on, are 1 and 0.

    Returns
    -------
    As `Trained.local`.

    Raises
    ------
    FedmviError
        392 out of memory; 393 fewer than `FEWEST` patients; 686 weights of another network.
    """
    if learners.n < FEWEST:
        raise FedmviError(393, f"{learners.n} patients for {', '.join(learners.sequences)}", fewest=FEWEST)
    exact = network.training.model_copy(update={"precision": "fp32"})
    with computing(exact) as device, torch.inference_mode():
        net = load_network(network, learners.sequences, weights, {}, device)
        torch.optim.swa_utils.update_bn(_batches(learners, device), net.trunk)
        return local_state(net)


def _batches(learners: Learners, device: Device) -> Iterator[Tensor]:
    """(m, 1, h, w) the slices of a portion of patients."""
    for rows in portions(learners, np.arange(learners.n), device):
        images, present = images_of(learners, rows, device)
        if bool(present.any()):
            yield images[present].reshape(-1, 1, *images.shape[-2:])
