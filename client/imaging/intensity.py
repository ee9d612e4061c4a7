"""client/imaging: from stored intensities to comparable ones: body, landmarks, and the scale.

The piecewise linear scale is that of Nyul et al., IEEE Trans Med Imaging 2000; 19: 143, on the percentiles `LANDMARKS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from client.imaging.lesion import image_like
from common.errors import FedmviError
from common.study.features import LANDMARKS
from common.study.preparation import Intensity, Modality

_SKIN_HU = -300.0
_BODY_MM = 3.0
"""Voxels are averaged to about this width before the body is sought: noise falls, and so does memory."""
_GAP_MM = 9.0
"""Gaps in the skin up to twice as wide are closed, as where fat is suppressed, so that what it encloses is filled."""
_FAINT = 0.01
"""MR: signals below this share of the brightest count as equal, so that the logarithm does not spread noise."""
_BRIGHTEST = 99.0
"""Percentile that counts as the brightest: one hot pixel does not matter."""

_Z_SCALE = 100.0
_LOWEST, _HIGHEST = 0.0, 100.0


def body_mask(image: sitk.Image, modality: Modality) -> sitk.Image:
    """The patient without air and table, with lungs and bowel: the largest part above a threshold, holes filled.

    CT: above -300 HU. MR: above the threshold of Otsu (IEEE Trans Syst Man Cybern 1979; 9: 62) on the logarithm of the
    signal above its minimum, so that neither a gain nor an offset matters; the logarithm keeps fat, several times as
    bright as muscle, from being told from muscle. The body is found on voxels of about 3 mm and opened by one of them,
    which cuts off a table. Gaps are closed and holes filled slice by slice, since lungs are open where the image ends.

    Parameters
    ----------
    image
        3D; CT in HU.
    modality
        `ct` or `mr`.

    Returns
    -------
    sitk.Image
        uint8 of 0 and 1 on the image's grid.

    Raises
    ------
    FedmviError
        380 where nothing is above the threshold.
    """
    coarse = sitk.BinShrink(image, _factors(image))
    above = coarse > _SKIN_HU if modality == "ct" else _bright(coarse)
    opened = sitk.BinaryMorphologicalOpening(above, [1 if n > 2 else 0 for n in above.GetSize()], sitk.sitkCross)
    labels, parts = ndimage.label(sitk.GetArrayViewFromImage(opened))
    if not parts:
        raise FedmviError(380, "no voxel is above the threshold")
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    closing = [round(_GAP_MM / step) for step in coarse.GetSpacing()[:2]]
    closed = sitk.BinaryMorphologicalClosing(image_like(largest.astype(np.uint8), coarse), [*closing, 0])
    levels = sitk.GetArrayViewFromImage(closed) != 0
    filled = np.stack([ndimage.binary_fill_holes(level) for level in levels]).astype(np.uint8)
    # An image that ends within an averaged voxel has a last row of its own, which takes the body next to it.
    return sitk.Resample(
        image_like(filled, coarse), image, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8, True
    )


def body_percentiles(image: sitk.Image, body: sitk.Image) -> tuple[float, ...]:
    """Intensities of the body at the percentiles `LANDMARKS`, linearly interpolated between voxels.

    Raises
    ------
    FedmviError
        380 where the body is empty, or as good as all of it has one intensity.
    """
    found = np.percentile(_within(image, body), LANDMARKS)
    if not found[0] < found[-1]:
        raise FedmviError(380, f"the body's intensities lie between {found[0]:g} and {found[-1]:g}")
    return tuple(float(value) for value in found)


def landmarks_of(image: sitk.Image, body: sitk.Image) -> tuple[float, ...]:
    """The body's percentiles on a scale where the first is 0 and the last 100: this image's part in learning Nyul's.

    The mean over images of each landmark is the standard scale (Nyul et al. 2000, equation 3).

    Raises
    ------
    FedmviError
        380 as in `body_percentiles`.
    """
    found = np.array(body_percentiles(image, body))
    scaled = _LOWEST + (_HIGHEST - _LOWEST) * (found - found[0]) / (found[-1] - found[0])
    return tuple(float(value) for value in scaled)


def normalise(image: sitk.Image, phase: str, body: sitk.Image | None, intensity: Intensity) -> sitk.Image:
    """An image of a phase on the protocol's scale, then clipped.

    Parameters
    ----------
    image
        3D; corrected for bias where the protocol says so.
    phase
        Its name, for the landmarks.
    body
        Mask on the image's grid; none is needed where the scale is `none`.
    intensity
        `z-score`: 100 times the distance from the body's mean in standard deviations (of the population). `nyul`:
        linear between landmarks; beyond them as in the first and the last piece.

    Returns
    -------
    sitk.Image
        float32 on the same grid; where the scale is `none`, of the type it had.

    Raises
    ------
    FedmviError
        380 where the body is empty, or as good as all of it has one intensity.
    ValueError
        Where a scale is asked for without a body.
    """
    if intensity.scale != "none":
        if body is None:
            raise ValueError(f"the scale {intensity.scale} needs a body")
        image = sitk.Cast(image, sitk.sitkFloat32)
        if intensity.scale == "z-score":
            image = _z_score(image, body)
        else:
            image = _piecewise(image, body_percentiles(image, body), intensity.landmarks[phase])
    clip = intensity.phase.clip
    clipped: sitk.Image = sitk.Clamp(image, image.GetPixelID(), *clip) if clip else image
    return clipped


def _z_score(image: sitk.Image, body: sitk.Image) -> sitk.Image:
    values = _within(image, body)
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    if not deviation > 0:
        raise FedmviError(380, f"every voxel of the body is {mean:g}")
    voxels = sitk.GetArrayViewFromImage(image).astype(np.float64)
    return image_like(((voxels - mean) * (_Z_SCALE / deviation)).astype(np.float32), image)


def _piecewise(image: sitk.Image, found: tuple[float, ...], scale: tuple[float, ...]) -> sitk.Image:
    """Nyul's map from the percentiles of this image to the standard scale."""
    # Percentiles that coincide, as where much of the body is 0, share the middle of what they stand for.
    at, which = np.unique(found, return_inverse=True)
    to = np.bincount(which, weights=scale) / np.bincount(which)
    slopes = np.diff(to) / np.diff(at)
    voxels = sitk.GetArrayViewFromImage(image).astype(np.float64)
    piece = np.clip(np.searchsorted(at, voxels, side="right") - 1, 0, len(slopes) - 1)
    return image_like((to[piece] + slopes[piece] * (voxels - at[piece])).astype(np.float32), image)


def _bright(image: sitk.Image) -> sitk.Image:
    """Where an MR image holds more than noise."""
    voxels = sitk.GetArrayViewFromImage(image).astype(np.float64)
    low, high = float(voxels.min()), float(np.percentile(voxels, _BRIGHTEST))
    if not low < high:
        raise FedmviError(380, f"nearly all voxels are {low:g}")
    logarithm = np.log(np.clip((voxels - low) / (high - low), _FAINT, 1.0)).astype(np.float32)
    above: sitk.Image = sitk.OtsuThreshold(image_like(logarithm, image), 0, 1, 256)
    return above


def _factors(image: sitk.Image) -> list[int]:
    """How many voxels along each axis are about `_BODY_MM`, at least 1."""
    return [min(max(round(_BODY_MM / step), 1), n) for step, n in zip(image.GetSpacing(), image.GetSize(), strict=True)]


def _within(image: sitk.Image, body: sitk.Image) -> NDArray[Any]:
    values: NDArray[Any] = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(body) != 0]
    if not values.size:
        raise FedmviError(380, "the body is empty")
    return values
