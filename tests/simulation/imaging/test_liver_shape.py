"""tests/simulation: the liver of a real label map takes the place of the drawn one, the right way round."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from common.errors import FedmviError
from simulation.imaging.liver_shape import load_liver
from simulation.imaging.volume import Grid
from tests.simulation.imaging.subjects import SCANNER, imaging, pictured, subject

LABEL = 5


@pytest.fixture(scope="module")
def label_map(public_data: Callable[[str], Path]) -> Path:
    path = public_data("abdomen_ct_mr") / "example_seg_fast.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


def written(folder: Path, voxels: NDArray[np.uint8], codes: str = "RAS") -> Path:
    """A label map of 3 mm whose axes run as these codes say."""
    image = nib.Nifti1Image(voxels, np.diag([3.0, 3.0, 3.0, 1.0]))
    turned = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
    )
    path = folder / f"{codes}.nii.gz"
    nib.save(image.as_reoriented(turned), path)
    return path


def wedge() -> NDArray[np.uint8]:
    """Thick on the right of the patient, at the back and below; x, y, z to the right, to the front, to the head."""
    x, y, z = np.mgrid[:50, :40, :40]
    solid = (x > 5) & (x < 45) & (y > 5) & (y < 35) & (z > 5) & (z < 35)
    return np.where(solid & ((45 - x) * 0.5 + (y - 5) * 0.7 + (z - 5) * 0.6 < 40), LABEL, 0).astype(np.uint8)


def resampled(path: Path, grid: Grid, scale: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The labelled liver, larger by a factor, placed on a grid as the drawn one is, and the slices that it covers."""
    image = nib.as_closest_canonical(nib.load(path))
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(np.asarray(image.dataobj) == LABEL, iterations=2))
    steps = image.header.get_zooms()
    # The drawn liver is centred with its caps, 75 mm at head and foot, and 8 voxels around; x and y run the other way.
    z0, y0, x0 = load_liver(path, LABEL, 1.0).middle
    middle = (inside.shape[0] - 1 - (x0 - 8), inside.shape[1] - 1 - (y0 - 8), z0 - math.ceil(75 / float(steps[2])))
    z, y, x = (axis.astype(float) for axis in grid.axes())
    wanted = np.meshgrid(-(x + 48), -(y + 6), z + 8, indexing="ij")
    places = [w / (scale * step) + m for w, step, m in zip(wanted, steps, middle, strict=True)]
    found: NDArray[np.bool_] = ndimage.map_coordinates(inside.astype(float), places, order=1).transpose(2, 1, 0) > 0.5
    covered = (places[2] >= 1) & (places[2] <= inside.shape[2] - 2)
    return found, covered.transpose(2, 1, 0)


def test_the_drawn_liver_is_the_labelled_one_scaled_to_the_patient(label_map: Path) -> None:
    declared = imaging(liver_mask=str(label_map), liver_label=LABEL, phases=("portal",))
    for number in range(2):
        examination = pictured(number, declared, None, size_cm=3.0)
        mask = examination.masks["liver"]
        scale = subject(number, declared, mask.grid, size_cm=3.0).build.scale
        real, covered = resampled(label_map, mask.grid, scale)
        tumour = examination.masks["tumour"].voxels > 0
        away = covered & (ndimage.distance_transform_edt(~tumour, sampling=mask.grid.spacing) > 15)
        drawn = (mask.voxels > 0) & away
        real &= away
        assert 2 * (drawn & real).sum() / (drawn.sum() + real.sum()) > 0.9
        mirrored = real[:, :, ::-1]
        assert 2 * (drawn & mirrored).sum() / (drawn.sum() + mirrored.sum()) < 0.6


def test_a_real_liver_lies_on_the_right_of_the_patient_and_is_thicker_there(label_map: Path) -> None:
    liver = load_liver(label_map, LABEL, 1.0)
    grid = Grid((60, 80, 80), (5.0, 5.0, 5.0), (-150.0, -200.0, -200.0))
    inside = liver.distance(grid.axes()) < 0
    x = grid.axes()[2]
    assert inside[:, :, x < 0].sum() > 4 * inside[:, :, x > 0].sum()
    thick = inside.sum(axis=0)  # by row and column
    right, left = (thick[:, (x > low) & (x < high)].max() for low, high in ((-110, -70), (-10, 20)))
    assert right > left


