"""client/learning: terms that strategies add to a site's gradients, so that sites which differ do not drift apart.

FedProx: the gradient of mu/2 |w - w_0|^2 (Li et al., MLSys 2020, equation 2). SCAFFOLD: c - c_i (Karimireddy et al.,
ICML 2020, algorithm 1); a site's new variate is its mean gradient over the round. For plain SGD that is their option
II, c_i - c + (w_0 - w) / (K eta), and it means the same for optimisers whose step is not eta times the gradient. Both
are added after the site's own gradient was clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import FedmviError
from common.networks.network import MviNetwork
from common.networks.weights import shared_names
from common.study.networks import FederatedTraining

VARIATE = "scaffold.variate"
"""A site's own variate, in its local state."""

Arrays = Mapping[str, NDArray[Any]]


class Corrections:
    """The terms of one round.

    Parameters
    ----------
    net
        With the round's first weights.
    federation
        The protocol's.
    variate
        (p,) the server's, or empty: no SCAFFOLD.
    local
        The site's state, with its variate; without one it is 0.

    Raises
    ------
    FedmviError
        686 a variate does not fit the network.
    """

    def __init__(
        self, net: MviNetwork, federation: FederatedTraining, variate: NDArray[np.float32], local: Arrays
    ) -> None:
        self._pairs = _parameters(net)
        self._size = variate.size
        self._steps = 0
        self._proximal = federation.proximal if federation.strategy == "fedprox" else 0.0
        self._start = [parameter.detach().clone() for _, parameter in self._pairs] if self._proximal else []
        if self._size:
            self._own = np.asarray(local.get(VARIATE, np.zeros_like(variate)), dtype=np.float32)
            if self._own.shape != variate.shape or variate.size != _length(net):
                raise FedmviError(686, f"variates of {variate.size} and {self._own.size} numbers")
            self._towards = self._tensors(variate - self._own)
            self._gradients = [torch.zeros_like(parameter) for _, parameter in self._pairs]

    def add(self) -> None:
        """Add the terms to the gradients of a step."""
        self._steps += 1
        for i, (_, parameter) in enumerate(self._pairs):
            gradient = parameter.grad
            if gradient is None:
                continue
            if self._size:
                self._gradients[i] += gradient
                gradient += self._towards[i]
            if self._proximal:
                gradient.add_(parameter.detach() - self._start[i], alpha=self._proximal)

    def finish(self) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """How the site's variate changed, (p,) or empty, and what is kept of it."""
        if not self._size:
            return np.zeros(0, dtype=np.float32), {}
        new = self._own.copy()
        if self._steps:
            for (at, _), total in zip(self._pairs, self._gradients, strict=True):
                new[at] = (total / self._steps).cpu().reshape(-1).numpy()
        return new - self._own, {VARIATE: new}

    def _tensors(self, vector: NDArray[np.float32]) -> list[Tensor]:
        return [
            torch.from_numpy(vector[at].copy()).view(parameter.shape).to(parameter.device)
            for at, parameter in self._pairs
        ]


def _parameters(net: MviNetwork) -> list[tuple[slice, torch.nn.Parameter]]:
    """The shared parameters, and where in the vector of weights each is; statistics have no gradient."""
    parameters, tensors = dict(net.named_parameters()), net.state_dict()
    found, at = [], 0
    for name in shared_names(net):
        end = at + tensors[name].numel()
        if name in parameters:
            found.append((slice(at, end), parameters[name]))
        at = end
    return found


def _length(net: MviNetwork) -> int:
    tensors = net.state_dict()
    return sum(tensors[name].numel() for name in shared_names(net))
