"""The index lesion: parts are told apart, and the largest counts."""

import numpy as np
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from client.imaging.lesion import index_lesion


def image(voxels: NDArray[np.uint8]) -> sitk.Image:
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing((0.8, 0.7, 3.0))
    made.SetOrigin((-3.0, 5.0, 7.5))
    return made


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 3).map(lambda n: n // 3)))
def test_parts_and_the_largest_volume_are_those_of_itk(voxels: NDArray[np.uint8]) -> None:
    given_mask = image(voxels)
    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(given_mask, True))
    found, parts = index_lesion(given_mask, "largest")
    kept = sitk.GetArrayFromImage(found)
    assert parts == labels.max()
    assert kept.sum() == max((np.sum(labels == part) for part in range(1, parts + 1)), default=0)
    assert len(set(labels[kept > 0])) <= 1
    assert found.GetPixelID() == sitk.sitkUInt8 and found.GetOrigin() == given_mask.GetOrigin()


def test_all_keeps_every_part_and_counts_them() -> None:
    voxels = np.zeros((3, 8, 8), dtype=np.uint8)
    voxels[1, 1:3, 1:3] = voxels[1, 5:8, 5:8] = 1
    found, parts = index_lesion(image(voxels), "all")
    assert parts == 2 and np.array_equal(sitk.GetArrayFromImage(found), voxels)


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    assert index_lesion(image(np.eye(4, dtype=np.uint8)[None].repeat(2, axis=0)), "largest")[1] == 1


def test_of_equal_parts_the_one_that_begins_in_the_lower_slice_counts() -> None:
    voxels = np.zeros((4, 6, 6), dtype=np.uint8)
    voxels[1, 4, 1:4] = voxels[3, 0, 1:4] = 1
    kept = sitk.GetArrayFromImage(index_lesion(image(voxels), "largest")[0])
    assert np.array_equal(kept[1], voxels[1]) and not kept[3].any()
