"""client/radiomics: filtered images, computed once for all regions and only where they are needed.

Names and values are those of pyradiomics 3.0.1 (`imageoperations.getLoGImage`, `getWaveletImage`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk  # noqa: N813
from radiomics import imageoperations

from client.radiomics.cropping import LEAST, Box, Triple, cropped, inner, log_box, replaced, wavelet_box
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
    along each of the others (smoothing), and adds up the three in float32. The same is done here in the same order, so
    the result is the same to the last bit; but an axis is cropped as soon as it has been filtered, since its margin is
    not needed any more. That halves the time.

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
    part, within = cropped(image, outer), inner(box, outer)
    total = np.zeros(box[1][::-1], np.float32)
    for axis, width in enumerate(image.GetSpacing()):
        line = part
        for along in (axis, *(other for other in range(3) if other != axis)):
            order = sitk.RecursiveGaussianImageFilter.SecondOrder if along == axis else _SMOOTH
            line = _along(sitk.RecursiveGaussian(line, sigma, True, order, along), along, within)
        term = sitk.GetArrayViewFromImage(line).astype(np.float64) * (1 / width**2)
        total = (total + term).astype(np.float32)
    result = sitk.GetImageFromArray(total)
    result.CopyInformation(line)
    return result


_SMOOTH = sitk.RecursiveGaussianImageFilter.ZeroOrder


def _along(image: sitk.Image, axis: int, box: Box) -> sitk.Image:
    """An image cropped along one axis."""
    size: Triple = image.GetSize()
    return cropped(image, (replaced((0, 0, 0), axis, box[0][axis]), replaced(size, axis, box[1][axis])))
