"""client/learning: a site's optimiser, by torch, and its moments as arrays that can be kept from round to round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from common.study.networks import Training

PREFIX = "optimiser."


def make_optimiser(training: Training, net: nn.Module, local: Mapping[str, NDArray[Any]]) -> Optimizer:
    """The protocol's optimiser for a network, with the moments that `local` has if they are to be kept."""
    parameters, rate, decay = list(net.parameters()), training.learning_rate, training.weight_decay
    optimiser: Optimizer
    if training.optimiser == "sgd":
        optimiser = SGD(parameters, lr=rate, momentum=training.momentum, weight_decay=decay)
    else:
        kind = Adam if training.optimiser == "adam" else AdamW
        optimiser = kind(parameters, lr=rate, weight_decay=decay)
    kept: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in local.items() if training.keep_optimiser else ():
        if key.startswith(PREFIX):
            index, name = key.removeprefix(PREFIX).split(".")
            kept.setdefault(int(index), {})[name] = torch.from_numpy(np.array(value, dtype=np.float32))
    if kept:
        optimiser.load_state_dict({**optimiser.state_dict(), "state": kept})
    return optimiser


def moments(training: Training, optimiser: Optimizer) -> dict[str, NDArray[np.float32]]:
    """What `make_optimiser` goes on from: `optimiser.<parameter>.<moment>`; nothing if it is not to be kept."""
    if not training.keep_optimiser:
        return {}
    state = optimiser.state_dict()["state"]
    return {
        f"{PREFIX}{index}.{name}": value.detach().cpu().numpy().astype(np.float32, order="C")
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }
