"""tests/client: contours give the voxels whose centres they surround, or a numbered error says which does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.images.case import Acquisition, ImageSource, ReadImage
from client.images.masks.structure_set import surrounded
from client.images.reading.read import read_image
from simulation.imaging.contours import slice_contours
from simulation.imaging.volume import Grid, Volume
from tests.client.images.drawn import (
    OBLIQUE,
    PATIENT,
    SHAPE,
    contour,
    examined,
    in_mm,
    mask_of,
    picture,
    rectangle,
    refused,
    structure_set,
)
from tests.public_data import public
from tests.simulation.imaging.examinations import ct

VOXELS = Grid(SHAPE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
"""Contours on this grid are in voxels."""


def test_the_real_phantom_of_ibsi_is_its_mask_but_for_a_voxel_whose_middle_lies_on_a_contour() -> None:
    folder = public("ibsi/ibsi1_ct_phantom")
    image = read_image(ImageSource("plain", folder / "image/phantom.nii.gz"), PATIENT)
    mask = mask_of(folder / "RTSTRUCT.dcm", image)
    theirs = mask_of(folder / "mask/mask.nii.gz", image)
    assert theirs.sum() == 125256 and np.argwhere(mask != theirs).tolist() == [[32, 123, 137]]


@pytest.fixture(scope="module")
def two_slices(tmp_path_factory: pytest.TempPathFactory) -> ReadImage:
    folder = tmp_path_factory.mktemp("two")
    for name in ("ct_1.dcm", "ct_2.dcm"):
        (folder / name).symlink_to(public("dicom/rtstruct").resolve() / name)
    return read_image(ImageSource("plain", folder), PATIENT)


def test_a_real_contour_with_a_hole_is_the_difference_of_both(two_slices: ReadImage) -> None:
    path = public("dicom/rtstruct") / "rt.dcm"
    outer, inner = (
        np.array(item.ContourData, dtype=float).reshape(-1, 3)[:, :2]
        for item in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    )
    x = -125 + 0.488281 * np.arange(512)
    centres = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    square, octagon = (
        Outline(np.vstack((line, line[:1])), closed=True).contains_points(centres).reshape(512, 512)
        for line in (outer, inner)
    )
    assert (octagon <= square).all()
    mask = mask_of(path, two_slices)
    np.testing.assert_array_equal(mask[0], square & ~octagon)
    assert not mask[1].any()


@pytest.mark.parametrize("name", ["invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"])
def test_real_contours_on_slices_that_are_not_there_are_refused(two_slices: ReadImage, name: str) -> None:
    path = public("dicom/rtstruct") / name
    assert "the file holds 1 'ROI-1', 2 'ROI-2', 3 'ROI-3', 4 'ROI-4'" in refused(342, path, two_slices)
    for segment in ("ROI-1", "roi-4", "3"):
        assert "which the image has not" in refused(343, path, two_slices, segment=segment)


@given(arrays(np.float64, (12, 2), elements=st.floats(-1, 9)))
@settings(max_examples=200, deadline=None)
def test_any_line_surrounds_the_centres_that_matplotlib_says(points: NDArray[np.float64]) -> None:
    centres = np.stack(np.meshgrid(np.arange(7), np.arange(8)), axis=-1).reshape(-1, 2)
    # Where a centre is on the line itself, either answer is right.
    ahead = np.roll(points, -1, axis=0) - points
    length = np.maximum((ahead**2).sum(axis=1), 1e-12)
    away = centres[:, None] - points
    share = np.clip((away * ahead).sum(axis=2) / length, 0, 1)
    clear = np.sqrt(((away - share[..., None] * ahead) ** 2).sum(axis=2)).min(axis=1) > 1e-6
    expected = Outline(np.vstack((points, points[:1])), closed=True).contains_points(centres)
    np.testing.assert_array_equal(surrounded(points, (8, 7)).ravel()[clear], expected[clear])


@given(arrays(np.uint8, (8, 7), elements=st.integers(0, 1)), st.sampled_from(["axial", "sagittal", "oblique"]))
@settings(max_examples=40, deadline=None)
def test_any_mask_comes_back_from_its_contours_in_any_plane(
    tmp_path_factory: pytest.TempPathFactory, slice_mask: NDArray[np.uint8], plane: str
) -> None:
    planes = {"axial": (1, 0, 0, 0, 1, 0, 0, 0, 1), "sagittal": (0, 0, -1, 1, 0, 0, 0, -1, 0), "oblique": OBLIQUE}
    image = picture(planes[plane])
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[2], mask[3], mask[5, 4, 4] = slice_mask, slice_mask[::-1], 1
    lines = [line for z in (2, 3, 5) for line in slice_contours(Volume(mask, VOXELS), z)]
    items = [contour(in_mm(line, image.image).round(3)) for line in lines]
    path = structure_set(tmp_path_factory.getbasetemp() / "any.dcm", items)
    np.testing.assert_array_equal(mask_of(path, image), mask)


def _written(path: Path, *lines: NDArray[np.float64], kind: str = "CLOSED_PLANAR", **changes: str) -> Path:
    """Contours in voxels of `picture`."""
    image = picture().image
    return structure_set(path, [contour(in_mm(line, image), kind) for line in lines], **changes)


def test_a_hole_may_be_led_into_by_a_keyhole(tmp_path: Path) -> None:
    outer, inner = rectangle((0.5, 0.5), (5.5, 6.5), 2), rectangle((2.5, 2.5), (3.5, 4.5), 2)
    keyhole = np.vstack((outer, outer[:1], inner[::-1], inner[-1:]))
    mask = mask_of(_written(tmp_path / "keyhole.dcm", keyhole), picture())
    np.testing.assert_array_equal(mask, mask_of(_written(tmp_path / "two.dcm", outer, inner), picture()))
    assert mask[2].sum() == 5 * 6 - 1 * 2


def test_regions_that_touch_along_centres_of_voxels_share_none_and_lose_none(tmp_path: Path) -> None:
    whole, left, right = (
        mask_of(_written(tmp_path / "m.dcm", rectangle(low, high, 1)), picture())
        for low, high in (((1, 1), (6, 6)), ((1, 1), (3, 6)), ((3, 1), (6, 6)))
    )
    np.testing.assert_array_equal(left + right, whole)
    assert whole.sum() == 25


@pytest.mark.parametrize(
    ("lines", "kind", "said"),
    [
        ([rectangle((1, 1), (4, 4), 2.4)], "CLOSED_PLANAR", "contour 1 at 14.2 mm along the slices' normal is 1.2 mm"),
        ([rectangle((1, 1), (4, 4), 6.0)], "CLOSED_PLANAR", "is 3 mm from the nearest slice, 6 of 6"),
        ([rectangle((1, 1), (4, 4), -1.0)], "CLOSED_PLANAR", "is 3 mm from the nearest slice, 1 of 6"),
        (
            [rectangle((1, 1), (4, 4), 2.0) + np.eye(4)[:, :1] * [0, 0, 1]],
            "CLOSED_PLANAR",
            "leaves its",
        ),
        ([rectangle((1, 1), (4, 4), 2.0)], "OPEN_PLANAR", "contour 1 is OPEN_PLANAR, not CLOSED_PLANAR"),
        ([rectangle((1, 1), (4, 4), 2.0)[:1]], "POINT", "contour 1 is POINT"),
        ([rectangle((1, 1), (4, 4), 2.0)[:2]], "CLOSED_PLANAR", "contour 1 has 2 points"),
        (
            [rectangle((1, 1), (4, 4), 2.0), rectangle((1, 1), (9, 4), 3.0)],
            "CLOSED_PLANAR",
            "contour 2 on slice 4 reach",
        ),
        ([rectangle((1, 1), (4, 4), 2.0)] * 2, "CLOSED_PLANAR", "contour 2 on slice 3 is there twice"),
        ([rectangle((-1e12, -1e12), (1e12, 1e12), 2.0)], "CLOSED_PLANAR", "contour 1 on slice 3 reaches beyond"),
        ([rectangle((1, 1), (np.inf, 4), 2.0)], "CLOSED_PLANAR", "not finite"),
    ],
)
def test_a_contour_that_is_no_area_of_a_slice_is_refused_with_its_place(
    tmp_path: Path, lines: list[NDArray[np.float64]], kind: str, said: str
) -> None:
    image = picture().image
    points = [np.array(image.GetOrigin()) + line * np.array(image.GetSpacing()) for line in lines]
    path = structure_set(tmp_path / "m.dcm", [contour(line, kind) for line in points])
    assert said in refused(344, path, picture())


def test_contours_between_voxels_are_an_empty_mask(tmp_path: Path) -> None:
    refused(342, _written(tmp_path / "m.dcm", rectangle((1.2, 1.2), (1.8, 1.8), 2)), picture())
    refused(342, structure_set(tmp_path / "m.dcm", []), picture())


def _lose_coordinates(item: Dataset) -> None:
    del item.ContourData


def _lose_a_number(item: Dataset) -> None:
    item.ContourData = item.ContourData[:-1]


def _promise_more_points(item: Dataset) -> None:
    item.NumberOfContourPoints = 9


@pytest.mark.parametrize("damage", [_lose_coordinates, _lose_a_number, _promise_more_points])
def test_a_contour_that_lost_coordinates_is_refused(tmp_path: Path, damage: Callable[[Dataset], None]) -> None:
    path = _written(tmp_path / "m.dcm", rectangle((1, 1), (4, 4), 2))
    dataset = pydicom.dcmread(path)
    damage(dataset.ROIContourSequence[0].ContourSequence[0])
    dataset.save_as(path)
    refused(344, path, picture())


def test_a_structure_set_without_regions_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path / "m.dcm", rectangle((1, 1), (4, 4), 2))
    dataset = pydicom.dcmread(path)
    del dataset.StructureSetROISequence
    dataset.save_as(path)
    refused(340, path, picture())


def test_a_region_is_found_by_its_name(tmp_path: Path) -> None:
    path = _written(tmp_path / "m.dcm", rectangle((1, 1), (4, 4), 2), name="GTV-1")
    assert mask_of(path, picture()).any()
    assert "its only segment is not called 'liver'" in refused(342, path, picture(), "liver")
    assert mask_of(path, picture(), "liver", "gtv-1").any()


SLICES = tuple(f"1.2.3.{z}" for z in range(SHAPE[0]))
ABOUT = Acquisition(series="1.2.3", frame_of_reference="1.2.9", instances=SLICES)


def _refers(path: Path, at: float = 2, slices: tuple[str, ...] = (), frame: str = "", series: str = "") -> Path:
    points = in_mm(rectangle((1, 1), (4, 4), at), picture().image)
    return structure_set(path, [contour(points, slices=slices)], frame=frame, series=series)


def test_identifiers_have_to_be_those_of_the_image_where_both_have_them(tmp_path: Path) -> None:
    image, path = ReadImage(picture().image, ABOUT), tmp_path / "m.dcm"
    for fits in ({}, {"frame": "1.2.9"}, {"slices": ("1.2.3.2",)}, {"series": "1.2.3", "frame": "1.2.9"}):
        assert mask_of(_refers(path, **fits), image).sum() == 9
        assert mask_of(_refers(path, **fits), picture()).sum() == 9
    assert "its frame of reference is 1.2.8, the image's 1.2.9" in refused(343, _refers(path, frame="1.2.8"), image)
    assert "refers to series 1.2.4, but" in refused(343, _refers(path, series="1.2.4", frame="1.2.9"), image)
    assert "of which the image" in refused(343, _refers(path, slices=("1.2.4.2",), frame="1.2.9"), image)
    assert "names slice 4" in refused(344, _refers(path, slices=("1.2.3.3",)), image)


def test_a_made_up_frame_of_reference_is_forgiven_where_the_series_is_named(tmp_path: Path) -> None:
    image = ReadImage(picture().image, ABOUT)
    assert mask_of(_refers(tmp_path / "m.dcm", frame="1.2.8", series="1.2.3"), image).any()
    assert mask_of(_refers(tmp_path / "m.dcm", frame="1.2.8", slices=("1.2.3.2",)), image).any()


def test_contours_of_another_patient_or_phase_are_refused(tmp_path: Path) -> None:
    image, folder = examined(tmp_path, ct(), "rtstruct")
    arterial = read_image(ImageSource("arterial", tmp_path / "images/hospital-a-0001/arterial"), PATIENT)
    assert mask_of(folder / "tumour.dcm", image).any()
    refused(343, folder / "tumour.dcm", arterial)
