"""tests/simulation: two readers outline one tumour as differently as is declared, and never lose it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from simulation.imaging.examine import Subject
from simulation.imaging.readers import largest_part, outline
from simulation.imaging.volume import Grid
from tests.simulation.imaging.subjects import SCANNER, imaging, pictured, subject

WHOLE = Grid((112, 190, 190), (2.0, 2.0, 2.0), (-117.0, -189.0, -189.0))
DECLARED = imaging()


def outlined(who: Subject, grid: Grid, disagreement_mm: float, seed: int) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = outline(who.lesion, grid, disagreement_mm, np.random.default_rng(seed)).voxels > 0
    return mask


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.fixture(scope="module")
def lesions() -> list[tuple[Subject, Grid]]:
    """Tumours of 5 cm with a grid of 1 mm around each."""
    found = []
    for number in range(4):
        who = subject(number, DECLARED, WHOLE)
        surface = who.lesion.surface
        fine = Grid((400, 400, 400), (1.0, 1.0, 1.0), (-200.0, -200.0, -200.0))
        found.append((who, fine.around(surface.centre, surface.radius + 14)))
    return found


def test_two_readers_who_never_differ_draw_one_outline() -> None:
    masks = pictured(1, imaging(readers=2, reader_disagreement_mm=0.0), 10.0).masks
    np.testing.assert_array_equal(masks["tumour"].voxels, masks["tumour.reader2"].voxels)
    apart = pictured(1, imaging(readers=2, reader_disagreement_mm=2.0), 10.0).masks
    assert not np.array_equal(apart["tumour"].voxels, apart["tumour.reader2"].voxels)


def test_the_first_reader_draws_the_same_whether_or_not_there_is_a_second() -> None:
    alone, both = (pictured(2, imaging(readers=readers), 10.0).masks for readers in (1, 2))
    assert set(both) - set(alone) == {"tumour.reader2"}
    np.testing.assert_array_equal(alone["tumour"].voxels, both["tumour"].voxels)


@pytest.mark.parametrize("declared_mm", [1.0, 2.0])
def test_outlines_of_two_readers_lie_as_far_apart_as_declared(
    lesions: list[tuple[Subject, Grid]], declared_mm: float
) -> None:
    squares = []
    for who, grid in lesions:
        for pair in range(3):
            one, other = (outlined(who, grid, declared_mm, 10 * pair + reader) for reader in (1, 2))
            # Signed distances to the other's outline, on this outline, to half a voxel.
            away = ndimage.distance_transform_edt(~other) - ndimage.distance_transform_edt(other)
            edge = one & ~ndimage.binary_erosion(one)
            squares.append(float(np.mean((away[edge] + 0.5) ** 2)))
    assert np.sqrt(np.mean(squares)) == pytest.approx(declared_mm, rel=0.35)


def test_readers_agree_well_but_not_fully_on_common_tumours() -> None:
    both = [pictured(number, imaging(readers=2), 10.0).masks for number in range(6)]
    overlaps = [dice(masks["tumour"].voxels > 0, masks["tumour.reader2"].voxels > 0) for masks in both]
    assert 0.85 < np.mean(overlaps) < 0.98
    assert min(overlaps) > 0.75


@pytest.mark.parametrize(("size_cm", "apart_mm"), [(0.5, 4.0), (2.0, 8.0)])
def test_no_reader_loses_a_small_tumour_between_thick_slices_or_draws_two(size_cm: float, apart_mm: float) -> None:
    thick = SCANNER.model_copy(update={"slice_mm": 10.0, "spacing_mm": 3.8})
    declared = imaging(readers=2, reader_disagreement_mm=apart_mm, phases=("portal",), slices=30)
    for number in range(10):
        masks = pictured(number, declared, 8.0, thick, size_cm=size_cm, smooth_margin=False).masks
        for key, mask in masks.items():
            _, parts = ndimage.label(mask.voxels)
            assert parts == 1, key


def test_the_largest_of_several_parts_is_kept() -> None:
    parts = np.zeros((1, 5, 8), dtype=bool)
    parts[0, 0, 0] = parts[0, 2:5, 2:5] = parts[0, 0:2, 7] = True
    kept = np.zeros_like(parts)
    kept[0, 2:5, 2:5] = True
    np.testing.assert_array_equal(largest_part(parts), kept)
    assert not largest_part(np.zeros((2, 2, 2), dtype=bool)).any()
