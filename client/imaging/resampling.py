"""client/imaging: images and masks on another grid: a whole field of view, or a part of it with the same values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from client.imaging.lesion import box_of
from client.imaging.splines import parallel_places, spline_values

SPLINE_MARGIN = 24
"""Voxels kept around what is resampled. The spline's prefilter forgets by |z| = 2 - sqrt(3) = 0.268 a voxel
(Unser, IEEE Signal Process Mag 1999): after 24 voxels 2e-14 of a step in intensity is left, below float32's 6e-8."""

THIN = 2
"""Voxels along an axis with which ITK's spline reads beyond the image: along one it is not a number, along two it is
whatever lies in memory there."""

LATTICE_MM = 10.0
"""Step at which a transform is sampled to find what part of the input it needs."""

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Where voxels lie, in DICOM's patient coordinates.

    Attributes
    ----------
    size
        Voxels along x, y and z of the grid.
    spacing
        Their width in mm.
    origin
        Centre of the first voxel, in mm.
    direction
        The axes' unit vectors as columns, row by row, as SimpleITK has them.
    """

    size: tuple[int, int, int]
    spacing: Triple
    origin: Triple
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Grid:
        """The grid on which an image lies."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    def part(self, start: tuple[int, int, int], size: tuple[int, int, int]) -> Grid:
        """The grid of `size` voxels from voxel `start` on; `start` may be negative and the part larger than the whole.

        Its voxels are those of the whole: an image resampled onto a part has the values that it has on the whole.
        """
        step = np.reshape(self.direction, (3, 3)) @ (np.array(start) * self.spacing)
        return Grid(size, self.spacing, _triple(np.array(self.origin) + step), self.direction)

    def empty(self) -> sitk.Image:
        """A uint8 image of zeros on this grid."""
        image = sitk.Image(self.size, sitk.sitkUInt8)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def whole_grid(image: sitk.Image, spacing_mm: Triple) -> Grid:
    """The field of view of an image on voxels of another width.

    The first voxel's outer corner stays where it is, as in pyradiomics and in ITK's own convention that a voxel is a
    box around its position. (IBSI aligns the centres of both grids instead, which shifts it by less than half a
    voxel.) The far side has as many voxels as have their centre in the field of view, so that nothing is
    extrapolated and at most half a voxel is lost. An axis narrower than one new voxel gets one, in its middle.

    Parameters
    ----------
    image
        Only its geometry is used.
    spacing_mm
        New widths along the image's x, y and z.
    """
    old, new = np.array(image.GetSpacing()), np.array(spacing_mm, dtype=float)
    extent = np.array(image.GetSize()) * old
    # A width such as 0.7 mm does not fit an extent exactly in binary: a millionth of a voxel decides nothing.
    size = np.maximum(np.floor(extent / new + 0.5 - 1e-6).astype(int), 1)
    first = np.minimum(new, extent) / 2
    index = first / old - 0.5
    origin = image.TransformContinuousIndexToPhysicalPoint(index.tolist())
    return Grid((int(size[0]), int(size[1]), int(size[2])), _triple(new), origin, image.GetDirection())


def resample_image(
    image: sitk.Image, grid: Grid, how: Literal["b-spline", "linear"], transform: sitk.Transform | None = None
) -> sitk.Image:
    """An image's values at the voxels of a grid.

    Voxels outside of the image's field of view take its nearest value: a filter near the end of a shorter phase
    then sees no edge that nobody has. Those voxels were not imaged all the same; `covered` tells their share.

    Parameters
    ----------
    image
        Any scalar type; (x, y, z).
    grid
        The whole field of view or a part of it: voxels of a part have the values that they have in the whole.
    how
        `b-spline` of order 3 with prefilter (interpolating; Unser 1999), or `linear`. Where the axes of both grids are
        parallel, `splines.spline_values` gives ITK's values sooner.
    transform
        From points of the grid to points of the image; None where they are the same.

    Returns
    -------
    sitk.Image
        float32 on `grid`.
    """
    there = transform or sitk.Transform(3, sitk.sitkIdentity)
    needed = _cropped(image, grid, there)
    if how == "b-spline" and min(needed.GetSize()) <= THIN:
        needed = _thickened(needed)
    if how == "b-spline" and there.IsLinear():
        places = parallel_places(needed, grid.size, _corner(grid, there))
        if places is not None:
            return _on(grid, spline_values(sitk.GetArrayViewFromImage(needed), places))
    interpolator = sitk.sitkBSpline if how == "b-spline" else sitk.sitkLinear
    out: sitk.Image = _resampler(grid, there, interpolator, sitk.sitkFloat32, extrapolate=True).Execute(needed)
    return out


