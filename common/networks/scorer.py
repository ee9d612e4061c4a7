"""common/networks: a patient's probabilities from his stacks, in the form in which a network is handed on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.networks.intensity import normalised
from common.networks.network import MviNetwork


class PatientScorer(nn.Module):
    """Probabilities of the grades by both ways of inference, from stacks as the prepared store has them.

    Parameters
    ----------
    network
        In evaluation mode.
    """

    def __init__(self, network: MviNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, stacks: Tensor, body: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score patients.

        Parameters
        ----------
        stacks
            (n, k, s, h, w): s slices of each of the k sequences, intensities as acquired.
        body
            (n, k, 11): each image's intensities at the percentiles `common.study.features.LANDMARKS` of the body.
        present
            (n, k) bool, as `MviNetwork.classify` has it.

        Returns
        -------
        (n, classes) mean over all combinations of slices, and (n, classes) by the first slice of each sequence.
        """
        n, k, s, h, w = stacks.shape
        slices = normalised(stacks, body).reshape(n * k * s, 1, h, w)
        features = self.network.features(slices).reshape(n, k, s, -1)
        probabilities = torch.softmax(self.network.combine(features, present), dim=-1)
        return probabilities.mean(dim=1), probabilities[:, 0]
