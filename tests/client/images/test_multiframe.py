"""tests/client: frames of enhanced CT and MR are slices, placed, rescaled and split like files of one slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from client.images.reading.series import find_series
from common.errors import FedmviError
from tests.client.images.dicom_files import (
    by_simpleitk,
    frame_group,
    picture,
    read,
    same_place,
    voxels_of,
    write_enhanced,
    write_series,
)
from tests.public_data import public


def test_frames_are_sorted_by_place_and_rescaled_each_on_its_own(tmp_path: Path) -> None:
    order = [3, 0, 4, 1, 2]
    groups = [
        frame_group(3.0 * z, PixelValueTransformationSequence={"RescaleSlope": z + 1, "RescaleIntercept": -z})
        for z in order
    ]
    voxels = picture()
    image = read(write_enhanced(tmp_path / "e.dcm", voxels[order], groups))
    steps = np.arange(5)[:, None, None]
    np.testing.assert_array_equal(voxels_of(image), voxels.astype(int) * (steps + 1) - steps)
    assert same_place(image.image, read(write_series(tmp_path / "classic", voxels)).image)
    assert len(image.about.instances) == 5


def test_b_values_and_times_of_one_file_are_volumes(tmp_path: Path) -> None:
    groups = [
        frame_group(
            3.0 * z,
            MRDiffusionSequence={"DiffusionBValue": float(b)},
            MREchoSequence={"EffectiveEchoTime": 61.5},
            FrameContentSequence={"FrameAcquisitionDateTime": f"2020010210{z:02d}{b // 100:02d}.25"},
        )
        for z in range(3)
        for b in (800, 0, 50)
    ]
    voxels = np.stack([picture((3, 8, 6), seed)[z] for z in range(3) for seed in (800, 0, 50)])
    path = write_enhanced(tmp_path / "dwi.dcm", voxels, groups, modality="MR")
    (series,) = find_series(path, "p1")
    assert [volume.b_value for volume in series.volumes] == [0, 50, 800]
    assert [volume.frames for volume in series.volumes] == [(1, 4, 7), (2, 5, 8), (0, 3, 6)]
    image = read(path, volume=3)
    np.testing.assert_array_equal(voxels_of(image), picture((3, 8, 6), 800))
    assert (image.about.b_value, image.about.echo_ms) == (800, 61.5)
    assert image.about.acquired == "20200102100008.250000"
    assert series.volumes[0].header.EchoTime == 61.5
    with pytest.raises(FedmviError, match="volume 2: 3 slices, DiffusionBValue 50"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [{"TemporalPositionIndex": 0}, {"DimensionIndexValues": [1, 1, 0]}],
)
def test_a_temporal_index_or_a_dimension_tells_volumes_apart(tmp_path: Path, content: dict[str, Any]) -> None:
    (name, value), groups = next(iter(content.items())), []
    for time in (1, 2):
        for z in range(3):
            index = [1, z + 1, time] if isinstance(value, list) else time
            groups.append(frame_group(3.0 * z, FrameContentSequence={name: index}))
    dimensions = ("StackID", "InStackPositionNumber", "TriggerTime") if isinstance(value, list) else ()
    voxels = np.concatenate([picture((3, 8, 6), 1), picture((3, 8, 6), 2)])
    path = write_enhanced(tmp_path / "e.dcm", voxels, groups, dimensions=dimensions, modality="MR")
    np.testing.assert_array_equal(voxels_of(read(path, volume=2)), picture((3, 8, 6), 2))


def test_a_missing_frame_is_named(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", picture(), [frame_group(x) for x in (0, 3, 6, 12, 15)])
    with pytest.raises(FedmviError, match=r"slice 3 \(e\.dcm frame 3, at 11\.00 mm\)") as caught:
        read(path)
    assert caught.value.number == 331


def test_frames_and_their_headers_are_as_many(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", picture(), [frame_group(3.0 * z) for z in range(4)])
    with pytest.raises(FedmviError, match="5 frames, but 4 headers") as caught:
        read(path)
    assert caught.value.number == 330


def test_frames_without_places_are_refused(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", picture(), [])
    header = pydicom.dcmread(path)
    del header.PerFrameFunctionalGroupsSequence
    header.save_as(path)
    with pytest.raises(FedmviError) as caught:
        read(path)
    assert caught.value.number == 334


def test_a_real_series_converted_to_one_enhanced_file_is_the_same_image(tmp_path: Path) -> None:
    folder = public("abdomen_ct_mr/example_ct_dicom")
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())[3:7]]
    for i, file in enumerate(files):
        file.SOPClassUID, file.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"2.25.{i + 1}"
        file.SeriesInstanceUID, file.StudyInstanceUID, file.FrameOfReferenceUID = "2.25.91", "2.25.92", "2.25.93"
        file.AccessionNumber = file.PatientName = file.PatientBirthDate = file.PatientSex = ""
        file.StudyID = file.StudyTime = file.ReferringPhysicianName = ""
        file.decompress()
        file.save_as(tmp_path / f"{i}.dcm")
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(files, "2.25.94", 1, "2.25.95", 1)
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced" / "e.dcm")
    ours = read(tmp_path / "enhanced")
    for file in (tmp_path / "enhanced").iterdir():
        file.rename(tmp_path.parent / f"{tmp_path.name}.e")
    theirs = by_simpleitk(tmp_path)
    np.testing.assert_array_equal(voxels_of(ours), voxels_of(theirs))
    assert same_place(ours.image, theirs)


def test_highdicom_gives_a_sagittal_time_point_the_same_voxels_and_place() -> None:
    (series,) = find_series(public("dicom/dce_mri_three_timepoints_in_one_series/image_dce_orig"), "p1")
    files = [pydicom.dcmread(path) for path in series.volumes[1].files[10:16]]
    theirs = highdicom.get_volume_from_series(files).to_patient_orientation("LPH")
    ours = read(public("dicom/dce_mri_three_timepoints_in_one_series/image_dce_orig"), volume=2).image[:, :, 10:16]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(ours.GetDirection(), (3, 3)) * ours.GetSpacing()
    affine[:3, 3] = ours.GetOrigin()
    at = np.linalg.inv(affine) @ theirs.affine
    for index in ((0, 0, 0), (5, 100, 200), (3, 255, 17)):
        voxel = np.rint((at @ [*index, 1])[:3]).astype(int)
        assert theirs.array[index] == ours[[int(i) for i in voxel]]
        assert np.abs((at @ [*index, 1])[:3] - voxel).max() < 1e-3
