"""client/radiomics: pyradiomics' classes of features on grey levels that are binned once for all of them.

The formulas are pyradiomics' own code (van Griethuysen et al., Cancer Research 2017; 77: e104). Only what it repeats
for every class is done once here: reading the voxels, binning them, and counting the levels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import radiomics
import SimpleITK as sitk  # noqa: N813
from radiomics import firstorder, glcm, gldm, glrlm, glszm, imageoperations, ngtdm

from client.radiomics.matrices import Floats, Layout, Matrices, count_matrices, lay_lines
from common.study.features import CLASSES, FeatureClass

radiomics.setVerbosity(60)
"""pyradiomics writes warnings and tracebacks to the terminal; a feature that it cannot compute is empty anyway."""

LARGEST_LEVELS = 1000
"""Grey levels of a region beyond which no texture is computed: the matrices have levels x levels x 13 numbers."""

LARGEST_SPAN = 100_000
"""Bins between a region's lowest and highest voxel beyond which they are not even counted."""


@dataclass(frozen=True)
class Region:
    """A region in its bounding box; the same for all images and filters.

    Attributes
    ----------
    mask
        (z, y, x) where the region is.
    """

    mask: npt.NDArray[np.bool_]

    @cached_property
    def layout(self) -> Layout:
        """The region's voxels along every direction."""
        return lay_lines(self.mask)


@dataclass(frozen=True)
class Discretised:
    """A region of one filtered image.

    Attributes
    ----------
    image
        The image in the region's bounding box.
    region
        Where the region is.
    levels
        (z, y, x) int32 grey levels from 1 in the region, 0 outside.
    present
        Rising levels that are there.
    counts
        Voxels of each of `present`.
    """

    image: sitk.Image
    region: Region
    levels: npt.NDArray[np.int32]
    present: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]

    @cached_property
    def matrices(self) -> Matrices:
        """The texture matrices other than that of zones."""
        levels = np.searchsorted(self.present, self.levels[self.region.mask])
        return count_matrices(levels, self.present, self.region.layout, max(self.levels.shape))


def span_of(image: sitk.Image, region: Region) -> float:
    """Highest minus lowest voxel of a region, which is not empty; not finite where a voxel is not."""
    values = sitk.GetArrayViewFromImage(image)[region.mask].astype(np.float64)
    return float(values.max() - values.min())


def discretise(image: sitk.Image, region: Region, bin_width: float) -> Discretised:
    """Bin the voxels of a region by a fixed width, with edges at multiples of the width.

    Parameters
    ----------
    image
        The filtered image in the region's bounding box; all numbers of the region finite.
    region
        The region in that box, not empty.
    bin_width
        In units of the image.
    """
    values = sitk.GetArrayViewFromImage(image)[region.mask]
    # The edges depend on the smallest and the largest value only; pyradiomics looks for them in a Python loop.
    edges = imageoperations.getBinEdges(np.array([values.min(), values.max()]), binWidth=bin_width)
    levels = np.zeros(region.mask.shape, np.int32)
    levels[region.mask] = np.digitize(values, edges)
    counts = np.bincount(levels[region.mask])
    present = np.flatnonzero(counts)
    return Discretised(image, region, levels, present, counts[present])


def measure(region: Discretised, kinds: Sequence[FeatureClass]) -> dict[str, float]:
    """Features of a region by `<class>_<name>`; one that cannot be computed is missing (NaN).

    Parameters
    ----------
    region
        Binned.
    kinds
        Classes other than shape; those of texture are left out of a region of more than `LARGEST_LEVELS` levels.
    """
    values: dict[str, float] = {}
    for kind in kinds:
        if kind != "firstorder" and region.present[-1] > LARGEST_LEVELS:
            continue
        features = _SHARED[kind](region.image, region.image, binned=region)
        features.enabledFeatures = dict.fromkeys(CLASSES[kind], True)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            found = features.execute()
        values |= {f"{kind}_{name}": _real(found[name]) for name in CLASSES[kind]}
    return values


