"""tests/client: slices of a folder become series and volumes, in the order in which they lie in the patient."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from client.images.reading.series import find_series
from common.errors import FedmviError
from tests.client.images.dicom_files import (
    SERIES,
    by_simpleitk,
    picture,
    read,
    same_place,
    save,
    slice_header,
    voxels_of,
    write_series,
)
from tests.public_data import public

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@pytest.mark.parametrize("cosines", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_slices_are_sorted_by_where_they_lie_in_any_orientation(tmp_path: Path, cosines: tuple[float, ...]) -> None:
    voxels = picture()

    def misleading(z: int, header: Dataset) -> None:
        header.InstanceNumber = (z * 3) % 5
        header.SliceLocation = -z

    write_series(tmp_path, voxels, change=misleading, cosines=cosines)
    ours = read(tmp_path)
    np.testing.assert_array_equal(voxels_of(ours), voxels)
    assert same_place(ours.image, by_simpleitk(tmp_path))
    assert np.linalg.det(np.reshape(ours.image.GetDirection(), (3, 3))) == pytest.approx(1)


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, picture(), at=[0, 3, 9, 12, 15])
    with pytest.raises(FedmviError) as caught:
        read(tmp_path)
    assert caught.value.number == 331
    assert caught.value.local.startswith(f"p1: {tmp_path}: ")
    assert "6.00 mm between slice 2 (007-b.dcm, at 8.00 mm) and slice 3 (014-a.dcm, at 14.00 mm) (1 missing)" in (
        caught.value.local
    )


def test_uneven_spacing_of_a_real_series_is_refused() -> None:
    with pytest.raises(FedmviError, match=r"202\.50 mm between slice 1") as caught:
        read(public("dicom/irregular_z_ct"))
    assert caught.value.number == 331


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even(tmp_path: Path) -> None:
    places = [round(0.625 * z, 1) for z in range(40)]
    write_series(tmp_path, picture((40, 4, 4)), at=places)
    assert read(tmp_path).image.GetSpacing()[2] == pytest.approx(0.625, abs=0.003)


@pytest.mark.parametrize(
    ("keyword", "value", "number"),
    [
        ("PixelSpacing", [0.9, 0.7], 332),
        ("ImageOrientationPatient", [0.0, 1.0, 0.0, 0.0, 0.0, -1.0], 332),
        ("ImagePositionPatient", [-10.0, 31.0, 11.0], 332),
        ("ImageOrientationPatient", [1.0, 0.5, 0.0, 0.0, 1.0, 0.0], 334),
        ("ImagePositionPatient", None, 334),
        ("PixelSpacing", [0.0, 0.7], 334),
    ],
)
def test_a_slice_that_does_not_belong_to_the_others_is_refused(
    tmp_path: Path, keyword: str, value: list[float] | None, number: int
) -> None:
    def change(z: int, header: Dataset) -> None:
        if z == 2:
            setattr(header, keyword, value)

    write_series(tmp_path, picture(), change=change)
    with pytest.raises(FedmviError, match=r"014-a\.dcm") as caught:
        read(tmp_path)
    assert caught.value.number == number


def test_a_slice_of_another_size_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, picture())
    save(slice_header(15.0), picture((1, 8, 7))[0], tmp_path / "last.dcm")
    with pytest.raises(FedmviError, match="columns") as caught:
        read(tmp_path)
    assert caught.value.number == 332


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path) -> None:
    tilt = np.radians(12)
    cosines = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt)))

    def along_the_table(z: int, header: Dataset) -> None:
        header.ImagePositionPatient = [-10.0, 20.0, 3.0 * z]

    write_series(tmp_path, picture(), change=along_the_table, cosines=cosines)
    with pytest.raises(FedmviError, match=r"sheared by 12\.0 degrees") as caught:
        read(tmp_path)
    assert caught.value.number == 334


def test_three_time_points_in_one_series_are_three_volumes() -> None:
    folder = public("dicom/dce_mri_three_timepoints_in_one_series")
    (series,) = find_series(folder, "p1")
    assert [len(volume.slices) for volume in series.volumes] == [42, 42, 42]
    assert [volume.acquired[8:14] for volume in series.volumes] == ["102551", "103238", "103832"]
    assert {one.name[:2] for one in series.volumes[0].files} == {"1-"}, "the first time point has its own file names"
    with pytest.raises(FedmviError, match="volume 3: 42 slices, ContentTime") as caught:
        read(folder)
    assert caught.value.number == 336
    second = read(folder, volume=2)
    assert second.image.GetSize() == (256, 256, 42)
    assert second.about.acquired == series.volumes[1].acquired
    first = public("dicom/dce_mri_three_timepoints_in_one_series/image_dce_orig")
    assert not np.array_equal(voxels_of(read(first, volume=1)), voxels_of(second))
    with pytest.raises(FedmviError) as caught:
        read(folder, volume=4)
    assert caught.value.number == 336


Values = tuple[dict[str, object], ...]


@pytest.mark.parametrize(
    "values",
    [
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 50.0}, {"DiffusionBValue": 800.0}),
        ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}),
        ({"AcquisitionNumber": 9}, {"AcquisitionNumber": 10}),
        ({"TriggerTime": 0.0}, {"TriggerTime": 9500.5}, {"TriggerTime": 21000.0}),
        ({"EchoTime": 1.1}, {"EchoTime": 2.3}),
        ({"ImageType": ["DERIVED", "PRIMARY", "IN_PHASE"]}, {"ImageType": ["DERIVED", "PRIMARY", "OPP_PHASE"]}),
        ({"DiffusionBValue": 0.0, "EchoTime": 60.0}, {"DiffusionBValue": 0.0, "EchoTime": 70.0},
         {"DiffusionBValue": 800.0, "EchoTime": 60.0}, {"DiffusionBValue": 800.0, "EchoTime": 70.0}),
    ],
)  # fmt: skip
def test_volumes_are_told_apart_and_put_in_order(tmp_path: Path, values: Values) -> None:
    for i in reversed(range(len(values))):

        def change(z: int, header: Dataset, i: int = i) -> None:
            header.ContentTime = f"1000{z:02d}"
            header.SOPInstanceUID += f".{i}"
            for keyword, value in values[i].items():
                setattr(header, keyword, value)

        write_series(tmp_path, picture(seed=i), change=change, prefix=f"{len(values) - i}-")
    (series,) = find_series(tmp_path, "p1")
    assert [set(volume.told_apart) for volume in series.volumes] == [set(values[0])] * len(values)
    for i in range(len(values)):
        np.testing.assert_array_equal(voxels_of(read(tmp_path, volume=i + 1)), picture(seed=i))


def test_volumes_whose_slices_each_have_a_time_of_their_own_are_told_apart_by_its_order(tmp_path: Path) -> None:
    for i in range(2):

        def change(z: int, header: Dataset, i: int = i) -> None:
            header.AcquisitionTime = f"10{i:02d}{z * 2:02d}.5"
            header.SOPInstanceUID += f".{i}"

        write_series(tmp_path, picture(seed=i), change=change, prefix=f"{i}-")
    (series,) = find_series(tmp_path, "p1")
    assert [volume.acquired for volume in series.volumes] == ["20200102100000.500000", "20200102100100.500000"]
    np.testing.assert_array_equal(voxels_of(read(tmp_path, volume=2)), picture(seed=1))


def test_a_time_point_that_lacks_a_slice_is_refused_and_the_other_read(tmp_path: Path) -> None:
    for i, places in enumerate(([0, 3, 6, 9, 12], [0, 3, 6, 12])):

        def change(z: int, header: Dataset, i: int = i) -> None:
            header.AcquisitionNumber = i
            header.SOPInstanceUID += f".{i}"

        write_series(tmp_path, picture((len(places), 8, 6), i), at=places, change=change, prefix=f"{i}-")
    np.testing.assert_array_equal(voxels_of(read(tmp_path, volume=1)), picture())
    with pytest.raises(FedmviError) as caught:
        read(tmp_path, volume=2)
    assert caught.value.number == 331


def test_slices_at_one_place_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    for i in range(2):
        write_series(tmp_path, picture(seed=i), prefix=f"{i}-")
    with pytest.raises(FedmviError, match=r"0-000-a\.dcm, 1-000-a\.dcm lie at one place") as caught:
        read(tmp_path)
    assert caught.value.number == 332


def test_a_file_that_was_exported_twice_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "a", picture())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    np.testing.assert_array_equal(voxels_of(read(tmp_path)), picture())


def test_what_lies_beside_the_slices_is_no_slice(tmp_path: Path) -> None:
    write_series(tmp_path, picture())
    scout = slice_header(0.0, cosines=CORONAL)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(scout, picture()[0], tmp_path / "scout.dcm")
    capture = slice_header(1.0)
    capture.SOPClassUID = SecondaryCaptureImageStorage
    save(capture, picture()[0], tmp_path / "screen.dcm")
    screenshot = slice_header(2.0)
    screenshot.SeriesInstanceUID = SERIES + ".9"
    screenshot.ImagePositionPatient = screenshot.ImageOrientationPatient = None
    save(screenshot, picture()[0], tmp_path / "shot.dcm")
    (tmp_path / "LICENSE").write_text("Do what you like.\n")
    (tmp_path / "patients.csv").write_bytes(b"\x00\x01")
    (tmp_path / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    np.testing.assert_array_equal(voxels_of(read(tmp_path)), picture())


@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"note"])
def test_a_damaged_slice_is_named_even_at_the_end_where_nothing_would_be_missed(tmp_path: Path, content: bytes) -> None:
    write_series(tmp_path, picture())
    (tmp_path / "028-a.dcm").write_bytes(content)
    with pytest.raises(FedmviError) as caught:
        read(tmp_path)
    assert caught.value.number == 330
    assert caught.value.local.startswith(f"p1: {tmp_path / '028-a.dcm'}")


def test_one_of_several_series_must_be_named(tmp_path: Path) -> None:
    write_series(tmp_path / "a", picture())

    def other(z: int, header: Dataset) -> None:
        header.SeriesInstanceUID = SERIES + ".2"
        header.SeriesDescription = "arterial"

    write_series(tmp_path / "b", picture(seed=1), change=other)
    with pytest.raises(FedmviError, match=r"\.2 \(arterial, 5 slices\)") as caught:
        read(tmp_path)
    assert caught.value.number == 332
    np.testing.assert_array_equal(voxels_of(read(tmp_path, series=SERIES + ".2")), picture(seed=1))
    with pytest.raises(FedmviError, match=r"no series 1\.2\.3") as caught:
        read(tmp_path, series="1.2.3")
    assert caught.value.number == 330


def test_a_damaged_series_does_not_hide_the_others(tmp_path: Path) -> None:
    write_series(tmp_path / "a", picture())

    def other(z: int, header: Dataset) -> None:
        header.SeriesInstanceUID = SERIES + ".2"
        header.PixelSpacing = [0.7, 0.7 + 0.1 * z]

    write_series(tmp_path / "b", picture(seed=1), change=other)
    np.testing.assert_array_equal(voxels_of(read(tmp_path, series=SERIES)), picture())
    good, bad = sorted(find_series(tmp_path, "p1"), key=lambda series: series.uid)
    assert (good.problem, len(good.volumes)) == (None, 1)
    assert (bad.volumes, getattr(bad.problem, "number", None)) == ((), 332)


@pytest.mark.parametrize(
    ("maker", "block", "creator", "kind", "value", "b_value"),
    [
        ("SIEMENS", 0x0019, "SIEMENS MR HEADER", "IS", "800", 800.0),
        ("GE MEDICAL SYSTEMS", 0x0043, "GEMS_PARM_01", "IS", ["1000000800", "8", "0", "0"], 800.0),
        ("Philips Healthcare", 0x2001, "Philips Imaging DD 001", "FL", 800.0, 800.0),
        ("Philips Healthcare", 0x2001, "de-identified", "UN", b"\x00\x00\x48\x44", 800.0),
        ("SIEMENS", 0x0019, "de-identified", "UN", b"800 ", 800.0),
    ],
)
def test_b_values_are_found_where_vendors_write_them(
    tmp_path: Path, maker: str, block: int, creator: str, kind: str, value: object, b_value: float
) -> None:
    element = {0x0019: 0x0C, 0x0043: 0x39, 0x2001: 0x03}[block]

    def change(z: int, header: Dataset) -> None:
        header.Manufacturer = maker
        header.private_block(block, creator, create=True).add_new(element, kind, value)

    write_series(tmp_path, picture(), change=change, modality="MR")
    assert read(tmp_path).about.b_value == b_value
