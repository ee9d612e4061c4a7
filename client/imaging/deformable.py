"""client/imaging: the deformable part of a registration: a displacement field by ConvexAdam.

ConvexAdam (Siebert, Hansen, Heinrich: "Fast 3D registration with accurate optimisation and little learning for
Learn2Reg 2021"; the package `convexadam`) compares images by MIND, which holds where contrast differs (Heinrich et
al., Med Image Anal 2012; 16: 1423): a coupled convex search on a coarse lattice, then gradient descent on a finer one.
"""

from __future__ import annotations

import warnings

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.imaging.resampling import Grid

LATTICE, FINE = 6, 2
"""Voxels between the points of the coarse and the fine lattice."""
REACH = 3
"""The search reaches so many points of the coarse lattice: 54 mm on voxels of 3 mm, which is more than livers move."""
ITERATIONS = 40
"""Steps of the descent. From 40 to 80 the error falls from 1.35 to 1.2 mm on a real liver, and from 2.15 to 2.05 mm on
simulated breathing, for half as much time again."""
SMOOTHNESS = 2.5
"""Weight of the diffusion regulariser. The package's 1.25 folds where a real liver reaches the last slice; 2.5 does
not, and errs less (1.2 v 1.4 mm)."""
SMALLEST = 4 * LATTICE
"""Voxels that an axis has at least: fewer are not enough for the coarse lattice."""
FADE_MM = 30.0
"""Beyond its box the field goes on as at the box's end, and fades to nothing over this length."""

Field = NDArray[np.float32]


def fitting_box(grid: Grid, start: tuple[int, int, int], size: tuple[int, int, int], beyond_mm: float) -> Grid:
    """A box on a grid, enlarged by `beyond_mm` or more on all sides so that both lattices of the search divide it.

    It may reach beyond the grid, where images are extrapolated: ConvexAdam leaves a remainder out and would stretch
    the field over it.
    """
    wanted = [n + 2 * int(np.ceil(beyond_mm / width)) for n, width in zip(size, grid.spacing, strict=True)]
    fitting = [max(SMALLEST, -(-n // LATTICE) * LATTICE) for n in wanted]
    first = [at - (m - n) // 2 for at, n, m in zip(start, size, fitting, strict=True)]
    return grid.part((first[0], first[1], first[2]), (fitting[0], fitting[1], fitting[2]))


def find_field(fixed: sitk.Image, moving: sitk.Image) -> Field:
    """The displacements that lead from every voxel of the fixed image to the same place in the moving one.

    One thread, so that the same images give the same field, bit for bit.

    Parameters
    ----------
    fixed, moving
        float32 on one grid of `fitting_box`.

    Returns
    -------
    ndarray
        float32, (z, y, x, 3): in voxels, components in the order z, y, x.

    Raises
    ------
    RuntimeError
        Of torch, where memory is not enough.
    """
    # It takes seconds to load. The package turns off warnings for the whole program when it is loaded, and warns of a
    # default of torch that changed long ago at every call.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        import torch

        from client.imaging.convex_adam import Search, convex_adam

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            search = Search(LATTICE, FINE, REACH, ITERATIONS, SMOOTHNESS)
            return convex_adam(sitk.GetArrayFromImage(fixed), sitk.GetArrayFromImage(moving), search)
        finally:
            torch.set_num_threads(threads)


def faded(field: Field, box: Grid) -> tuple[Field, Grid]:
    """The field on a larger box, at whose end it is 0.

    ITK takes a field for 0 outside of its box: without this, images would be torn there.
    """
    pad = [int(np.ceil(FADE_MM / width)) for width in box.spacing]
    grid = box.part(
        (-pad[0], -pad[1], -pad[2]),
        (box.size[0] + 2 * pad[0], box.size[1] + 2 * pad[1], box.size[2] + 2 * pad[2]),
    )
    larger = np.pad(field, [*((by, by) for by in reversed(pad)), (0, 0)], mode="edge")
    squared = np.zeros(larger.shape[:3], dtype=np.float32)
    for axis, by in enumerate(reversed(pad)):
        n = larger.shape[axis]
        beyond = np.maximum(0, np.maximum(by - np.arange(n), np.arange(n) - (n - 1 - by))) / by
        squared += (beyond**2).astype(np.float32).reshape([-1 if other == axis else 1 for other in range(3)])
    weight = np.cos(np.minimum(np.sqrt(squared), 1) * (np.pi / 2)) ** 2
    return larger * weight[..., None].astype(np.float32), grid


def field_transform(field: Field, grid: Grid) -> sitk.DisplacementFieldTransform:
    """ITK's transform of a field in voxels (z, y, x, 3) on a grid: a point to a point, in mm."""
    turned = np.reshape(grid.direction, (3, 3)) * np.array(grid.spacing)
    vectors = sitk.GetImageFromArray(field[..., ::-1].astype(np.float64) @ turned.T, isVector=True)
    vectors.SetSpacing(grid.spacing)
    vectors.SetOrigin(grid.origin)
    vectors.SetDirection(grid.direction)
    return sitk.DisplacementFieldTransform(vectors)
