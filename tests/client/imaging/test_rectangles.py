"""Slices and rectangles: where the tumour is widest, in mm, and how much two readers' rectangles share."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from client.imaging.rectangles import Rectangle, choose_slices, diameter, oriented, rectangle_overlap

Bits = NDArray[np.bool_]
rectangles = st.builds(
    lambda top, left, height, width: Rectangle(top, top + height, left, left + width),
    *[st.floats(0, 50)] * 2,
    *[st.floats(1, 50)] * 2,
)


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (5, 6)), st.sampled_from([(1.0, 1.0), (0.7, 2.0)]))
def test_a_diameter_is_the_largest_distance_between_corners(outline: Bits, pixel: tuple[float, float]) -> None:
    assume(outline.any())
    corners = np.concatenate([np.argwhere(outline) + shift for shift in ((0, 0), (0, 1), (1, 0), (1, 1))]) * pixel
    assert diameter(outline, pixel) == pytest.approx(pdist(corners).max())


def test_the_widest_slice_is_widest_in_mm_and_not_in_pixels() -> None:
    tumour = np.zeros((3, 12, 12), dtype=bool)
    tumour[0, 2:10, 5], tumour[1, 5, 2:9], tumour[2, 5, 5] = True, True, True
    assert choose_slices(tumour, (1.0, 1.0), 1) == (0,)
    assert choose_slices(tumour, (1.0, 2.0), 1) == (1,)


def test_of_slices_of_one_diameter_the_larger_area_counts_then_the_lower_slice() -> None:
    tumour = np.zeros((5, 8, 8), dtype=bool)
    tumour[1:5, 1:7, 1:7] = np.eye(6, dtype=bool)
    tumour[2:4, 1:7, 1:7] |= np.fliplr(np.eye(6, dtype=bool))
    assert choose_slices(tumour, (1.0, 1.0), 1) == (2,)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=14), st.integers(1, 9))
def test_slices_are_consecutive_and_hold_tumour_where_there_is_enough(widths: list[int], count: int) -> None:
    assume(any(widths))
    tumour = np.zeros((len(widths), 2, 8), dtype=bool)
    for level, width in enumerate(widths):
        tumour[level, 0, :width] = True
    chosen = choose_slices(tumour, (1.0, 1.0), count)
    assert len(chosen) == count and int(np.argmax(widths)) in chosen
    assert all(widths[k] for k in chosen)
    steps = np.diff(chosen)
    assert ((steps == 0) | (steps == 1)).all()
    runs, _ = ndimage.label([width > 0 for width in widths])
    assert len(set(chosen)) == min(count, int(np.sum(runs == runs[chosen[0]])))


@given(rectangles, rectangles)
def test_overlap_is_symmetric_between_0_and_1_and_1_with_itself(first: Rectangle, second: Rectangle) -> None:
    overlap = rectangle_overlap(first, second)
    assert 0 <= overlap <= 1
    assert overlap == pytest.approx(rectangle_overlap(second, first))
    assert rectangle_overlap(first, first) == pytest.approx(1)


def test_overlap_is_intersection_over_union() -> None:
    assert rectangle_overlap(Rectangle(0, 10, 0, 20), Rectangle(5, 15, 0, 20)) == pytest.approx(1 / 3)
    assert rectangle_overlap(Rectangle(0, 10, 0, 20), Rectangle(0, 10, 20, 30)) == 0


@pytest.mark.parametrize(
    ("stored", "read"),
    [("RAS", "LPS"), ("LPI", "LPS"), ("PRS", "LPS"), ("LSA", "LIP"), ("RIP", "LIP"), ("ASL", "PIL"), ("PSR", "PIL")],
)
def test_slices_stay_slices_and_are_turned_as_they_are_read(stored: str, read: str) -> None:
    scan = sitk.Image((3, 4, 5), sitk.sitkInt16)
    scan.SetSpacing((1.0, 2.0, 3.0))
    scan.SetDirection(sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(stored))
    turned = oriented(scan)
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(turned.GetDirection()) == read
    assert turned.GetSpacing()[2] == 3.0 and turned.GetSize()[2] == 5
