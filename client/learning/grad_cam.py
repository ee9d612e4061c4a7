"""client/learning: where in a slice the network sees what raises a patient's score: Grad-CAM."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from common.networks.network import MviNetwork


def heat_maps(net: MviNetwork, slices: Tensor, present: Tensor | None = None) -> NDArray[np.float32]:
    """Grad-CAM of the last bottleneck (Selvaraju et al., ICCV 2017, equations 1 and 2) for every slice of each patient.

    What is explained is the log-odds that MVI is present, as the mean over all combinations of slices. A map is as
    coarse as the bottleneck, an eighth of the slice's rows and columns, and is enlarged by linear interpolation. It
    shows where channels are active that raise the score, weighted by how much they do; what lowers it is left out.

    Parameters
    ----------
    net
        The network; its normalisation layers use their running statistics.
    slices
        (n, k, s, h, w) normalised as for scoring, on the network's device.
    present
        (n, k) bool, False where a patient lacks the sequence, whose maps are 0; None: all are there.

    Returns
    -------
    (n, k, s, h, w), not negative, in log-odds per pixel of the bottleneck; comparable within a patient.
    """
    training = net.training
    net.eval()
    # One patient at a time: the trunk's maps of all of them together may be more than there is memory.
    heat = [
        _of_patient(net, slices[i : i + 1], None if present is None else present[i : i + 1]) for i in range(len(slices))
    ]
    net.train(training)
    found: NDArray[np.float32] = torch.cat([slices[:0], *heat]).float().cpu().numpy()
    return found


def _of_patient(net: MviNetwork, slices: Tensor, present: Tensor | None) -> Tensor:
    n, k, s, h, w = slices.shape
    with torch.no_grad():
        maps = net.trunk.maps(slices.reshape(n * k * s, 1, h, w))
    with torch.enable_grad():
        maps.requires_grad_()
        vectors = maps.mean(dim=(2, 3)).reshape(n, k, s, -1)
        logits = net.combine(vectors, present)
        odds = torch.logsumexp(logits[..., 1:], dim=-1) - logits[..., 0]
        (gradient,) = torch.autograd.grad(odds.mean(), maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = functional.relu((weights * maps.detach()).sum(dim=1, keepdim=True))
    return functional.interpolate(heat, size=(h, w), mode="bilinear", align_corners=False).reshape(n, k, s, h, w)
