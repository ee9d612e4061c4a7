"""ROI stacks: the right place in mm, whatever the grid; margins of the seed; slices matched by table position."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.imaging.rectangles import oriented, rectangle_overlap
from client.imaging.stacks import Stack, make_stack
from common.errors import FedmviError
from common.study.preparation import Stacks

SEED = b"a patient's own bytes"
PERCENTILES = tuple(float(at) for at in range(-40, 180, 20))
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
PLAIN = Stacks(size=64)


def on_grid(
    voxels: NDArray[Any],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float] = (-40.0, -30.0, 100.0),
    direction: tuple[float, ...] = IDENTITY,
) -> sitk.Image:
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing(spacing)
    made.SetOrigin(origin)
    made.SetDirection(direction)
    return made


def patient(
    spacing: tuple[float, float, float] = (1.0, 1.0, 4.0), extent: tuple[int, int, int] = (80, 70, 60)
) -> tuple[sitk.Image, sitk.Image]:
    """An ellipsoid of 24 x 16 x 20 mm, and a picture of noise and shapes that vary slowly, in the patient's mm."""
    shape = tuple(round(mm / step) for mm, step in zip(extent, spacing, strict=True))[::-1]
    z, y, x = (100 + spacing[2] * np.arange(shape[0])[:, None, None], -30 + spacing[1] * np.arange(shape[1])[:, None],
               -40 + spacing[0] * np.arange(shape[2]))  # fmt: skip
    tumour = ((x + 2) / 12) ** 2 + ((y - 3) / 8) ** 2 + ((z - 130) / 10) ** 2 <= 1
    voxels = 100 * np.sin(x / 9) * np.cos(y / 7) + 2 * (z - 130) + 0 * tumour
    return on_grid(voxels.astype(np.float32), spacing), on_grid(tumour.astype(np.uint8), spacing)


def ramp(spacing: tuple[float, float, float], axis: int) -> tuple[sitk.Image, sitk.Image]:
    """A picture whose values are its own positions in mm along an axis (0 for x)."""
    _, tumour = patient(spacing)
    size = tumour.GetSize()
    places = tumour.GetOrigin()[axis] + spacing[axis] * np.arange(size[axis], dtype=np.float32)
    shape = [-1 if 2 - axis == at else 1 for at in range(3)]
    return on_grid(np.broadcast_to(places.reshape(shape), size[::-1]).copy(), spacing), tumour


def shown(stack: Stack) -> NDArray[np.float32]:
    first, left, rows, columns = stack.placed
    return stack.pixels[:, first : first + rows, left : left + columns]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 4.0), (0.7, 0.7, 3.0), (1.3, 0.9, 2.5), (2.0, 2.0, 5.0)])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_pixels_lie_where_their_rectangle_says_in_mm(spacing: tuple[float, float, float], fit: str) -> None:
    plan = Stacks.model_validate({"size": 64, "fit": fit})
    for axis, along in ((0, 2), (1, 1)):
        picture, tumour = ramp(spacing, axis)
        stack = make_stack(picture, tumour, plan, SEED, PERCENTILES)
        values = shown(stack)
        low = (stack.rectangle.left if axis == 0 else stack.rectangle.top) + picture.GetOrigin()[axis]
        low -= spacing[axis] / 2
        length = stack.rectangle.width if axis == 0 else stack.rectangle.height
        count = values.shape[along]
        expected = low + (np.arange(count) + 0.5) * length / count
        line = values[1].mean(axis=2 - along)
        # Whole pixels of 0.8 mm do not fill a rectangle exactly, and its outermost pixels repeat.
        assert np.abs(line - expected).max() < 0.81
        assert np.abs(line - expected)[3:-3].mean() < 0.4
        assert np.ptp(values[1], axis=2 - along).max() < 1e-3
        middle = stack.at_mm[1][axis]
        assert line.mean() == pytest.approx(middle, abs=1e-3)


