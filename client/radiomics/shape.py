"""client/radiomics: shape features of a region: once per region, since no image and no filter changes them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813
from radiomics import shape

from client.radiomics.cropping import Box, cropped
from common.study.features import CLASSES


def shape_features(mask: sitk.Image, box: Box) -> dict[str, float]:
    """Shape features as pyradiomics defines them, by `shape_<name>`.

    Parameters
    ----------
    mask
        uint8 of 0 and 1.
    box
        The region's bounding box in `mask`.

    Returns
    -------
    mm, mm2, mm3 and ratios; NaN where one is not defined, such as the sphericity of a flat region.
    """
    part = cropped(mask, box)
    features = shape.RadiomicsShape(part, part)
    features.enabledFeatures = dict.fromkeys(CLASSES["shape"], True)
    with np.errstate(all="ignore"):
        values = {name: float(value) for name, value in features.execute().items()}
    return {f"shape_{name}": values[name] if np.isfinite(values[name]) else np.nan for name in CLASSES["shape"]}
