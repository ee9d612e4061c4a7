"""tests/simulation: pictures have physical units, and a patient's voxels depend on nothing but the patient."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from simulation.cohorts.consortium import Scanner
from simulation.imaging.tissues import Tissue
from simulation.imaging.volume import Examination
from tests.simulation.imaging.subjects import CLEAR, SCANNER, imaging, pictured, subject, tissues

PATIENTS = 4


@dataclass(frozen=True)
class Seen:
    """An examination with the regions whose level is measured, away from their borders."""

    examination: Examination
    regions: dict[str, NDArray[np.bool_]]

    def level(self, phase: str, region: str) -> float:
        return float(self.examination.phases[phase].voxels[self.regions[region]].mean())


def seen(number: int, modality: str) -> Seen:
    declared = imaging(modality=modality)
    examination = pictured(number, declared)
    grid = examination.phases[examination.reference].grid
    labels = tissues(subject(number, declared, grid), grid)
    tumour = examination.masks["tumour"].voxels > 0
    beside = ndimage.binary_dilation(tumour, iterations=4)
    wide = {"liver": Tissue.LIVER, "fat": Tissue.FAT, "aorta": Tissue.AORTA, "spleen": Tissue.SPLEEN}
    regions = {name: ndimage.binary_erosion(labels == tissue) & ~beside for name, tissue in wide.items()}
    regions["veins"] = np.isin(labels, (Tissue.PORTAL_VEIN, Tissue.HEPATIC_VEIN)) & ~beside
    regions["tumour"] = ndimage.binary_erosion(tumour)
    return Seen(examination, regions)


@pytest.fixture(scope="module")
def ct() -> list[Seen]:
    return [seen(number, "ct") for number in range(PATIENTS)]


@pytest.fixture(scope="module")
def mr() -> list[Seen]:
    return [seen(number, "mr") for number in range(PATIENTS)]


def average(patients: list[Seen], phase: str, region: str) -> float:
    return fmean(patient.level(phase, region) for patient in patients)


def test_ct_shows_every_tissue_in_hounsfield_units(ct: list[Seen]) -> None:
    for patient in ct:
        assert 50 < patient.level("plain", "liver") < 65
        for phase in patient.examination.phases:
            assert -110 < patient.level(phase, "fat") < -90
        air = patient.examination.phases["plain"].voxels[:, 0, 0]
        assert set(air.tolist()) == {-1000}


def test_contrast_medium_fills_the_aorta_first_and_the_liver_from_the_portal_vein(ct: list[Seen]) -> None:
    assert average(ct, "arterial", "aorta") > 250
    assert 35 < average(ct, "portal", "liver") - average(ct, "plain", "liver") < 65
    for patient in ct:
        aorta = [patient.level(phase, "aorta") for phase in ("arterial", "portal", "delayed", "plain")]
        assert aorta == sorted(aorta, reverse=True)
        assert patient.level("portal", "liver") > patient.level("arterial", "liver") + 10
        assert patient.level("portal", "veins") > patient.level("portal", "liver") + 10


def test_a_carcinoma_is_brighter_than_liver_early_and_washed_out_later(ct: list[Seen], mr: list[Seen]) -> None:
    for patients, phases in ((ct, ("arterial", "portal", "delayed")), (mr, ("t1a", "t1v", "t1d"))):
        early, venous, late = (average(patients, p, "tumour") - average(patients, p, "liver") for p in phases)
        assert early > 10
        assert venous < 0
        assert late < -5


def on_dwi(patient: Seen, region: str) -> NDArray[np.float64]:
    """The signal of the phase `dwi`, which has larger pixels, at the voxels of a region."""
    dwi, fine = patient.examination.phases["dwi"], patient.examination.phases["t2"].grid
    indices = np.argwhere(patient.regions[region])
    places = (np.array(fine.origin) + indices * fine.spacing - dwi.grid.origin) / dwi.grid.spacing
    return np.asarray(ndimage.map_coordinates(dwi.voxels.astype(np.float64), places.T, order=1))


def test_mr_shows_vessels_bright_after_contrast_and_tumours_bright_on_t2_and_dwi(mr: list[Seen]) -> None:
    for patient in mr:
        assert patient.level("t1v", "veins") > 1.1 * patient.level("t1v", "liver")
        assert patient.level("t1", "veins") < 0.8 * patient.level("t1", "liver")
        assert patient.level("t2", "veins") < patient.level("t2", "liver") < 0.8 * patient.level("t2", "tumour")
        inside, around = (on_dwi(patient, region) for region in ("tumour", "liver"))
        assert inside.mean() > 1.5 * around.mean()


def test_phases_lie_on_the_declared_grid_about_the_middle_of_the_body(ct: list[Seen]) -> None:
    for patient in ct:
        (grid,) = {volume.grid for volume in patient.examination.phases.values()}
        assert {mask.grid for mask in patient.examination.masks.values()} == {grid}
        assert grid.shape == (32, 96, 96)
        assert grid.spacing == (7.0, 3.8, 3.8)
        middle = [low + step * (n - 1) / 2 for low, step, n in zip(grid.origin, grid.spacing, grid.shape, strict=True)]
        assert max(abs(at) for at in middle) <= 10.001
    assert len({patient.examination.phases["plain"].grid.origin for patient in ct}) == PATIENTS


def test_dwi_has_larger_pixels_over_the_same_field_of_view(mr: list[Seen]) -> None:
    grids = {name: volume.grid for name, volume in mr[0].examination.phases.items()}
    assert len({grid for name, grid in grids.items() if name != "dwi"}) == 1
    fine, coarse = grids["t2"], grids["dwi"]
    assert coarse.spacing[1] == pytest.approx(1.5 * fine.spacing[1])
    assert [n * step for n, step in zip(coarse.shape, coarse.spacing, strict=True)] == pytest.approx(
        [n * step for n, step in zip(fine.shape, fine.spacing, strict=True)]
    )


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_the_same_patient_has_the_same_voxels_whoever_is_examined_in_between(modality: str) -> None:
    declared = imaging(modality=modality, readers=2, motion_mm=9.0)
    scanner = Scanner(spacing_mm=3.8, slice_mm=7.0)
    first = pictured(1, declared, 10.0, scanner)
    other = pictured(2, declared, 10.0, scanner)
    again = pictured(1, declared, 10.0, scanner)
    assert first.started_s == again.started_s
    for before, after in ((first.phases, again.phases), (first.masks, again.masks)):
        assert list(before) == list(after)
        for name, volume in before.items():
            assert volume.grid == after[name].grid
            np.testing.assert_array_equal(volume.voxels, after[name].voxels)
    for phase, motion in first.motion.items():
        np.testing.assert_array_equal(motion, again.motion[phase])
        assert not np.array_equal(motion, other.motion[phase])
    assert first.started_s != other.started_s
    assert first.phases[first.reference].grid.origin != other.phases[first.reference].grid.origin


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_what_is_pictured_around_the_tumour_is_what_the_whole_shows_there(modality: str) -> None:
    declared = imaging(modality=modality, motion_mm=6.0, readers=2)
    scanner = Scanner(spacing_mm=3.8, slice_mm=7.0, **{**CLEAR, "kernel_mm": 2.2})
    whole, part = pictured(4, declared, None, scanner), pictured(4, declared, 14.0, scanner)
    assert whole.started_s == part.started_s
    for name, volume in part.phases.items():
        grid, large = volume.grid, whole.phases[name].grid
        start = [(a - b) / step for a, b, step in zip(grid.origin, large.origin, grid.spacing, strict=True)]
        at = tuple(slice(round(s), round(s) + n) for s, n in zip(start, grid.shape, strict=True))
        assert np.abs(np.array(start) - np.round(start)).max() < 1e-3
        assert volume.voxels.size < 0.1 * whole.phases[name].voxels.size
        inner = (slice(2, -2),) * 3  # the blur sees what lies beyond the part's own edge
        apart = np.abs(volume.voxels[inner].astype(int) - whole.phases[name].voxels[at][inner])
        assert np.mean(apart <= 1) >= 0.999
        if name == part.reference:
            for key, mask in part.masks.items():
                np.testing.assert_array_equal(mask.voxels, whole.masks[key].voxels[at])
                assert key == "liver" or mask.voxels.sum() == whole.masks[key].voxels.sum()


def test_phases_start_when_declared_and_vary_between_patients_as_declared() -> None:
    declared = imaging()
    punctual = pictured(0, declared, 0.0).started_s
    assert punctual["plain"] < 0
    assert (punctual["arterial"], punctual["portal"], punctual["delayed"]) == (37.0, 70.0, 180.0)
    late = Scanner(**{**SCANNER.model_dump(), "portal_s": 90.0, "timing_s": 5.0})
    starts = [pictured(n, imaging(phases=("portal",), matrix=48), 0.0, late).started_s["portal"] for n in range(16)]
    assert fmean(starts) == pytest.approx(90, abs=3 * 5 / 20**0.5)
    assert np.std(starts) == pytest.approx(5, rel=0.4)
