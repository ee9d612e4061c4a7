"""tests/simulation: small examinations of noise with round organs in it, and what DICOM demands of an object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from simulation.imaging.headers import Acquisition
from simulation.imaging.volume import Examination, Grid, Volume

ABOUT = Acquisition("hospital-a", "Simulator One", "F", 58, "tests/7", kernel="FWHM 2.2 mm", b_value=750.0)
CT_GRID = Grid((12, 40, 36), (4.5, 1.9, 1.7), (-103.25, -181.4, -176.35))
MR_GRIDS = {
    "t1": Grid((14, 36, 40), (3.0, 1.25, 1.25), (-60.0, -40.5, -71.125)),
    "t1v": Grid((14, 36, 40), (3.0, 1.25, 1.25), (-60.0, -40.5, -71.125)),
    "dwi": Grid((7, 24, 20), (6.0, 2.0, 2.5), (-58.5, -41.0, -70.0)),
}
MOTION_GRID = Grid((4, 5, 6), (18.0, 17.0, 13.0), (-104.0, -182.0, -177.0))


def ball(grid: Grid, centre: tuple[float, float, float], radius: float) -> NDArray[np.uint8]:
    """Voxels within `radius` mm of a point z, y, x of the patient."""
    z, y, x = grid.axes()
    far = (z[:, None, None] - centre[0]) ** 2 + (y[:, None] - centre[1]) ** 2 + (x - centre[2]) ** 2
    return (far < radius**2).astype(np.uint8)


def masks(grid: Grid) -> dict[str, Volume]:
    """A liver in two parts with a hole, cut off by the image's edge, and a tumour outlined twice."""
    z, y, x = (axis[len(axis) // 2] for axis in grid.axes())
    near = min(grid.shape[1] * grid.spacing[1], grid.shape[2] * grid.spacing[2])
    liver = ball(grid, (z, y, grid.origin[2]), 0.45 * near) & (1 - ball(grid, (z, y, grid.origin[2] + 8), 5.0))
    liver |= ball(grid, (z, y, x + 0.35 * near), 0.1 * near)
    return {
        "tumour": Volume(ball(grid, (z, y, x - 3.0), 9.0), grid),
        "liver": Volume(liver, grid),
        "tumour.reader2": Volume(ball(grid, (z, y + 1.0, x - 2.0), 10.0), grid),
    }


def ct() -> Examination:
    """Four phases of CT with noise down to the least HU there is."""
    random = np.random.default_rng(5)
    phases = {
        name: Volume(random.integers(-1024, 3072, CT_GRID.shape).astype(np.int16), CT_GRID)
        for name in ("plain", "arterial", "portal", "delayed")
    }
    started = {"plain": -60.5, "arterial": 34.25, "portal": 71.0, "delayed": 183.125}
    motion = {
        name: random.normal(0, 6, (3, *MOTION_GRID.shape)).astype(np.float32)
        for name in ("plain", "arterial", "delayed")
    }
    return Examination("hospital-a-0001", "ct", phases, "portal", masks(CT_GRID), motion, MOTION_GRID, started)


def mr() -> Examination:
    """Three sequences of MR; the diffusion-weighted one lies on a grid of its own."""
    random = np.random.default_rng(6)
    phases = {
        name: Volume(random.integers(-5, 20000, grid.shape).astype(np.int16), grid) for name, grid in MR_GRIDS.items()
    }
    motion = {name: np.zeros((3, *MOTION_GRID.shape), dtype=np.float32) for name in ("t1", "dwi")}
    started = {"t1": -30.0, "t1v": 66.5, "dwi": 320.0}
    return Examination("hospital-a-0002", "mr", phases, "t1v", masks(MR_GRIDS["t1v"]), motion, MOTION_GRID, started)


def lacking(dataset: Dataset) -> set[str]:
    """Attributes that an object must have and lacks, by highdicom's tables of the standard.

    Type 1 must be there and hold something, type 2 must be there; inside of a sequence, in every item that there is.
    Functional groups are left out: each may be shared or each frame's own, which the tables do not tell.
    """
    wrong = set()
    for module in get_iod_module_map()[get_sop_class_iod_map()[dataset.SOPClassUID]]:
        if module["usage"] != "M" or module["key"].endswith("functional-groups"):
            continue
        for attribute in get_module_attribute_map()[module["key"]]:
            name, demand = attribute["keyword"], attribute["type"]
            for item in _items(dataset, attribute["path"]):
                if demand in ("1", "2") and (name not in item or (demand == "1" and item[name].is_empty)):
                    wrong.add(f"{module['key']}: {'.'.join([*attribute['path'], name])}")
    return wrong


def _items(dataset: Dataset, path: list[str]) -> Iterator[Any]:
    if not path:
        yield dataset
        return
    for item in dataset.get(path[0]) or ():
        yield from _items(item, path[1:])
