"""client/preparation: a patient's images, aligned and comparable, on the voxels on which features are computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.images.case import Scan
from client.imaging.bias import find_bias, without_bias
from client.imaging.intensity import body_mask, normalise
from client.imaging.lesion import box_of
from client.imaging.regions import Made, make_regions
from client.imaging.resampling import Grid, covered, resample_image, resample_mask, whole_grid
from client.imaging.subtraction import subtract
from client.radiomics.cropping import filter_box
from common.errors import FedmviError, Severity
from common.study.preparation import Preparation, Radiomics, phases_of

_ROUNDING = 2
"""Voxels by which a resampled mask may be larger than the box of the mask."""
_MUCH = 0.25
"""Share of a ring whose loss is noted."""


class Comparable:
    """Images of one patient in their own space, with intensities that may be compared; each is made once.

    Attributes
    ----------
    scan
        The images.
    biases
        By phase, bias fields as `find_bias` gives them; one that is not known here is found.
    """

    def __init__(self, scan: Scan, preparation: Preparation) -> None:
        self.scan, self._preparation = scan, preparation
        self.biases: dict[str, sitk.Image] = {}
        self._corrected: dict[str, tuple[sitk.Image, sitk.Image | None]] = {}

    def corrected(self, phase: str) -> tuple[sitk.Image, sitk.Image | None]:
        """An image without its bias field, and the body; CT has neither."""
        if phase not in self._corrected:
            image = self.scan.images[phase].image
            body = None
            if self._preparation.modality == "mr":
                body = body_mask(image, "mr")
                if self._preparation.intensity.n4:
                    if phase not in self.biases:
                        self.biases[phase] = find_bias(image, body)
                    image = without_bias(image, body, self.biases[phase])
            self._corrected[phase] = (image, body)
        return self._corrected[phase]

    def normalised(self, phase: str) -> sitk.Image:
        """An image on the scale of `[preparation.intensity]`."""
        image, body = self.corrected(phase)
        return normalise(image, phase, body, self._preparation.intensity)


class Working:
    """The working grid of one patient and reader: regions and images on the same voxels.

    Parameters
    ----------
    images
        The patient's images.
    masks
        By region, on the grid of the reference phase; `tumour` at least.
    transforms
        By phase: from points of the reference phase to points of the phase; the reference has none.
    preparation
        The settings, with `radiomics`.
    """

    def __init__(
        self,
        images: Comparable,
        masks: Mapping[str, sitk.Image],
        transforms: Mapping[str, sitk.Transform],
        preparation: Preparation,
        radiomics: Radiomics,
    ) -> None:
        self._images, self._masks, self._transforms = images, masks, transforms
        self._preparation, self._radiomics = preparation, radiomics
        self._aligned: dict[str, sitk.Image] = {}

    @cached_property
    def grid(self) -> Grid:
        """The part of the reference phase's field of view that the filters need."""
        whole = whole_grid(self._images.scan.images[self._preparation.reference].image,
                           self._preparation.resampling.spacing_mm)  # fmt: skip
        needed = [self._masks["tumour"]]
        if "liver" in self._radiomics.regions and "liver" in self._masks:
            needed.append(self._masks["liver"])
        start, stop = _box(needed, whole, max(self._preparation.rings_mm, default=0.0))
        begin, size = filter_box(whole.size, whole.spacing, start, _less(stop, start), self._radiomics)
        return whole.part(begin, size)

    @cached_property
    def made(self) -> Made:
        """The regions on the working grid."""
        how = self._preparation.resampling.mask
        moved = {region: resample_mask(mask, self.grid, how) for region, mask in self._masks.items()}
        excluded = [moved[name] for name in self._preparation.regions.exclude if name in moved]
        return make_regions(moved["tumour"], moved.get("liver"), excluded, self._preparation)

    def image(self, name: str) -> sitk.Image:
        """A phase, or a difference of two, on the working grid; float32."""
        first, *others = phases_of(name)
        if not others:
            return self._phase(first)
        (second,) = others
        difference: sitk.Image = subtract(self._phase(first), self._phase(second), self._preparation.kind(name).clip)
        return difference

    def uncovered(self, phase: str) -> list[FedmviError]:
        """A warning for every region of which a part lies outside of a phase's field of view."""
        image, transform = self._images.scan.images[phase].image, self._transforms.get(phase)
        shares = {name: covered(image, mask, transform) for name, mask in self.made.masks.items()}
        words = [f"{1 - share:.1%} of {name}" for name, share in shares.items() if share < 1]
        if not words:
            return []
        local = f"{phase}: {', '.join(words)} lies outside of the field of view, and takes its nearest value"
        return [FedmviError(367, local, severity=Severity.WARNING)]

    def _phase(self, phase: str) -> sitk.Image:
        if phase not in self._aligned:
            self._aligned[phase] = resample_image(
                self._images.normalised(phase),
                self.grid,
                self._preparation.resampling.image,
                self._transforms.get(phase),
            )
        return self._aligned[phase]


def region_rows(made: Made) -> list[dict[str, Any]]:
    """A row for every region: its volume in mL, the share of a ring that is lost, parts of the tumour's mask."""
    return [
        {
            "region": name,
            "volume_ml": float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)))
            * math.prod(mask.GetSpacing())
            / 1000,
            "lost": made.lost.get(name),
            "parts": made.parts if name == "tumour" else None,
        }
        for name, mask in made.masks.items()
    ]


def lost_rings(made: Made) -> list[FedmviError]:
    """A note for every ring of which much is lost."""
    return [
        FedmviError(
            373, f"{name}: {share:.0%} lies outside of the liver or in excluded regions", severity=Severity.NOTE
        )
        for name, share in made.lost.items()
        if share > _MUCH
    ]


def _box(
    masks: Sequence[sitk.Image], whole: Grid, reach_mm: float
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First voxel of a whole grid, and the one behind the last, that hold masks and what is within a distance."""
    axes = np.reshape(whole.direction, (3, 3))
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for mask in masks:
        box = box_of(sitk.GetArrayViewFromImage(mask) != 0)
        if box is None:
            continue
        for end in ("start", "stop"):
            corner = [float(getattr(span, end)) - 0.5 for span in reversed(box)]
            point = np.array(mask.TransformContinuousIndexToPhysicalPoint(corner)) - whole.origin
            index = (axes.T @ point) / whole.spacing
            low, high = np.minimum(low, index), np.maximum(high, index)
    reach = reach_mm / np.array(whole.spacing) + _ROUNDING
    start = np.clip(np.floor(low - reach), 0, np.array(whole.size) - 1).astype(int)
    stop = np.clip(np.ceil(high + reach) + 1, start + 1, whole.size).astype(int)
    return (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))


def _less(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]
