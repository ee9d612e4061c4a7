"""tests/simulation: every finding shows in the pictures, and every latent process only where it is said to act."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from simulation.cohorts.consortium import Scanner
from simulation.imaging.lesion import RING_MM, Signal
from simulation.imaging.reading import measurements
from simulation.imaging.scanner import grid_of
from simulation.imaging.tissues import Tissue
from tests.simulation.imaging.subjects import SCANNER, imaging, pictured, subject

TIMES = {"plain": -90.0, "arterial": 37.0, "portal": 70.0, "delayed": 180.0}
PATIENTS = range(4)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """The surroundings of a tumour in every phase, without anything that a scanner adds.

    Attributes
    ----------
    pictures
        HU by phase, 2 mm apart.
    distance
        To the tumour's outline in mm, negative inside.
    parenchyma
        Where there is liver, tumour left out.
    """

    pictures: dict[str, Floats]
    distance: Floats
    parenchyma: NDArray[np.bool_]

    def where(self, low: float, high: float) -> NDArray[np.bool_]:
        """Liver or tumour at such a distance."""
        return (self.distance > low) & (self.distance < high) & (self.parenchyma | (self.distance < 0))

    def mean(self, phase: str, low: float, high: float) -> float:
        return float(self.pictures[phase][self.where(low, high)].mean())

    def sd(self, phase: str, low: float, high: float) -> float:
        return float(self.pictures[phase][self.where(low, high)].std())


def shown(number: int, arterial_s: float = TIMES["arterial"], **findings: Any) -> Shown:
    declared = imaging()
    fine = SCANNER.model_copy(update={"spacing_mm": 2.0, "slice_mm": 2.0})
    whole = grid_of(imaging(matrix=190, slices=112), fine, "portal", np.random.default_rng(number))
    who = subject(number, declared, whole, **findings)
    surface = who.lesion.surface
    axes = whole.around(surface.centre, surface.radius + 22).axes()
    labels = who.anatomy.labels(axes, who.liver_distance(axes))
    drawn = who.drawn(axes, labels)
    times = {**TIMES, "arterial": arterial_s}
    pictures = {phase: who.picture(axes, labels, drawn, phase, at) for phase, at in times.items()}
    return Shown(pictures, who.lesion.distance(axes), labels == Tissue.LIVER)


@pytest.fixture(scope="module")
def without() -> list[Shown]:
    return [shown(number) for number in PATIENTS]


def changed(before: Shown, after: Shown, phase: str) -> Floats:
    return after.pictures[phase] - before.pictures[phase]


# ------------------------------------------------------------------------------------------------ latent processes


def test_the_temporal_process_acts_on_differences_of_phases_and_not_before_contrast(without: list[Shown]) -> None:
    early = []
    for number in PATIENTS:
        before, after = without[number], shown(number, temporal=2.0)
        np.testing.assert_array_equal(before.pictures["plain"], after.pictures["plain"])
        rise = {phase: float(changed(before, after, phase)[before.distance < -3].mean()) for phase in TIMES}
        early.append(rise["arterial"])
        assert rise["portal"] < -6  # washed out sooner
        assert rise["delayed"] < -3
        for phase in TIMES:
            assert not changed(before, after, phase)[before.distance > 3].any()
    assert min(early) > 0  # more comes in, how much more depends on when blood arrives
    assert fmean(early) > 3


def test_the_tumour_process_makes_the_inside_uneven_and_leaves_the_ring(without: list[Shown]) -> None:
    for number in PATIENTS:
        before, after = without[number], shown(number, tumour=2.0)
        for phase in TIMES:
            assert after.sd(phase, -3, -1) > 1.2 * before.sd(phase, -3, -1)  # so near to the edge nothing is necrotic
            assert after.sd(phase, -99, -5) > 1.3 * before.sd(phase, -99, -5)
            assert not changed(before, after, phase)[before.distance > 2].any()


def test_more_of_the_tumour_is_necrotic_where_the_tumour_process_is_strong() -> None:
    shares: dict[float, list[float]] = {0.0: [], 2.0: []}
    for number in range(3):
        for score, found in shares.items():
            one = shown(number, tumour=score, size_cm=7.0)
            inside = one.distance < -8
            enhancement = (one.pictures["portal"] - one.pictures["plain"])[inside]
            found.append(float(np.mean(enhancement < 0.4 * np.median(enhancement))))
    assert fmean(shares[2.0]) > fmean(shares[0.0]) + 0.05
    assert fmean(shares[2.0]) < 0.5


def test_the_ring_process_acts_in_the_ten_millimetres_around_the_tumour_only(without: list[Shown]) -> None:
    for number in PATIENTS:
        before, after = without[number], shown(number, ring=2.0)
        for phase in TIMES:
            difference = changed(before, after, phase)
            assert not difference[(before.distance < -2) | (before.distance > RING_MM)].any()
            assert after.sd(phase, 2, RING_MM - 2) > before.sd(phase, 2, RING_MM - 2)
            assert np.abs(difference[before.parenchyma & (np.abs(before.distance - 5) < 2)]).mean() > 1
        rise = after.mean("arterial", 2, 8) - before.mean("arterial", 2, 8)
        assert rise > 1.5 * abs(after.mean("portal", 2, 8) - before.mean("portal", 2, 8))


@pytest.mark.parametrize(
    ("modality", "phases"), [("ct", tuple(TIMES)), ("mr", ("t1", "t1a", "t1v", "t1d"))], ids=["ct", "mr"]
)
def test_differences_of_phases_tell_more_of_the_temporal_process_than_any_phase_alone(
    modality: str, phases: tuple[str, ...]
) -> None:
    declared, taken = imaging(modality=modality, phases=phases), Scanner(spacing_mm=3.8, slice_mm=7.0)
    drawn = np.random.default_rng(12).standard_normal((40, 3))
    found = [
        measurements(pictured(number, declared, 14.0, taken, temporal=float(a), tumour=float(b), ring=float(c)))
        for number, (a, b, c) in enumerate(drawn)
    ]

    def told(*pictures: str) -> float:
        """Share of the process's variance that the levels in these pictures predict in patients left out."""
        columns = [[one[f"{p}.{region}.mean"] for one in found] for p in pictures for region in ("tumour", "ring")]
        design = np.column_stack([np.ones(len(found)), *columns])
        projection = design @ np.linalg.pinv(design)
        left_out = (drawn[:, 0] - projection @ drawn[:, 0]) / (1 - np.diag(projection))
        return 1 - float(np.mean(left_out**2) / drawn[:, 0].var())

    differences = told(*(f"{after}-minus-{before}" for before, after in pairwise(phases)))
    assert differences > 0.4
    assert differences > max(told(phase) for phase in phases) + 0.1
    assert told(phases[0]) < 0.05