def resample_mask(
    mask: sitk.Image,
    grid: Grid,
    how: Literal["nearest", "shape-based"],
    transform: sitk.Transform | None = None,
) -> sitk.Image:
    """A mask on the voxels of a grid; 0 outside of the mask's own field of view.

    `shape-based` interpolates distances to the region's surface (Raya and Udupa, IEEE Trans Med Imaging 1990), here
    in mm and in three dimensions, so that slices become no steps. The surface is set where the region keeps its
    volume; regions as thin as one slice stay.

    Parameters
    ----------
    mask
        uint8; 0 outside.
    grid
        The whole field of view or a part of it.
    how
        `nearest` or `shape-based`.
    transform
        From points of the grid to points of the mask; None where they are the same.

    Returns
    -------
    sitk.Image
        uint8 of 0 and 1 on `grid`.
    """
    there = transform or sitk.Transform(3, sitk.sitkIdentity)
    region = _around(mask)
    if region is None:
        return grid.empty()
    if how == "nearest":
        found = _resampler(grid, there, sitk.sitkNearestNeighbor, sitk.sitkUInt8).Execute(region) != 0
    else:
        resampler = _resampler(grid, there, sitk.sitkLinear, sitk.sitkFloat32)
        resampler.SetDefaultPixelValue(-np.inf)
        found = resampler.Execute(_depth(region)) > 0
    out: sitk.Image = sitk.Cast(found, sitk.sitkUInt8)
    return out


def covered(image: sitk.Image, region: sitk.Image, transform: sitk.Transform | None = None) -> float:
    """The share of a region that lies within the field of view of an image.

    Parameters
    ----------
    image
        A phase; only its geometry is used.
    region
        uint8 mask on any grid.
    transform
        From points of the region to points of the image.

    Returns
    -------
    float
        0 to 1; 1 for an empty region.
    """
    inside = within(image, Grid.of(region), transform)
    chosen = sitk.GetArrayViewFromImage(region) != 0
    return float(inside[chosen].mean()) if chosen.any() else 1.0


def within(image: sitk.Image, grid: Grid, transform: sitk.Transform | None = None) -> NDArray[np.bool_]:
    """Which voxels (z, y, x) of a grid lie within the field of view of an image, under a transform as above."""
    # One voxel as large as the field of view: whatever is inside of it is nearest to it.
    box = sitk.Image(1, 1, 1, sitk.sitkUInt8) + 1
    box.SetSpacing([n * width for n, width in zip(image.GetSize(), image.GetSpacing(), strict=True)])
    box.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
    box.SetDirection(image.GetDirection())
    there = transform or sitk.Transform(3, sitk.sitkIdentity)
    found = _resampler(grid, there, sitk.sitkNearestNeighbor, sitk.sitkUInt8).Execute(box)
    return cast("NDArray[np.bool_]", sitk.GetArrayFromImage(found) == 1)


def bounding_box(mask: sitk.Image) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """First voxel (x, y, z) and size of the smallest box around a region; a size of 0 for an empty one."""
    z, y, x = box_of(sitk.GetArrayViewFromImage(mask) != 0) or (slice(0, 0),) * 3
    return (x.start, y.start, z.start), (x.stop - x.start, y.stop - y.start, z.stop - z.start)


