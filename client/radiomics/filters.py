"""client/radiomics: filtered images, computed once for all regions and only where they are needed.

Names and values are those of pyradiomics 3.0.1 (`imageoperations.getLoGImage`, `getWaveletImage`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from radiomics import imageoperations

from client.radiomics.cropping import LEAST, Box, cropped, inner, log_box, wavelet_box
from client.radiomics.gaussian import gaussian_matrix
from common.study.features import filter_names
from common.study.preparation import Radiomics


def filtered(image: sitk.Image, radiomics: Radiomics, box: Box) -> Iterator[tuple[str, sitk.Image]]:
    """Every filtered image in a box.

    Parameters
    ----------
    image
        float32; a whole volume, or the part of it that `cropping.filter_box` names.
    radiomics
        The filters.
    box
        Where the values are wanted, in voxels of `image`.

    Yields
    ------
    Name of the filter as pyradiomics writes it, `original` first, and the filtered image in the box. A LoG filter
    that is wider than the image is left out, as pyradiomics does.
    """
    yield "original", cropped(image, box)
    size = image.GetSize()
    for sigma in radiomics.log_sigma_mm:
        needed = (max(LEAST, math.ceil(sigma / width) + 1) for width in image.GetSpacing())
        if all(count >= least for count, least in zip(size, needed, strict=True)):
            yield filter_names([sigma], wavelet=False)[1], laplacian_of_gaussian(image, sigma, box)
    if radiomics.wavelet != "none":
        part = wavelet_box(size, box, radiomics.wavelet)
        for band, name, _ in imageoperations.getWaveletImage(cropped(image, part), None, wavelet=radiomics.wavelet):
            yield name, cropped(band, inner(box, part))


def laplacian_of_gaussian(image: sitk.Image, sigma: float, box: Box) -> sitk.Image:
    """The Laplacian of a Gaussian in a box of an image, normalised across scales.

    ITK's filter of that name runs, for every axis, a recursive filter along this axis (second derivative) and then one
    along each of the others (smoothing), and adds up the three in float32. The same is done here in the same order and
    rounded at the same places, but by matrices, and for no more voxels along an axis than are wanted. Of a million
    voxels a few differ in the last bit of a float32.

    Parameters
    ----------
    image
        float32, at least 4 voxels along every axis.
    sigma
        Width in mm.
    box
        Where the values are wanted, in voxels of `image`.
    """
    outer = log_box(image.GetSize(), image.GetSpacing(), box, sigma)
    within = inner(box, outer)
    # Not a view, which would outlive the image that nothing else holds.
    part = sitk.GetArrayFromImage(cropped(image, outer)).astype(np.float64)
    smooth, bend = (
        [
            gaussian_matrix(n, sigma, width, order)[first : first + count]
            for n, width, first, count in zip(outer[1], image.GetSpacing(), *within, strict=True)
        ]
        for order in _ORDERS
    )
    total = np.zeros(box[1][::-1], np.float32)
    for axis, width in enumerate(image.GetSpacing()):
        lines = _along(part, bend[axis], axis)
        for other in range(3):
            if other != axis:
                lines = _along(lines.astype(np.float64), smooth[other], other)
        total = (total + lines.astype(np.float64) * (1 / width**2)).astype(np.float32)
    result = sitk.GetImageFromArray(total)
    result.CopyInformation(cropped(image, box))
    return result


_ORDERS: tuple[Literal[0], Literal[2]] = (0, 2)


def _along(voxels: NDArray[np.float64], matrix: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """Voxels (z, y, x) times a matrix along x, y or z, rounded as ITK rounds them between two axes."""
    if axis == 0:
        return (voxels @ matrix.T).astype(np.float32)
    if axis == 1:
        return (matrix @ voxels).astype(np.float32)
    return (matrix @ voxels.reshape(voxels.shape[0], -1)).reshape(-1, *voxels.shape[1:]).astype(np.float32)