# -------------------------------------------------------------------------------------------------------- findings


@pytest.mark.parametrize("size_cm", [2.0, 5.0, 10.0])
def test_the_outlined_tumour_has_the_recorded_diameter(size_cm: float) -> None:
    declared = imaging(reader_disagreement_mm=0.0, phases=("portal",))
    diameters = []
    for number in range(6):
        tumour = pictured(number, declared, 6.0, size_cm=size_cm).masks["tumour"]
        edge = (tumour.voxels > 0) & ~ndimage.binary_erosion(tumour.voxels > 0)
        diameters.append(pdist(np.argwhere(edge) * tumour.grid.spacing).max())
    assert fmean(diameters) == pytest.approx(10 * size_cm, abs=2 * SCANNER.spacing_mm + size_cm)


def test_a_capsule_enhances_late_along_the_outline(without: list[Shown]) -> None:
    for number in PATIENTS:
        before, after = without[number], shown(number, capsule=True)
        assert after.mean("delayed", 0, 1.5) > before.mean("delayed", 0, 1.5) + 8
        for phase in TIMES:
            assert not changed(before, after, phase)[np.abs(before.distance - 0.8) > 2.2].any()


def test_a_rim_is_brighter_than_the_centre_in_the_arterial_phase_only(without: list[Shown]) -> None:
    for number in PATIENTS:
        before, after = without[number], shown(number, rim=True)
        contrast = [one.mean("arterial", -3, -1) - one.mean("arterial", -99, -8) for one in (before, after)]
        assert contrast[1] > contrast[0] + 15
        for phase in ("plain", "portal", "delayed"):
            np.testing.assert_array_equal(before.pictures[phase], after.pictures[phase])


