"""common/networks: normalisation layers, and what of them belongs to whom."""

from __future__ import annotations

from torch import nn

from common.study.networks import Normalisation

GROUP = 16
"""Fewest channels of a group, where there are as many."""

MIN_ESTIMATED = 20
"""Fewest patients, whose labels are not needed, on whom a new site's statistics are estimated."""

STATISTICS = ("running_mean", "running_var")
"""What a layer with statistics of the batch has besides scale and shift; its count of batches means nothing here."""


def normalisation_layer(kind: Normalisation, channels: int) -> nn.Module:
    """A layer that keeps (m, channels, h, w) in scale.

    `group` (Wu and He, ECCV 2018) uses nothing but the slice itself: it is the same in training and scoring, for any
    batch and at every site. The other kinds are batch normalisation (Ioffe and Szegedy, ICML 2015); they differ in
    what leaves a site, which is `shared_names` in `weights.py`.
    """
    if kind == "group":
        return nn.GroupNorm(groups(channels), channels)
    return nn.BatchNorm2d(channels)


def groups(channels: int) -> int:
    """The most groups that divide the channels and leave 16 or more to each.

    Groups of 16 did as well as the usual 32 groups (Wu and He, table 3). Of 64 channels these would hold two, and
    with so few channels to a group PyTorch's gradient in bfloat16 takes a CPU five times as long.
    """
    most = max(1, channels // GROUP)
    return next(g for g in range(most, 0, -1) if channels % g == 0)