def test_a_liver_that_its_scan_cuts_goes_on_and_closes(label_map: Path) -> None:
    labels = np.asarray(nib.as_closest_canonical(nib.load(label_map)).dataobj) == LABEL
    cut = labels.any(axis=(0, 1))
    assert cut[0] or cut[-1]
    liver = load_liver(label_map, LABEL, 1.0)
    areas = (liver.sampled < 0).sum(axis=(1, 2))
    more = math.ceil(75 / liver.spacing[0])
    inner = areas[more:-more]
    np.testing.assert_allclose(inner[2:-2], labels.sum(axis=(0, 1))[2:-2], rtol=0.12)
    for cap in (areas[:more][::-1], areas[-more:]):
        assert (np.diff(cap) <= 0).all()
        assert cap[-1] == 0


def test_a_label_map_may_be_stored_in_any_direction(tmp_path: Path) -> None:
    grid = Grid((40, 50, 60), (5.0, 5.0, 5.0), (-100.0, -120.0, -190.0))
    expected = load_liver(written(tmp_path, wedge()), LABEL, 1.0).distance(grid.axes())
    inside = expected < 0
    z, y, x = grid.axes()
    middle = (-8.0, -6.0, -48.0)
    skew = [
        float((((axis - at) ** 3) * inside.sum(axis=other)).sum())
        for axis, at, other in zip((z, y, x), middle, ((1, 2), (0, 2), (0, 1)), strict=True)
    ]
    assert skew[0] > 0  # thick below: the thin part reaches far to the head
    assert skew[1] < 0  # thick at the back: the thin part reaches far to the front
    assert skew[2] > 0  # thick on the right: the thin part reaches far to the left
    for codes in ("LPS", "PIR", "SAL"):
        turned = load_liver(written(tmp_path, wedge(), codes), LABEL, 1.0).distance(grid.axes())
        np.testing.assert_allclose(turned, expected, atol=1e-4)


def test_a_factor_on_the_size_is_one_on_every_length(tmp_path: Path) -> None:
    path = written(tmp_path, wedge())
    grid = Grid((40, 50, 60), (5.0, 5.0, 5.0), (-100.0, -120.0, -190.0))
    small, large = ((load_liver(path, LABEL, scale).distance(grid.axes()) < 0).sum() for scale in (0.8, 1.0))
    assert small / large == pytest.approx(0.8**3, rel=0.05)


@pytest.mark.parametrize("broken", ["no such label", "not an image", "four dimensions", "absent"])
def test_a_file_that_holds_no_liver_is_an_error(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "absent.nii.gz"
    label = LABEL
    if broken == "no such label":
        path, label = written(tmp_path, wedge()), 7
    elif broken == "not an image":
        path.write_bytes(b"no image")
    elif broken == "four dimensions":
        path = written(tmp_path, wedge())
        nib.save(nib.Nifti1Image(wedge()[..., None].repeat(2, axis=3), np.eye(4)), path)
    declared = imaging(liver_mask=str(path), liver_label=label)
    with pytest.raises(FedmviError) as caught:
        pictured(0, declared)
    assert caught.value.number == 810
    assert f"label {label}" in caught.value.what


def test_slices_that_miss_the_liver_are_an_error(tmp_path: Path) -> None:
    ball = np.zeros((30, 30, 30), dtype=np.uint8)
    ball[10:20, 10:20, 10:20] = LABEL
    declared = imaging(liver_mask=str(written(tmp_path, ball)), matrix=48, slices=12)
    near = SCANNER.model_copy(update={"spacing_mm": 3.8, "slice_mm": 5.0})
    assert pictured(0, declared, None, near, size_cm=1.0).masks["tumour"].voxels.any()
    aside = near.model_copy(update={"spacing_mm": 0.9})
    with pytest.raises(FedmviError) as caught:
        pictured(0, declared, None, aside, size_cm=1.0)
    assert caught.value.number == 811
