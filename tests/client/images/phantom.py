"""tests/client: a patient of ellipsoids in HU, coarse and quick, with whatever is odd about it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.images.case import MaskKey, ReadImage, Scan
from common.study.preparation import Preparation

SPACING = (5.0, 5.0, 6.0)
SIZE = (64, 52, 36)
ORIGIN = (-160.0, -130.0, -100.0)
LIVER_HU = {"plain": 57.0, "arterial": 75.0, "portal": 112.0, "delayed": 95.0}
LIVER = ((-60.0, -15.0, 5.0), (62.0, 55.0, 60.0))
TUMOUR = ((-70.0, -20.0, 5.0), (22.0, 20.0, 20.0))
MASKS = (("tumour", 1, "portal"), ("liver", 1, "portal"))

Point = tuple[float, float, float]


def preparation(*phases: str, modality: str = "ct", reference: str = "portal") -> Preparation:
    return Preparation.model_validate(
        {
            "modality": modality,
            "phases": phases or ("plain", "arterial", "portal"),
            "reference": reference,
            "radiomics": {"regions": ("tumour", "peritumour-10mm")},
        }
    )


def grid(size: tuple[int, int, int] = SIZE, origin: Point = ORIGIN) -> sitk.Image:
    made = sitk.Image(size, sitk.sitkUInt8)
    made.SetSpacing(SPACING)
    made.SetOrigin(origin)
    return made


def ellipsoid(place: sitk.Image, centre: Point, radii: Point) -> NDArray[np.bool_]:
    x, y, z = (
        np.arange(n) * step + start
        for n, step, start in zip(place.GetSize(), place.GetSpacing(), place.GetOrigin(), strict=True)
    )
    (cx, cy, cz), (rx, ry, rz) = centre, radii
    return (
        ((x - cx) / rx) ** 2 + (((y - cy) / ry) ** 2)[:, None] + (((z - cz) / rz) ** 2)[:, None, None] < 1
    )  # fmt: skip


def moved(centre: Point, by: Point) -> Point:
    return tuple(c + b for c, b in zip(centre, by, strict=True))  # type: ignore[return-value]


def as_image(voxels: NDArray[np.generic], place: sitk.Image) -> sitk.Image:
    made = sitk.GetImageFromArray(voxels)
    made.CopyInformation(place)
    return made


def phase_image(
    phase: str, shift: Point = (0, 0, 0), place: sitk.Image | None = None, liver_hu: float | None = None
) -> sitk.Image:
    """Air, an ellipse of fat and muscle, lungs, the spine, and a liver with a tumour that is moved by so many mm."""
    place = place or grid()
    random = np.random.default_rng(sum(map(ord, phase)))
    hu = np.full(place.GetSize()[::-1], -1000.0)
    hu[ellipsoid(place, (0, 0, 0), (145, 110, 1e6))] = -100
    hu[ellipsoid(place, (0, 0, 0), (130, 96, 1e6))] = 45
    hu[ellipsoid(place, moved((-60, -10, 75), shift), (60, 60, 60))] = -820
    hu[ellipsoid(place, (70, -10, 60), (50, 60, 60))] = -820
    hu[ellipsoid(place, (0, 70, 0), (18, 18, 1e6))] = 300
    level = LIVER_HU[phase] if liver_hu is None else liver_hu
    hu[ellipsoid(place, moved(LIVER[0], shift), LIVER[1])] = level
    hu[ellipsoid(place, moved(TUMOUR[0], shift), TUMOUR[1])] = level - 20
    return as_image(np.rint(hu + random.normal(0, 8, hu.shape)).astype(np.int16), place)


def mask_image(region: str, by: Point = (0, 0, 0), place: sitk.Image | None = None) -> sitk.Image:
    place = place or grid()
    centre, radii = {"liver": LIVER, "tumour": TUMOUR}[region]
    return as_image(ellipsoid(place, moved(centre, by), radii).astype(np.uint8), place)


def scan(
    images: Mapping[str, sitk.Image] | None = None,
    masks: Mapping[MaskKey, sitk.Image] | None = None,
    patient: str = "P1",
) -> Scan:
    """A patient with three phases and both masks; those that are given replace or join them."""
    shown = {phase: phase_image(phase) for phase in ("plain", "arterial", "portal")} | dict(images or {})
    drawn = {key: mask_image(key[0]) for key in MASKS} | dict(masks or {})
    return Scan(patient, {phase: ReadImage(image) for phase, image in shown.items()}, drawn)
