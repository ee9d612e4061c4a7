"""client/imaging: the rigid part of a registration: where the patient, or the liver, as a whole has moved.

Mutual information of Mattes et al., IEEE Trans Med Imaging 2003; 22: 120, and its optimisation are SimpleITK's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.imaging.quality import normalised_mutual_information
from client.imaging.resampling import Grid, bounding_box, resample_image

SAMPLES = 20_000
"""Voxels at which the metric is sampled, by a fixed seed; more change the result by less than a tenth of a voxel."""
_SEED = 20231
_SHRINK = (4, 2, 1)
_SMOOTH_MM = (8.0, 4.0, 0.0)
_BINS = 32
_STEP_MM, _LAST_STEP_MM, _ITERATIONS = 4.0, 0.02, 60


def find_rigid(fixed: sitk.Image, moving: sitk.Image, region: sitk.Image) -> sitk.Euler3DTransform:
    """The rigid transform that makes the mutual information of two images in a region largest.

    It starts from where the scanner says that both are, from the middles of both images, or from the centres of mass,
    whichever agrees best. One thread and a fixed seed: the same images give the same numbers, bit for bit.

    Parameters
    ----------
    fixed, moving
        float32, of some 3 mm, clipped to what matters.
    region
        uint8 on the grid of `fixed`: where the metric is taken; not empty.

    Returns
    -------
    sitk.Euler3DTransform
        From points of `fixed` to points of `moving`; turns about the middle of the region.

    Raises
    ------
    RuntimeError
        Of SimpleITK, where no metric can be taken because the images do not overlap, or one is constant.
    """
    start = _start(fixed, moving, region)
    box = bounding_box(region)[::-1]
    fixed, region = (sitk.RegionOfInterest(image, *box) for image in (fixed, region))
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricFixedMask(region)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(_shares(region), _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SMOOTH_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(_STEP_MM, _LAST_STEP_MM, _ITERATIONS, relaxationFactor=0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start


def _shares(region: sitk.Image) -> list[float]:
    """The share of voxels to sample at every level, so that it is about `SAMPLES` of the region."""
    inside = float(np.count_nonzero(sitk.GetArrayViewFromImage(region)))
    return [min(1.0, SAMPLES / (inside / factor**3)) for factor in _SHRINK]


def _start(fixed: sitk.Image, moving: sitk.Image, region: sitk.Image) -> sitk.Euler3DTransform:
    first, size = bounding_box(region)
    cut = [sitk.RegionOfInterest(image, size, first) for image in (fixed, region)]
    chosen = sitk.GetArrayViewFromImage(cut[1]) != 0
    here = sitk.GetArrayViewFromImage(cut[0])[chosen]
    middle = np.argwhere(chosen).mean(axis=0)[::-1]
    centre = cut[1].TransformContinuousIndexToPhysicalPoint(middle.tolist())
    best, agreement = sitk.Euler3DTransform(centre), -np.inf
    for shift in ((0.0, 0.0, 0.0), _between_middles(fixed, moving), _between_masses(fixed, moving)):
        start = sitk.Euler3DTransform(centre, 0.0, 0.0, 0.0, shift)
        there = sitk.GetArrayFromImage(resample_image(moving, Grid.of(cut[0]), "linear", start))[chosen]
        value = normalised_mutual_information(here, there)
        if value > agreement:
            best, agreement = start, value
    return best


def _between_middles(fixed: sitk.Image, moving: sitk.Image) -> Sequence[float]:
    ends = [
        np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        for image in (fixed, moving)
    ]
    return [float(value) for value in ends[1] - ends[0]]


def _between_masses(fixed: sitk.Image, moving: sitk.Image) -> Sequence[float]:
    ends = []
    for image in (fixed, moving):
        weight = sitk.GetArrayViewFromImage(image).astype(np.float64)
        weight -= weight.min()
        sums = [weight.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in (2, 1, 0)]
        place = [float(values @ np.arange(values.size) / values.sum()) for values in sums]
        ends.append(np.array(image.TransformContinuousIndexToPhysicalPoint(place)))
    return [float(value) for value in ends[1] - ends[0]]