def shrink(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Means of blocks of voxels, so many that no voxel gets wider than `spacing_mm`; float32.

    What follows may sample it at `spacing_mm` without aliasing. A remainder at the far ends is left out.
    """
    widths, size = np.array(image.GetSpacing()), np.array(image.GetSize())
    x, y, z = (int(n) for n in np.clip((spacing_mm / widths + 1e-6).astype(int), 1, size))
    columns, rows, slices = (int(n) for n in size // (x, y, z))
    voxels = sitk.GetArrayViewFromImage(image)
    # Slab by slab, so that a large image of integers is never whole as floats.
    means = [
        voxels[at * z : (at + 1) * z, : rows * y, : columns * x]
        .reshape(z, rows, y, columns, x)
        .mean(axis=(0, 2, 4), dtype=np.float64)
        for at in range(slices)
    ]
    out = sitk.GetImageFromArray(np.stack(means).astype(np.float32))
    out.SetSpacing((widths * (x, y, z)).tolist())
    out.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in (x, y, z)]))
    out.SetDirection(image.GetDirection())
    return out


def _resampler(
    grid: Grid, transform: sitk.Transform, interpolator: int, kind: int, *, extrapolate: bool = False
) -> sitk.ResampleImageFilter:
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.size)
    resampler.SetOutputSpacing(grid.spacing)
    resampler.SetOutputOrigin(grid.origin)
    resampler.SetOutputDirection(grid.direction)
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolator)
    resampler.SetOutputPixelType(kind)
    resampler.SetUseNearestNeighborExtrapolator(extrapolate)
    return resampler


def _cropped(image: sitk.Image, grid: Grid, transform: sitk.Transform) -> sitk.Image:
    """The part of an image that its resampling onto a grid needs."""
    points = _mapped(grid, transform)
    to_index = np.linalg.inv(np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing()))
    index = (points - image.GetOrigin()) @ to_index.T
    # Between two points of the lattice a field may stray by as much as it is steep, which is less than 1.
    stray = np.ceil(LATTICE_MM / np.array(image.GetSpacing()))
    margin = SPLINE_MARGIN + (0 if transform.IsLinear() else stray)
    last = np.array(image.GetSize()) - 1
    # Points outside of the image take the nearest voxel, which lies at the limit of each axis that they are beyond.
    low = np.clip(np.floor(index.min(axis=0)), 0, last)
    high = np.clip(np.ceil(index.max(axis=0)), 0, last)
    start = np.clip(low - margin, 0, last).astype(int)
    stop = np.clip(high + margin, 0, last).astype(int) + 1
    part: sitk.Image = image[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
    return part


def _mapped(grid: Grid, transform: sitk.Transform) -> NDArray[np.float64]:
    """Where a transform takes a lattice of points that spans a grid, (points, 3); its corners for a linear one."""
    ends = [(n - 1) * width for n, width in zip(grid.size, grid.spacing, strict=True)]
    steps = [1 if transform.IsLinear() else max(1, int(np.ceil(end / LATTICE_MM))) for end in ends]
    axes = [np.linspace(0, end, step + 1) for end, step in zip(ends, steps, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = places @ np.reshape(grid.direction, (3, 3)).T + grid.origin
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def _corner(grid: Grid, transform: sitk.Transform) -> NDArray[np.float64]:
    """Where a transform takes the first voxel of a grid and the ones after it along x, y and z, (4, 3)."""
    steps = np.reshape(grid.direction, (3, 3)).T * np.array(grid.spacing)[:, None]
    points = np.array(grid.origin) + np.concatenate([np.zeros((1, 3)), steps])
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def _on(grid: Grid, values: NDArray[np.float32]) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


def _thickened(image: sitk.Image) -> sitk.Image:
    """The image with a voxel of the same value more on both sides of every axis that is too thin for a spline."""
    pad = [1 if n <= THIN else 0 for n in image.GetSize()]
    padded: sitk.Image = sitk.ZeroFluxNeumannPad(image, pad, pad)
    return padded


def _around(mask: sitk.Image) -> sitk.Image | None:
    """A mask cropped to its region with empty voxels around it; None where it is empty."""
    start, size = bounding_box(mask)
    if not min(size):
        return None
    # Empty on all sides, also where the field of view ends: nothing is outlined there, and the surface closes. As
    # wide as the widest voxel, which is farther than interpolation moves a surface.
    widths = mask.GetSpacing()
    pad = [int(np.ceil(max(widths) / width)) + 1 for width in widths]
    padded: sitk.Image = sitk.ConstantPad(sitk.RegionOfInterest(mask, size, start), pad, pad, 0)
    return padded


def _depth(mask: sitk.Image) -> sitk.Image:
    """How deep every voxel lies in a region, in mm; negative outside; float32.

    The level 0 is where interpolation between the voxels makes the region as large as its voxels together: where a
    surface is convex, distances alone would make it smaller, by 28 % for a nodule of 5 mm radius on 5 mm slices.
    """
    inside = sitk.GetArrayViewFromImage(mask) != 0
    widths = mask.GetSpacing()[::-1]
    # From centres of voxels to centres of voxels: a region of one slice has a depth of one slice, and keeps it.
    signed = distance_transform_edt(inside, widths) - distance_transform_edt(~inside, widths)
    depth = sitk.GetImageFromArray(signed.astype(np.float32))
    depth.CopyInformation(mask)
    # Volumes are counted on voxels of at most 1 mm.
    parts = [int(np.ceil(width - 1e-6)) for width in mask.GetSpacing()]
    fine = whole_grid(depth, _triple(np.array(mask.GetSpacing()) / parts))
    identity = sitk.Transform(3, sitk.sitkIdentity)
    values = sitk.GetArrayFromImage(_resampler(fine, identity, sitk.sitkLinear, sitk.sitkFloat32).Execute(depth))
    outside = values.size - int(inside.sum()) * int(np.prod(parts))
    either_side = np.partition(values, (outside - 1, outside), axis=None)[outside - 1 : outside + 1]
    levelled: sitk.Image = depth - float(either_side.mean())
    return levelled


def _triple(values: NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