def test_peritumoral_enhancement_is_on_one_side_of_the_tumour_in_the_arterial_phase_only(without: list[Shown]) -> None:
    for number in PATIENTS:
        before, after = without[number], shown(number, halo=True)
        rise = changed(before, after, "arterial")
        assert 0.05 < np.mean(rise[before.where(2, 8)] > 5) < 0.75
        assert not rise[(before.distance < -2) | (before.distance > RING_MM)].any()
        for phase in ("plain", "portal", "delayed"):
            np.testing.assert_array_equal(before.pictures[phase], after.pictures[phase])


def test_a_second_tumour_lies_apart_from_the_first_and_washes_out_like_it() -> None:
    declared = imaging()
    for number in PATIENTS:
        whole = grid_of(declared, SCANNER, "portal", np.random.default_rng(number))
        assert subject(number, declared, whole).lesion.satellite is None
        who = subject(number, declared, whole, multiple=True)
        second = who.lesion.satellite
        assert second is not None
        axes = whole.around(second.centre, 2.0).axes()
        labels = np.full([len(axis) for axis in axes], Tissue.LIVER, dtype=np.uint8)
        assert who.lesion.distance(axes).min() > second.radius / 2
        drawn = who.lesion.on(axes, labels)
        early, late = (np.zeros(labels.shape, dtype=np.float32) for _ in range(2))
        drawn.draw_on(early, "arterial", who.circulation, 37.0, Signal("hu"))
        drawn.draw_on(late, "delayed", who.circulation, 180.0, Signal("hu"))
        assert early.max() > late.max() + 5


def test_an_irregular_margin_is_more_winding_than_a_smooth_one() -> None:
    declared = imaging()
    for number in PATIENTS:
        whole = grid_of(declared, SCANNER, "portal", np.random.default_rng(number))
        smooth, irregular = (
            float(np.sqrt(np.sum(subject(number, declared, whole, smooth_margin=s).lesion.surface.heights ** 2)))
            for s in (True, False)
        )
        assert irregular > 2 * smooth


def test_ascites_is_fluid_beside_the_liver_and_cirrhosis_roughens_its_surface_and_texture() -> None:
    declared = imaging(phases=("plain",))
    for number in range(3):
        plain, wet, rough = (
            pictured(number, declared, None, **findings) for findings in ({}, {"ascites": True}, {"cirrhosis": True})
        )
        liver = plain.masks["liver"].voxels > 0
        beside = ndimage.binary_dilation(liver, iterations=2) & ~ndimage.binary_dilation(liver)
        fluid = [np.mean(np.abs(one.phases["plain"].voxels[beside] - 6.0) < 12) for one in (plain, wet)]
        assert fluid[1] > fluid[0] + 0.1
        np.testing.assert_array_equal(wet.masks["liver"].voxels, plain.masks["liver"].voxels)
        texture = []
        for one in (plain, rough):
            inner = ndimage.binary_erosion(one.masks["liver"].voxels > 0, iterations=2)
            inner &= ~ndimage.binary_dilation(one.masks["tumour"].voxels > 0, iterations=4)
            texture.append(np.subtract(*np.quantile(one.phases["plain"].voxels[inner], (0.75, 0.25))))
        assert texture[1] > 1.4 * texture[0]
