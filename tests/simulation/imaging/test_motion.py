"""tests/simulation: the kept motion is the one that was applied, can be inverted, and leaves the skeleton at rest."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from simulation.cohorts.consortium import Imaging, Scanner
from simulation.imaging import examine as engine
from simulation.imaging import scanner as scanning
from simulation.imaging.anatomy import Build
from simulation.imaging.files import write_motion
from simulation.imaging.motion import LATTICE, STEP_MM, displacement, draw_motion
from simulation.imaging.nifti import write_volume
from simulation.imaging.tissues import Tissue
from simulation.imaging.volume import Examination
from tests.simulation.imaging.subjects import CLEAR, imaging, pictured, subject, tissues

TOGETHER = Scanner(spacing_mm=3.8, slice_mm=7.0, arterial_s=70.0, portal_s=70.0, delayed_s=70.0, **CLEAR)
"""All phases at one time after the injection, so that they differ by motion only."""


def build(number: int) -> Build:
    return Build.draw(np.random.default_rng(number), female=bool(number % 2), cirrhosis=False, ascites=False)


def far_from_tumour(examination: Examination) -> NDArray[np.bool_]:
    """Where, in the reference phase, neither the tumour nor what it does to the liver around it is seen."""
    tumour = examination.masks["tumour"]
    away: NDArray[np.bool_] = (
        ndimage.distance_transform_edt(tumour.voxels == 0, sampling=tumour.grid.spacing) > 45  # motion and ring
    )
    return away


def undone(examination: Examination, phase: str, folder: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The reference phase through the written motion, by SimpleITK, on the phase's grid, and where it is known."""
    write_volume(folder / "reference.nii.gz", examination.phases[examination.reference])
    write_volume(folder / "phase.nii.gz", examination.phases[phase])
    write_motion(folder, examination)
    field = SimpleITK.ReadImage(
        str(folder / examination.patient / f"motion-{phase}.nii.gz"), SimpleITK.sitkVectorFloat64
    )
    moving = SimpleITK.ReadImage(str(folder / "reference.nii.gz"), SimpleITK.sitkFloat32)
    target = SimpleITK.ReadImage(str(folder / "phase.nii.gz"))
    transform = SimpleITK.DisplacementFieldTransform(field)
    outside = -9999.0
    found = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(moving, target, transform, SimpleITK.sitkLinear, outside, SimpleITK.sitkFloat32)
    )
    return found, found > -2000


@pytest.fixture
def sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices without thickness: motion and the average over a slice do not commute."""
    monkeypatch.setattr(scanning, "_SLICE_SIGMA", 0.0)


def test_simpleitk_makes_every_phase_of_the_reference_by_the_written_motion(sharp: None, tmp_path: Path) -> None:
    examination = pictured(1, imaging(motion_mm=9.0, phases=("arterial", "portal", "delayed")), None, TOGETHER)
    away = far_from_tumour(examination)
    assert examination.motion_grid == LATTICE
    assert set(examination.motion) == {"arterial", "delayed"}
    for phase in examination.motion:
        expected, within = undone(examination, phase, tmp_path)
        compared = within & away
        apart = np.abs(expected - examination.phases[phase].voxels)[compared]
        assert apart.max() <= 1.1  # both pictures were rounded
        unmoved = np.abs(examination.phases["portal"].voxels.astype(int) - examination.phases[phase].voxels)[compared]
        assert np.mean(unmoved > 5) > 0.01
        assert compared.mean() > 0.5


def test_the_displacement_of_echo_planar_imaging_is_part_of_the_kept_motion(
    sharp: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A DWI that shows what T1 does, at the time of the reference, but on its own grid and displaced.
    monkeypatch.setattr(engine, "_SIGNALS", {**engine._SIGNALS, "dwi": engine._SIGNALS["t1v"]})
    monkeypatch.setattr(engine, "_LATE_S", {"dwi": 70.0})
    examination = pictured(1, imaging(modality="mr", motion_mm=6.0, phases=("t1v", "dwi")), None, TOGETHER)
    expected, within = undone(examination, "dwi", tmp_path)
    dwi = examination.phases["dwi"]
    away = ndimage.zoom(far_from_tumour(examination), np.array(dwi.grid.shape) / (32, 96, 96), order=0)
    apart = np.abs(expected - dwi.voxels)[within & away]
    assert apart.max() <= 1.1
    assert np.mean(examination.motion["dwi"][1]) > 2


def test_no_motion_folds_the_body() -> None:
    default = Imaging().motion_mm
    for number in range(50):
        field = draw_motion(np.random.default_rng(number), build(number), default).astype(np.float64) / STEP_MM
        by_z, by_y, by_x = (np.diff(field, axis=axis) for axis in (1, 2, 3))
        for k, j, i in product((0, 1), repeat=3):
            # The derivatives at one corner of every cell of the lattice, within which the field is trilinear.
            n, m, o = (size - 1 for size in LATTICE.shape)
            slopes = (by_z[:, :, j : j + m, i : i + o], by_y[:, k : k + n, :, i : i + o], by_x[:, k : k + n, j : j + m])
            jacobian = np.moveaxis(np.stack(slopes, axis=-1), 0, -2) + np.eye(3)
            assert np.linalg.det(jacobian).min() > 0.1


def test_ribs_and_spine_hold_still_while_the_liver_moves() -> None:
    declared = imaging()
    for number in range(3):
        whole = scanning.grid_of(declared, TOGETHER, "portal", np.random.default_rng(number))
        who = subject(number, declared, whole)
        labels = tissues(who, whole)
        field = draw_motion(np.random.default_rng(number), who.build, 9.0)
        moved = np.sqrt(sum(part.astype(np.float64) ** 2 for part in displacement(field, whole.axes())))
        liver = np.median(moved[labels == Tissue.LIVER])
        bone = np.isin(labels, (Tissue.BONE, Tissue.MARROW, Tissue.DISC, Tissue.CANAL))
        assert moved[bone].mean() < 0.03 * liver
        assert np.quantile(moved[bone], 0.99) < 0.15 * liver
        assert moved[labels == Tissue.AIR].max() < 0.15 * liver


def test_the_dome_of_the_liver_moves_by_the_declared_amount() -> None:
    axes = (np.array([80.0]), np.array([0.0]), np.array([-60.0]))
    dome = tuple(axis.astype(np.float32) for axis in axes)
    shifts = [
        [float(part[0, 0, 0]) for part in displacement(draw_motion(np.random.default_rng(n), build(n), 9.0), dome)]
        for n in range(300)
    ]
    head_foot, front_back, sideways = np.std(shifts, axis=0)
    assert head_foot == pytest.approx(9.0, rel=0.12)
    assert sideways < front_back < 0.5 * head_foot


def test_displacements_scale_with_the_declared_motion() -> None:
    who = build(3)
    small, large = (draw_motion(np.random.default_rng(5), who, mm) for mm in (3.0, 9.0))
    np.testing.assert_allclose(large, 3 * small, atol=1e-4)
    assert not draw_motion(np.random.default_rng(5), who, 0.0).any()
