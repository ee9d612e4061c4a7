"""common/networks: from stored intensities to numbers that a network can compare, image by image, on the device.

z = (x - median) / spread of the patient's body on that image, where spread = (P90 - P10) / 2.563: the standard
deviation if intensities were normal, and unmoved by the tenth at either end (vessels, lung, metal). It is the same for
MR, whose unit is arbitrary, and for CT, where fat at -100 HU and liver at 60 HU lie about two units apart. Values below
the body's first percentile are raised to it: so padding, which has that value (`imaging/stacks.py`), is the darkest
that an image has. Values above `BRIGHTEST` are lowered to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.study.features import LANDMARKS

BRIGHTEST = 6.0
"""Largest z."""

_FIRST, _P10, _P50, _P90 = (LANDMARKS.index(at) for at in (1, 10, 50, 90))
_NORMAL = 2.5631031
"""Distance of the 10th and the 90th percentile of a standard normal distribution."""
_FLAT = 1e-6
"""An image whose body has less contrast than this shows nothing, and becomes 0."""


def normalised(images: Tensor, body: Tensor) -> Tensor:
    """Intensities as z.

    Parameters
    ----------
    images
        (n, k, s, h, w) as stored.
    body
        (n, k, landmarks) of each image; all 0 where there is none, which then is 0 throughout.

    Returns
    -------
    Like `images`, float32, between the image's z of the first percentile and `BRIGHTEST`.
    """
    landmarks = body.float()[:, :, None, None, None, :]
    spread = (landmarks[..., _P90] - landmarks[..., _P10]) / _NORMAL
    scale = torch.where(spread > _FLAT, 1 / spread.clamp_min(_FLAT), torch.zeros_like(spread))
    darkest = (landmarks[..., _FIRST] - landmarks[..., _P50]) * scale
    z = (images.float() - landmarks[..., _P50]) * scale
    return torch.maximum(z, darkest).clamp_max(BRIGHTEST)
