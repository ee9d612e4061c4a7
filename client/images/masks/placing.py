"""client/images/masks: voxels of a mask put onto the grid of its image, exactly or not at all."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.images.reading.geometry import OFF_GRID_MM

TOLERANCE_MM = 0.1
"""Corners of a mask may lie so far from where the image's voxels have them: headers are rounded. A part may lie further
off, by what slices of the image may themselves."""


class OffGridError(Exception):
    """Voxels that are not voxels of the image; says where they lie."""


@dataclass(frozen=True)
class Lattice:
    """Where voxels lie.

    Attributes
    ----------
    origin
        Centre of the voxel (0, 0, 0) in mm.
    steps
        Columns are the steps in mm to the next voxel along the first, second and third index (x, y, z).
    """

    origin: NDArray[np.float64]
    steps: NDArray[np.float64]

    @classmethod
    def of(cls, image: sitk.Image) -> Lattice:
        """The lattice of an image of three dimensions."""
        return cls(
            np.array(image.GetOrigin()), np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        )

    def indices(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Continuous indices (n, 3) of points (n, 3) in mm, in the order x, y, z."""
        return np.asarray(np.linalg.solve(self.steps, (points - self.origin).T).T)


class Canvas:
    """A mask in the making.

    Parameters
    ----------
    image
        Whose grid it has.

    Attributes
    ----------
    voxels
        uint8 of 0 and 1, (slices, rows, columns) as of the image's array.
    lattice
        The image's.
    """

    def __init__(self, image: sitk.Image) -> None:
        self._image = image
        self.lattice = Lattice.of(image)
        self.voxels: NDArray[np.uint8] = np.zeros(image.GetSize()[::-1], dtype=np.uint8)

    def add(self, part: NDArray[np.bool_], lattice: Lattice, *, whole: bool = False) -> int:
        """Set the voxels of a part, which may have its axes in another order or reversed.

        Parameters
        ----------
        part
            (third, second, first index) of the lattice.
        lattice
            Where the part lies. Its third step counts only where the part is deeper than one.
        whole
            Whether the part has to cover the image.

        Returns
        -------
        int
            The image's slice on which the part begins.

        Raises
        ------
        OffGridError
            Where a corner is too far from the voxel of the image that it should be, where voxels of
            the mask lie outside of the image, or where the part does not cover the image although it is `whole`.
        """
        axes, signs, start = self._match(part, lattice, TOLERANCE_MM if whole else TOLERANCE_MM + OFF_GRID_MM)
        size = np.array(part.shape[::-1])[axes]
        first = np.where(signs > 0, start, start - size + 1)
        if whole and (first.any() or (size != self._image.GetSize()).any()):
            raise OffGridError(_differences(part, lattice, self._image))
        # From the indices of the part to those of the image, both from slices to columns.
        turned = part.transpose([2 - axis for axis in axes[::-1]])
        turned = np.flip(turned, tuple(2 - axis for axis in range(3) if signs[axis] < 0))
        low, high = np.maximum(first, 0), np.minimum(first + size, self._image.GetSize())
        inside = tuple(slice(max(b - a, 0), max(e - a, 0)) for a, b, e in zip(first, low, high, strict=True))[::-1]
        kept = turned[inside]
        if np.count_nonzero(kept) < np.count_nonzero(part):
            raise OffGridError(f"voxels of the mask lie outside of the image, from voxel {_text(first)} on")
        if kept.size:
            self.voxels[tuple(slice(b, e) for b, e in zip(low, high, strict=True))[::-1]] |= kept
        return int(first[2])

    def mask(self) -> sitk.Image:
        """The mask on the image's grid."""
        made = sitk.GetImageFromArray(self.voxels)
        made.CopyInformation(self._image)
        return made

    def _match(
        self, part: NDArray[np.bool_], lattice: Lattice, tolerance: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """For each axis of the image: the part's axis along it, its sense, and the voxel at which the part begins."""
        turns = np.linalg.solve(self.lattice.steps, lattice.steps)
        axes = np.abs(turns).argmax(axis=1)
        signs = np.where(turns[np.arange(3), axes] < 0, -1, 1)
        begin = self.lattice.indices(lattice.origin[None])[0]
        # A wild position is refused below; it must not overflow here.
        start = np.rint(np.clip(np.nan_to_num(begin), -1e9, 1e9)).astype(np.int64)
        corners = np.array(list(itertools.product(*((0, n - 1) for n in part.shape[::-1]))), dtype=np.float64)
        meant = lattice.origin + corners @ lattice.steps.T
        snapped = self.lattice.origin + (start + signs * corners[:, axes]) @ self.lattice.steps.T
        apart = np.sqrt(((meant - snapped) ** 2).sum(axis=1)).max()
        if len(set(axes.tolist())) < 3 or not apart <= tolerance:
            raise OffGridError(_differences(part, lattice, self._image))
        return axes, signs, start


def _differences(part: NDArray[np.bool_], lattice: Lattice, image: sitk.Image) -> str:
    """What differs between a part and an image, with both values."""
    spacing = np.sqrt((lattice.steps**2).sum(axis=0))
    mine = {
        "size": np.array(part.shape[::-1]),
        "spacing": spacing,
        "origin": lattice.origin,
        "direction": (lattice.steps / np.where(spacing > 0, spacing, 1)).ravel(),
    }
    its = {"size": image.GetSize(), "spacing": image.GetSpacing(), "origin": image.GetOrigin()}
    its["direction"] = image.GetDirection()
    said = [
        f"{name} {_text(mine[name])}, the image's {_text(its[name])}"
        for name in mine
        if not np.allclose(mine[name], its[name], rtol=0, atol=1e-3)
    ]
    return "; ".join(said)


def _text(values: object) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in np.asarray(values, dtype=np.float64).ravel()) + ")"
