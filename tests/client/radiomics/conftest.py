"""tests/client/radiomics: where the public data are, and a real abdomen with a lesion put into it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.public_data import public


@pytest.fixture(scope="session")
def public_data() -> Callable[[str], Path]:
    """A folder of the public test data by name; skips where it is absent."""
    return public


@pytest.fixture(scope="session")
def lesion(
    public_data: Callable[[str], Path],
) -> Callable[[tuple[int, int, int], float], tuple[sitk.Image, dict[str, sitk.Image]]]:
    """A real CT of 3 mm, clipped as by default, with a lesion at a voxel, and its tumour and two rings."""
    ct = sitk.ReadImage(str(public_data("abdomen_ct_mr") / "example_ct.nii.gz"), sitk.sitkFloat32)
    ct = sitk.Clamp(ct, sitk.sitkFloat32, -200, 400)

    def put(centre: tuple[int, int, int], radius_mm: float) -> tuple[sitk.Image, dict[str, sitk.Image]]:
        seed = sitk.Image(ct.GetSize(), sitk.sitkUInt8)
        seed.CopyInformation(ct)
        seed[centre] = 1
        distance = sitk.GetArrayFromImage(
            sitk.SignedMaurerDistanceMap(seed, squaredDistance=False, useImageSpacing=True)
        )
        z, y, x = np.indices(distance.shape)
        distance = distance + 1.5 * np.sin(0.9 * x + 0.7 * z) * np.cos(0.8 * y)
        voxels = sitk.GetArrayFromImage(ct) + np.where(distance < radius_mm, 40, 0).astype(np.float32)
        return _like(ct, voxels), {
            "tumour": _like(ct, (distance < radius_mm).astype(np.uint8)),
            "peritumour-5mm": _like(ct, ((distance >= radius_mm) & (distance < radius_mm + 5)).astype(np.uint8)),
            "peritumour-10mm": _like(ct, ((distance >= radius_mm) & (distance < radius_mm + 10)).astype(np.uint8)),
        }

    return put


def _like(image: sitk.Image, voxels: np.ndarray) -> sitk.Image:
    made = sitk.GetImageFromArray(voxels)
    made.CopyInformation(image)
    return made