def test_images_of_fine_and_coarse_pixels_give_nearly_the_same_stack() -> None:
    stacks = [make_stack(*patient(spacing), PLAIN, SEED, PERCENTILES) for spacing in ((0.5, 0.5, 4.0), (1.0, 1.0, 4.0))]
    for first, second in zip(stacks[0].at_mm, stacks[1].at_mm, strict=True):
        assert np.abs(np.subtract(first, second)).max() < 1
    fine, coarse = (shown(stack)[1] for stack in stacks)
    rows, columns = (min(a, b) for a, b in zip(fine.shape, coarse.shape, strict=True))
    assert np.corrcoef(fine[:rows, :columns].ravel(), coarse[:rows, :columns].ravel())[0, 1] > 0.99


def test_padding_keeps_true_proportions_and_has_the_bodys_first_percentile() -> None:
    picture, tumour = patient((2.0, 1.0, 4.0))
    stack = make_stack(picture, tumour, PLAIN, SEED, PERCENTILES)
    first, left, rows, columns = stack.placed
    assert columns == 64 and rows / columns == pytest.approx(stack.rectangle.height / stack.rectangle.width, abs=0.03)
    rest = np.ones((64, 64), dtype=bool)
    rest[first : first + rows, left : left + columns] = False
    assert rest.any() and (stack.pixels[:, rest] == PERCENTILES[0]).all()
    assert abs((64 - first - rows) - first) <= 1
    stretched = make_stack(picture, tumour, Stacks(size=64, fit="stretch"), SEED, PERCENTILES)
    assert stretched.placed == (0, 0, 64, 64)


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40))
def test_a_seed_decides_the_margin_of_each_side(seed: bytes, other: bytes) -> None:
    picture, tumour = patient()
    stack = make_stack(picture, tumour, PLAIN, seed, PERCENTILES)
    assert all(5 <= margin <= 10 for margin in stack.margin_mm) and len(set(stack.margin_mm)) == 4
    again = make_stack(picture, tumour, PLAIN, other, PERCENTILES)
    assert (again.margin_mm == stack.margin_mm) == (seed == other)
    same = make_stack(*patient((0.6, 0.6, 5.0)), PLAIN, seed, PERCENTILES)
    assert same.margin_mm == stack.margin_mm


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=40))
def test_published_margins_are_5_to_10_whole_pixels_of_the_image_itself(seed: bytes) -> None:
    picture, tumour = patient((0.7, 0.7, 4.0))
    stack = make_stack(picture, tumour, Stacks(size=64, margin="published", fit="stretch"), seed, PERCENTILES)
    pixels = np.array(stack.margin_mm) / 0.7
    assert np.allclose(pixels, np.rint(pixels)) and pixels.min() > 4.9 and pixels.max() < 10.1
    held = sitk.GetArrayFromImage(tumour)[list(stack.slices)].any(axis=0)
    edges = np.rint(np.array([stack.rectangle.top, stack.rectangle.bottom]) / 0.7).astype(int)
    rows = np.flatnonzero(held.any(axis=1))
    assert rows[0] - edges[0] == round(pixels[0]) and edges[1] - rows[-1] - 1 == round(pixels[1])


def test_all_published_margins_occur() -> None:
    plan = Stacks(size=32, margin="published")
    pair = patient()
    drawn = {round(m) for n in range(40) for m in make_stack(*pair, plan, bytes([n]), PERCENTILES).margin_mm}
    assert drawn == {5, 6, 7, 8, 9, 10}


def test_at_the_images_border_the_rectangle_ends_and_says_so() -> None:
    picture, _ = patient()
    held = np.zeros(picture.GetSize()[::-1], dtype=np.uint8)
    held[5:9, 0:12, 30:44] = 1
    stack = make_stack(picture, on_grid(held, (1.0, 1.0, 4.0)), PLAIN, SEED, PERCENTILES)
    assert stack.clamped and stack.rectangle.top == 0 and stack.margin_mm[0] >= 5
    assert not make_stack(*patient(), PLAIN, SEED, PERCENTILES).clamped


def test_a_tumour_of_fewer_slices_repeats_the_nearest_and_says_so() -> None:
    picture, _ = patient()
    held = np.zeros(picture.GetSize()[::-1], dtype=np.uint8)
    held[7:9, 20:32, 30:44] = 1
    stack = make_stack(picture, on_grid(held, (1.0, 1.0, 4.0)), PLAIN, SEED, PERCENTILES)
    assert stack.repeated and stack.slices == (7, 7, 8)
    assert np.array_equal(stack.pixels[0], stack.pixels[1]) and not np.array_equal(stack.pixels[1], stack.pixels[2])
    assert not make_stack(*patient(), PLAIN, SEED, PERCENTILES).repeated


