"""client/learning: a network with broadcast weights and the site's own state, and vectors of patients' slices.

The trunk sees every distinct slice once; its vectors serve all combinations that the slice is part of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.learning.dataset import Learners
from client.learning.device import Device
from common.errors import FedmviError
from common.networks.architecture import CLASSES, Architecture, architecture_of
from common.networks.intensity import normalised
from common.networks.network import MviNetwork, build
from common.networks.weights import load_local_state, load_vector, local_state, vector_size
from common.study.networks import Network

Arrays = Mapping[str, NDArray[Any]]


def load_network(
    network: Network, sequences: tuple[str, ...], weights: NDArray[np.float32], local: Arrays, device: Device
) -> MviNetwork:
    """A network on the device.

    Parameters
    ----------
    network, sequences
        The protocol's, and its branches.
    weights
        (p,) shared; their number says whether there are two or three classes.
    local
        The site's state of an earlier round. Without normalisation of its own in it, where the network has one, layers
        begin as they were made: mean 0, variance 1, scale 1, shift 0.

    Raises
    ------
    FedmviError
        686 weights or state of another network.
    """
    net = build(fitting_architecture(network, sequences, weights), seed=0)
    load_vector(net, weights)
    own = {name: local[name] for name in local_state(net) if name in local}
    if own:
        load_local_state(net, own)
    device.place(net)
    return net


def fitting_architecture(network: Network, sequences: tuple[str, ...], weights: NDArray[np.float32]) -> Architecture:
    """The architecture, of two or three classes, that has as many weights; error 686 if none has."""
    candidates = [architecture_of(network, sequences, classes) for classes in CLASSES]
    fitting = [a for a in candidates if vector_size(a) == weights.size]
    if not fitting:
        raise FedmviError(686, f"{weights.size} weights for {network.name} on {', '.join(sequences)}")
    return fitting[0]


def images_of(learners: Learners, rows: NDArray[np.int64], device: Device) -> tuple[Tensor, Tensor]:
    """(n, k, s, h, w) normalised images of some patients on the device, and (n, k) which sequences they have."""
    images = torch.from_numpy(learners.images[rows]).to(device.device)
    body = torch.from_numpy(learners.body[rows]).to(device.device)
    return normalised(images, body), torch.from_numpy(learners.present[rows]).to(device.device)


def slice_vectors(net: MviNetwork, images: Tensor, present: Tensor, device: Device) -> Tensor:
    """(n, k, s, d) float32: the trunk's vector of each slice; of sequences that a patient lacks, zeros."""
    n, k, s, h, w = images.shape
    whole = torch.zeros((n, k, s, net.architecture.dimension), device=images.device)
    if not bool(present.any()):
        return whole
    slices = images[present].reshape(-1, 1, h, w).contiguous(memory_format=torch.channels_last)
    with device.autocast():
        vectors = net.features(slices).float()
    whole[present] = vectors.view(-1, s, vectors.shape[-1])
    return whole


def portions(learners: Learners, rows: NDArray[np.int64], device: Device) -> Iterator[NDArray[np.int64]]:
    """Patients in portions that are in the trunk together: as many as memory is set aside for, at least one."""
    most = patients_at_once(learners, device)
    yield from (rows[at : at + most] for at in range(0, rows.size, most))


def patients_at_once(learners: Learners, device: Device) -> int:
    """How many patients' slices may be in the trunk at a time."""
    return max(device.pixels_at_once // int(np.prod(learners.images.shape[1:])), 1)
