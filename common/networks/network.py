"""common/networks: the network: one trunk for all sequences, their vectors side by side, one fully connected layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.networks.architecture import Architecture
from common.networks.trunk import Trunk

HEAD_STD = 0.01
"""Of the last layer's first weights: training begins at nearly equal probabilities."""


class MviNetwork(nn.Module):
    """Grades of microvascular invasion from one slice of each of k sequences: (n, k, h, w) -> (n, classes) logits.

    World J Surg Oncol 2022: every sequence passes the same trunk (`Trunk`: 2,209,984 parameters, 512 numbers a
    slice); the vectors are concatenated in canonical order of sequences and pass a fully connected layer, whose
    softmax gives the probabilities of the grades. With `c` classes and `k` sequences it has 2,209,984 + c (512 k + 1)
    parameters: 2,213,058 for two and 2,214,595 for three classes on three sequences. Batch normalisation adds 15,488
    running means and variances.

    Whoever trains on many combinations of slices of the same patients computes `features` of every slice once and
    hands combinations of them to `classify`, or all of them to `combine`; `forward` is the plain way.

    Attributes
    ----------
    architecture
        What it was made of.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.trunk = Trunk(architecture.normalisation, architecture.width, architecture.blocks)
        self.head = nn.Linear(len(architecture.sequences) * architecture.dimension, architecture.classes)

    def features(self, slices: Tensor) -> Tensor:
        """Vectors of any slices of any sequences: (m, 1, h, w) -> (m, d), d = 8 width."""
        vectors: Tensor = self.trunk(slices)
        return vectors

    def classify(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits of one vector of each sequence.

        Parameters
        ----------
        features
            (..., k, d)
        present
            (..., k) bool: False where a patient lacks the sequence, whose branch then enters as zeros; None: all
            are there.

        Returns
        -------
        (..., classes)
        """
        logits: Tensor = self.head(_masked(features, present).flatten(-2))
        return logits

    def combine(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits of every combination of slices, one of each sequence.

        The fully connected layer is a sum over sequences, so each vector is multiplied once, not once a combination.

        Parameters
        ----------
        features
            (n, k, s, d), s slices of each sequence.
        present
            As in `classify`, (n, k).

        Returns
        -------
        (n, s^k, classes); the last sequence's slice changes fastest, and the first combination is that of the first
        slices.
        """
        n, k, s, d = features.shape
        if present is not None:
            features = _masked(features, present[:, :, None].expand(n, k, s))
        weights = self.head.weight.reshape(-1, k, d)
        parts = torch.einsum("nksd,ckd->knsc", features, weights)
        logits = self.head.bias.expand(n, 1, -1)
        for part in parts:
            logits = (logits[:, :, None, :] + part[:, None, :, :]).flatten(1, 2)
        return logits

    def forward(self, images: Tensor, present: Tensor | None = None) -> Tensor:
        """Logits of patients by one slice of each sequence.

        Parameters
        ----------
        images
            (n, k, h, w), sequences in the architecture's order, each image normalised by itself.
        present
            As in `classify`, (n, k).

        Returns
        -------
        (n, classes)
        """
        if self.architecture.normalisation == "group":
            # One pass a sequence: the first axis stays that of patients, which per-patient gradients (Opacus) need.
            vectors = torch.stack([self.features(images[:, i, None]) for i in range(images.shape[1])], dim=1)
        else:
            # Statistics of a batch in training are those of all its sequences, as the running ones are.
            vectors = self.features(images.flatten(0, 1)[:, None]).reshape(*images.shape[:2], -1)
        return self.classify(vectors, present)


def _masked(features: Tensor, present: Tensor | None) -> Tensor:
    return features if present is None else torch.where(present[..., None], features, features.new_zeros(()))


def build(architecture: Architecture, seed: int) -> MviNetwork:
    """A network with random weights on the CPU, in training mode; the same seed gives the same weights.

    Convolutions begin as He et al. (ICCV 2015, equation 15; by outgoing connections), scales at one, shifts at zero.
    The last scale of a bottleneck does not begin at zero, as some do it for long trainings: in the few hundred small
    steps that hospitals afford it would stay near zero, and the bottleneck with it. PyTorch's global generator is
    neither read nor moved.
    """
    with torch.device("meta"):
        network = MviNetwork(architecture)
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=HEAD_STD, generator=generator)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.GroupNorm | nn.BatchNorm2d):
            layer.reset_parameters()
    return network