@pytest.mark.parametrize("stored", ["RAS", "LPI", "PLS", "ARI"])
def test_how_a_file_stores_its_axes_does_not_change_a_stack(stored: str) -> None:
    picture, tumour = patient((1.1, 0.9, 4.0))
    plain = make_stack(picture, tumour, PLAIN, SEED, PERCENTILES)
    turned = make_stack(*(sitk.DICOMOrient(one, stored) for one in (picture, tumour)), PLAIN, SEED, PERCENTILES)
    np.testing.assert_allclose(turned.pixels, plain.pixels, atol=1e-4)
    assert turned.slices == plain.slices
    np.testing.assert_allclose(turned.at_mm, plain.at_mm, atol=1e-9)


def test_an_oblique_image_is_cut_along_its_own_slices() -> None:
    picture, tumour = patient()
    plain = make_stack(picture, tumour, PLAIN, SEED, PERCENTILES)
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.2, -0.15, 0.1)
    for one in (picture, tumour):
        one.SetDirection(turn.GetMatrix())
    oblique = make_stack(picture, tumour, PLAIN, SEED, PERCENTILES)
    assert np.array_equal(oblique.pixels, plain.pixels) and oblique.slices == plain.slices
    for k, point in zip(oblique.slices, oblique.at_mm, strict=True):
        assert oriented(picture).TransformPhysicalPointToContinuousIndex(point)[2] == pytest.approx(k)


def test_other_images_are_cut_at_the_table_position_of_the_reference() -> None:
    reference = make_stack(*patient((1.0, 1.0, 4.0)), PLAIN, SEED, PERCENTILES)
    picture, tumour = patient((1.6, 1.6, 3.0))
    stack = make_stack(picture, tumour, PLAIN, SEED, PERCENTILES, reference.at_mm)
    for wanted, got in zip(reference.at_mm, stack.at_mm, strict=True):
        assert abs(wanted[2] - got[2]) <= 1.5 + 1e-9
    thick = make_stack(*patient((1.6, 1.6, 12.0)), PLAIN, SEED, PERCENTILES, reference.at_mm)
    assert thick.repeated


def test_a_tumour_that_breathing_moved_off_the_table_position_is_shown_to_be_off() -> None:
    picture, tumour = patient()
    reference = make_stack(picture, tumour, PLAIN, SEED, PERCENTILES)
    moved = np.roll(sitk.GetArrayFromImage(tumour), -5, axis=0)
    stack = make_stack(picture, on_grid(moved, (1.0, 1.0, 4.0)), PLAIN, SEED, PERCENTILES, reference.at_mm)
    assert stack.slices == reference.slices and not any(stack.shows_tumour)
    assert all(reference.shows_tumour) and rectangle_overlap(stack.rectangle, reference.rectangle) > 0.9


def test_two_readers_who_agree_overlap_wholly_and_others_less() -> None:
    picture, tumour = patient()
    first = make_stack(picture, tumour, PLAIN, SEED, PERCENTILES)
    shifted = on_grid(np.roll(sitk.GetArrayFromImage(tumour), 4, axis=2), (1.0, 1.0, 4.0))
    second = make_stack(picture, shifted, PLAIN, SEED, PERCENTILES, first.at_mm)
    overlap = rectangle_overlap(first.rectangle, second.rectangle)
    width = first.rectangle.width
    assert overlap == pytest.approx((width - 4) / (width + 4), abs=0.01)
    assert rectangle_overlap(first.rectangle, make_stack(picture, tumour, PLAIN, SEED, PERCENTILES).rectangle) == 1


def test_a_tumour_outside_of_the_image_is_an_error_with_a_number() -> None:
    picture, tumour = patient()
    with pytest.raises(FedmviError) as caught:
        make_stack(picture, tumour * 0, PLAIN, SEED, PERCENTILES)
    assert caught.value.number == 381
