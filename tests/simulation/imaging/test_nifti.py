"""tests/simulation: NIfTI files hold the voxels where they lie, and displacements as ITK applies them."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy.interpolate import RegularGridInterpolator

from simulation.imaging.files import write_examination, write_motion
from simulation.imaging.volume import Examination
from tests.simulation.imaging.examinations import ABOUT, MOTION_GRID, ct, mr


@pytest.fixture(scope="module", params=[ct, mr], ids=["ct", "mr"])
def examination(request: pytest.FixtureRequest) -> Examination:
    made: Examination = request.param()
    return made


@pytest.fixture(scope="module")
def site(examination: Examination, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_examination(folder, examination, "nifti", "nifti", ABOUT)
    return folder


def test_every_phase_and_every_mask_is_one_file_and_there_is_nothing_else(site: Path, examination: Examination) -> None:
    wanted = {f"images/{examination.patient}/{phase}.nii.gz" for phase in examination.phases}
    wanted |= {f"masks/{examination.patient}/{key}.nii.gz" for key in ("tumour", "tumour.reader2", "liver")}
    assert {str(p.relative_to(site)) for p in site.rglob("*") if p.is_file()} == wanted


def test_itk_reads_the_same_voxels_in_the_same_place(site: Path, examination: Examination) -> None:
    for name, volume in (*examination.phases.items(), *examination.masks.items()):
        folder = "images" if name in examination.phases else "masks"
        image = SimpleITK.ReadImage(site / folder / examination.patient / f"{name}.nii.gz")
        read = SimpleITK.GetArrayFromImage(image)
        assert read.dtype == volume.voxels.dtype
        np.testing.assert_array_equal(read, volume.voxels)
        np.testing.assert_allclose(image.GetSpacing(), volume.grid.spacing[::-1], rtol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), volume.grid.origin[::-1], atol=1e-4)
        np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-6)


def test_both_of_niftis_positions_are_set_and_agree_and_voxels_are_not_scaled(
    site: Path, examination: Examination
) -> None:
    image = nib.load(site / "images" / examination.patient / f"{examination.reference}.nii.gz")
    grid = examination.phases[examination.reference].grid
    for matrix, code in (image.header.get_qform(coded=True), image.header.get_sform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(matrix, grid.affine(), atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header.get_slope_inter() == (None, None)
    assert "not a patient" in str(image.header["descrip"])


def test_the_same_examination_gives_the_same_bytes_later(tmp_path: Path) -> None:
    write_examination(tmp_path / "a", ct(), "nifti", "nifti", ABOUT)
    write_motion(tmp_path / "a", ct())
    time.sleep(1.1)
    write_examination(tmp_path / "b", ct(), "nifti", "nifti", ABOUT)
    write_motion(tmp_path / "b", ct())
    files = [p for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 4 + 3 + 3
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_itk_moves_points_by_the_displacements_as_linear_interpolation_does(tmp_path: Path) -> None:
    examination = ct()
    write_motion(tmp_path, examination)
    assert {p.name for p in (tmp_path / examination.patient).iterdir()} == {
        "motion-plain.nii.gz",
        "motion-arterial.nii.gz",
        "motion-delayed.nii.gz",
    }
    z, y, x = MOTION_GRID.axes()
    random = np.random.default_rng(8)
    points = np.column_stack([random.uniform(axis[0], axis[-1], 50) for axis in (z, y, x)])
    for phase, displacement in examination.motion.items():
        field = SimpleITK.ReadImage(tmp_path / examination.patient / f"motion-{phase}.nii.gz")
        assert field.GetNumberOfComponentsPerPixel() == 3
        assert field.GetDimension() == 3
        moving = SimpleITK.DisplacementFieldTransform(SimpleITK.Cast(field, SimpleITK.sitkVectorFloat64))
        ours = RegularGridInterpolator((z, y, x), displacement.transpose(1, 2, 3, 0))(points)
        for point, shift in zip(points, ours, strict=True):
            np.testing.assert_allclose(moving.TransformPoint(point[::-1])[::-1], point + shift, atol=1e-3)


def test_a_displacement_file_says_that_it_holds_vectors(tmp_path: Path) -> None:
    examination = ct()
    write_motion(tmp_path, examination)
    path = tmp_path / examination.patient / "motion-plain.nii.gz"
    image = nib.load(path)
    assert image.shape == (*MOTION_GRID.shape[::-1], 1, 3)
    assert image.header.get_intent("code")[0] == 1007
    assert image.get_data_dtype() == np.float32
    assert gzip.decompress(path.read_bytes())[344:348] == b"n+1\0"
