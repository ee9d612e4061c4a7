"""client/radiomics: every feature of every image and region of a patient, as plain pyradiomics computes them, sooner.

The same numbers as `radiomics.featureextractor.RadiomicsFeatureExtractor` gives on the same whole images with
`binWidth` of the protocol (relative difference up to 1e-6; tests print it), without what it repeats: filters are
computed once for all regions and only where they are needed, grey levels are binned once for all classes, and shape is
computed once for all images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.radiomics.classes import LARGEST_LEVELS, LARGEST_SPAN, Region, discretise, measure, span_of
from client.radiomics.cropping import Box, bounding_box, cropped, inner, union
from client.radiomics.filters import filtered
from client.radiomics.shape import shape_features
from common.errors import FedmviError, Severity
from common.study.features import FEATURE
from common.study.preparation import Preparation, Radiomics

LEAST_VOXELS = 27
"""A region of fewer voxels has no features: not one of its voxels need have all of its 26 neighbours."""


@dataclass
class Extracted:
    """Features of a patient.

    Attributes
    ----------
    values
        By column, in the order of the protocol; NaN where a feature is missing.
    problems
        Regions that are too small (372) and images whose intensities cannot be (333, 362); all are warnings.
    """

    values: dict[str, float] = field(default_factory=dict)
    problems: list[FedmviError] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """How many features are missing."""
        return sum(1 for value in self.values.values() if np.isnan(value))


@dataclass(frozen=True)
class _Placed:
    """A region and its bounding box."""

    name: str
    box: Box
    region: Region


def extract(
    images: Mapping[str, sitk.Image],
    regions: Mapping[str, sitk.Image],
    preparation: Preparation,
    *,
    patient: str = "",
) -> Extracted:
    """Compute all features of `preparation.radiomics`.

    Parameters
    ----------
    images
        float32 by name, of phases and subtractions, after registration, resampling, normalisation and clipping; all
        on one grid, which is the part of the volume that `cropping.filter_box` names, or the whole volume.
    regions
        uint8 of 0 and 1 by name, on the same grid.
    preparation
        Names of images, regions and classes, filters, widths of bins.
    patient
        Whose images these are, for the local text of problems.

    Returns
    -------
    A value for every column of `preparation.feature_names()` whose image and region are given.
    """
    radiomics = preparation.radiomics
    if radiomics is None:
        return Extracted()
    result = Extracted()
    usable = [placed for name in radiomics.regions if name in regions
              for placed in _usable(name, regions[name], result, patient)]  # fmt: skip
    computed: dict[str, float] = {}
    if usable:
        if "shape" in radiomics.classes and preparation.reference in images:
            for placed in usable:
                found = shape_features(regions[placed.name], placed.box)
                computed |= _named(preparation.reference, placed.name, "original", found)
        for name in preparation.images:
            if name in images:
                computed |= _of_image(name, images[name], usable, preparation, radiomics, result, patient)
    result.values = {
        name: computed.get(name, np.nan) for name in preparation.feature_names() if _is_wanted(name, images, regions)
    }
    return result


def _is_wanted(name: str, images: Mapping[str, sitk.Image], regions: Mapping[str, sitk.Image]) -> bool:
    parts = FEATURE.fullmatch(name)
    return parts is not None and parts["image"] in images and parts["region"] in regions


def _usable(name: str, mask: sitk.Image, result: Extracted, patient: str) -> Iterator[_Placed]:
    """The region, or a problem where it is too small: like pyradiomics, it must be wide along two axes at least."""
    box = bounding_box(mask)
    if box is not None:
        start, stop = box[0], np.add(*box)
        at = tuple(slice(first, last) for first, last in zip(start[::-1], stop[::-1], strict=True))
        inside = sitk.GetArrayViewFromImage(mask)[at] != 0
        voxels = int(inside.sum())
        if voxels >= LEAST_VOXELS and sum(width > 1 for width in box[1]) >= 2:
            yield _Placed(name, box, Region(inside))
            return
    size = "no voxel" if box is None else f"{voxels} voxels, {' x '.join(map(str, box[1]))}"
    local = f"{patient}: {name}: {size}; {LEAST_VOXELS} are needed, and two axes along which it is wider than a voxel"
    result.problems.append(FedmviError(372, local, severity=Severity.WARNING))


def _of_image(
    name: str,
    image: sitk.Image,
    regions: list[_Placed],
    preparation: Preparation,
    radiomics: Radiomics,
    result: Extracted,
    patient: str,
) -> dict[str, float]:
    """All features but shape of one image."""
    kinds = [kind for kind in radiomics.classes if kind != "shape"]
    width = preparation.kind(name).bin_width
    if width is None:
        raise ValueError(f"{name} has no width of bins: the protocol was not validated")
    box = union(placed.box for placed in regions)
    values: dict[str, float] = {}
    odd: dict[tuple[int, str], list[str]] = {}
    for filter_name, part in filtered(image, radiomics, box):
        for placed in regions:
            voxels = cropped(part, inner(placed.box, box))
            span = span_of(voxels, placed.region)
            if not np.isfinite(span):
                odd.setdefault((333, placed.name), []).append(filter_name)
                continue
            if span > LARGEST_SPAN * width:
                odd.setdefault((362, placed.name), []).append(filter_name)
                continue
            binned = discretise(voxels, placed.region, width)
            if binned.present[-1] > LARGEST_LEVELS:
                odd.setdefault((362, placed.name), []).append(filter_name)
            values |= _named(name, placed.name, filter_name, measure(binned, kinds))
    for (number, region), filters in odd.items():
        what = "voxels that are not numbers" if number == 333 else f"more than {LARGEST_LEVELS} grey levels, no texture"
        local = f"{patient}: {name}: {region}: {what} ({', '.join(filters)})"
        result.problems.append(FedmviError(number, local, severity=Severity.WARNING))
    return values


def _named(image: str, region: str, filtered_as: str, found: Mapping[str, float]) -> dict[str, float]:
    return {f"{image}.{region}.{filtered_as}_{feature}": value for feature, value in found.items()}