def _real(value: Any) -> float:
    """A number; what is infinite or not real counts as missing."""
    number = complex(np.asarray(value).item())
    return number.real if np.isfinite(number) and number.imag == 0 else np.nan


class _Shared:
    """The steps that a class of pyradiomics repeats, answered from what is known."""

    settings: dict[str, Any]
    coefficients: dict[str, Any]

    def _initSegmentBasedCalculation(self) -> None:  # noqa: N802
        self.maskArray = self._binned.region.mask

    def _applyBinning(self, _matrix: Any) -> npt.NDArray[np.int32]:  # noqa: N802
        self.coefficients.update(grayLevels=self._binned.present, Ng=int(self._binned.present[-1]))
        return self._binned.levels

    @property
    def _binned(self) -> Discretised:
        binned: Discretised = self.settings["binned"]
        return binned


class _SharedFirstOrder(_Shared):
    def _initCalculation(self, _voxels: None = None) -> None:  # noqa: N802
        values = sitk.GetArrayViewFromImage(self._binned.image)[self._binned.region.mask]
        self.targetVoxelArray = values.astype(np.float64).reshape(1, -1)
        counts = self._binned.counts.reshape(1, -1).astype(np.float64)
        self.coefficients["p_i"] = counts / counts.sum(axis=1, keepdims=True)

    @staticmethod
    def _moment(values: Floats, moment: int = 1) -> Floats:
        """Central moments by products: a general power costs ten times as much."""
        centred = values - values.mean(axis=1, keepdims=True)
        power = centred.copy()
        for _ in range(moment - 1):
            power *= centred
        mean: Floats = power.mean(axis=1)
        return mean


class _SharedNeighbours(_Shared):
    def _calculateMatrix(self, _voxels: None = None) -> Floats:  # noqa: N802
        counts = self._binned.matrices.glcm
        both = counts + counts.transpose(1, 0, 2)
        pairs = both.sum(axis=(0, 1))
        shares: Floats = both[:, :, pairs > 0] / pairs[pairs > 0]
        return shares[None]


class _SharedRuns(_Shared):
    def _calculateMatrix(self, _voxels: None = None) -> Floats:  # noqa: N802
        counts = self._binned.matrices.glrlm[None]
        self.coefficients["Nr"] = counts.sum(axis=(1, 2))
        return counts


class _SharedDependence(_Shared):
    def _calculateMatrix(self, _voxels: None = None) -> Floats:  # noqa: N802
        counts = self._binned.matrices.gldm
        there = counts.sum(axis=0) > 0
        counts = counts[None, :, there]
        sizes = counts.sum(axis=1)
        self.coefficients.update(
            Nz=sizes.sum(axis=1),
            pd=sizes,
            pg=counts.sum(axis=2),
            ivector=self._binned.present.astype(np.float64),
            jvector=np.flatnonzero(there) + 1.0,
        )
        return counts


class _SharedTone(_Shared):
    def _calculateMatrix(self, _voxels: None = None) -> Floats:  # noqa: N802
        return np.column_stack([self._binned.matrices.ngtdm, self._binned.present])[None]


def _shared(steps: type, features: Any) -> Any:
    """A class of pyradiomics with shared steps, under its own name for the log."""
    return type(features.__name__, (steps, features), {"__module__": features.__module__})


_SHARED: dict[FeatureClass, Any] = {
    "firstorder": _shared(_SharedFirstOrder, firstorder.RadiomicsFirstOrder),
    "glcm": _shared(_SharedNeighbours, glcm.RadiomicsGLCM),
    "glrlm": _shared(_SharedRuns, glrlm.RadiomicsGLRLM),
    "glszm": _shared(_Shared, glszm.RadiomicsGLSZM),
    "gldm": _shared(_SharedDependence, gldm.RadiomicsGLDM),
    "ngtdm": _shared(_SharedTone, ngtdm.RadiomicsNGTDM),
}
