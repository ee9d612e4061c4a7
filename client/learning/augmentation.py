"""client/learning: how slices are varied in training: flips, crops, scale and noise, in one pass on the device.

Every distinct slice is varied once an epoch, whatever the number of combinations that it is part of. Flip, crop and
scale are one affine grid a slice (Jaderberg et al., NeurIPS 2015, equation 1), so that pixels are interpolated once.
MONAI's random transforms take one image at a time, on whichever device; its batched layer is the same two functions of
torch as here. What is drawn depends on seed, epoch and patient alone: neither on who else is in a batch nor on the
device, but for the noise, whose numbers are of the device's generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from client.learning.noise import KeyedStream
from common.study.networks import Augmentation

_DRAWS = 6
"""Two flips, the crop's side, its row and column, and the scale."""


@dataclass(frozen=True)
class Variation:
    """What was drawn for n patients.

    Attributes
    ----------
    maps
        (n, k, s, 2, 3): from the new image to the old one, both from -1 to 1 and x first.
    noise_seeds
        (n,) of the noise of each patient's slices.
    """

    maps: NDArray[np.float32]
    noise_seeds: tuple[int, ...]


def draw_variation(
    settings: Augmentation, seed: bytes, epoch: int, ids: Sequence[str], sequences: int, slices: int
) -> Variation:
    """Draw for every slice of these patients in an epoch.

    The crop is a square of side U(crop) at a uniform place within the slice, magnified by U(scale) around its middle;
    what then lies beyond it is what the slice has there. Flips are left-right and up-down, each with `flip`.
    """
    count = sequences * slices * _DRAWS
    draws = np.empty((len(ids), count + 1))
    for row, patient in zip(draws, ids, strict=True):
        row[:] = KeyedStream(seed, (b"augmentation", b"%d" % epoch, patient.encode())).uniform(count + 1)
    across, down, side, x, y, scale = np.moveaxis(draws[:, :-1].reshape(len(ids), sequences, slices, _DRAWS), -1, 0)
    side = settings.crop[0] + (settings.crop[1] - settings.crop[0]) * side
    scale = settings.scale[0] + (settings.scale[1] - settings.scale[0]) * scale
    maps = np.zeros((len(ids), sequences, slices, 2, 3), dtype=np.float32)
    for axis, (flip, place) in enumerate(((across, x), (down, y))):
        maps[..., axis, axis] = np.where(flip < settings.flip, -1, 1) * side / scale
        maps[..., axis, 2] = (2 * place - 1) * (1 - side)
    return Variation(maps, tuple(int(value * 2**52) for value in draws[:, -1]))


def varied(images: Tensor, variation: Variation, noise: float) -> Tensor:
    """Slices as drawn: (n, k, s, h, w) normalised images, on their device.

    Beyond its border a slice goes on as at its border. `noise` is the standard deviation of what is added, in the unit
    of the images.
    """
    n, k, s, h, w = images.shape
    maps = torch.from_numpy(variation.maps).to(images.device).flatten(0, 2)
    grid = functional.affine_grid(maps, [n * k * s, 1, h, w], align_corners=False)
    moved = functional.grid_sample(
        images.reshape(n * k * s, 1, h, w), grid, mode="bilinear", padding_mode="border", align_corners=False
    ).view(images.shape)
    if noise > 0:
        for patient, seed in zip(moved, variation.noise_seeds, strict=True):
            generator = torch.Generator(images.device).manual_seed(seed)
            patient.add_(torch.randn(patient.shape, generator=generator, device=images.device), alpha=noise)
    return moved
