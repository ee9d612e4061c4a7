"""tests/client: DICOM Segmentations are decoded as others decode them, and lie on the slices they were drawn on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.sr.coding import Code
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from client.images.case import ImageSource, ReadImage
from client.images.reading.read import read_image
from simulation.imaging.dicom import series_headers
from simulation.imaging.volume import Examination, Grid, Volume
from tests.client.images.drawn import PATIENT, examined, mask_of, refused
from tests.public_data import public
from tests.simulation.imaging.examinations import ABOUT, ct

ODD = Grid((3, 7, 5), (4.0, 1.5, 1.25), (-60.0, -40.5, -71.125))
"""35 pixels a slice, so that frames of bits do not begin at bytes."""

KINDS = {
    "tumour": Code("108369006", "SCT", "Neoplasm"),
    "liver": Code("10200004", "SCT", "Liver"),
    "other": Code("79654002", "SCT", "Edema"),
}


def small() -> Examination:
    """Two phases of few voxels, and a mask of one."""
    random = np.random.default_rng(3)
    phases = {name: Volume(random.integers(0, 99, ODD.shape).astype(np.int16), ODD) for name in ("arterial", "portal")}
    tumour = Volume((random.random(ODD.shape) < 0.4).astype(np.uint8), ODD)
    started = {"arterial": 30.0, "portal": 70.0}
    return Examination("p", "ct", phases, "portal", {"tumour": tumour}, {}, ODD, started)


def described(number: int, label: str, kind: str) -> SegmentDescription:
    category = Code("49755003", "SCT", "Morphologically Abnormal Structure")
    return SegmentDescription(number, label, category, KINDS[kind], "MANUAL")


def segmentation(
    path: Path,
    pixels: NDArray[Any],
    segments: Sequence[SegmentDescription],
    phase: str = "portal",
    syntax: str = "",
    **changes: Any,
) -> Path:
    """Write voxels (slices, rows, columns[, segments]) of `small` by highdicom."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Segmentation(
            source_images=series_headers(small(), phase, ABOUT),
            pixel_array=pixels,
            segmentation_type=changes.pop("kind", "BINARY"),
            segment_descriptions=segments,
            series_instance_uid=generate_uid(entropy_srcs=["series"]),
            series_number=9,
            sop_instance_uid=generate_uid(entropy_srcs=["instance"]),
            instance_number=1,
            manufacturer="tests",
            manufacturer_model_name="tests",
            software_versions="1",
            device_serial_number="1",
            **changes,
        ).save_as(path)
    if syntax:
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "")
        dataset.save_as(path)
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ReadImage:
    return examined(tmp_path_factory.mktemp("small"), small(), "nifti")[0]


TUMOUR = [described(1, "tumour", "tumour")]


@pytest.fixture(scope="module")
def three_slices() -> ReadImage:
    return read_image(ImageSource("portal", public("dicom/liver_seg_object") / "ct-3slice"), PATIENT)


def test_a_real_liver_is_decoded_as_by_dcmqi(three_slices: ReadImage) -> None:
    folder = public("dicom/liver_seg_object")
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "liver_seg.nrrd")))
    mask = mask_of(folder / "liver.dcm", three_slices, "liver")
    np.testing.assert_array_equal(mask, truth != 0)
    np.testing.assert_array_equal(mask_of(folder / "liver_seg.nrrd", three_slices, "liver"), mask)
    assert mask.sum() == 107098


def test_a_liver_is_not_taken_for_the_tumour(three_slices: ReadImage) -> None:
    path = public("dicom/liver_seg_object") / "liver.dcm"
    assert "the file holds 1 'Liver' (Liver)" in refused(342, path, three_slices)
    assert mask_of(path, three_slices, segment="liver").any()


def test_real_segments_that_overlap_are_decoded_as_by_dcmqi(three_slices: ReadImage) -> None:
    folder = public("dicom/liver_seg_object")
    layers = [sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"partial_overlaps-{i}.nrrd"))) for i in (1, 2, 3)]
    found = {}
    for number, label in enumerate(("green", "ORANGE", "Purple", "light_blue", "DARK_BLUE"), start=1):
        found[number] = mask_of(folder / "partial_overlaps.dcm", three_slices, "liver", label)
        (truth,) = (layer == number for layer in layers if (layer == number).any())
        np.testing.assert_array_equal(found[number], truth)
        np.testing.assert_array_equal(
            mask_of(folder / "partial_overlaps.dcm", three_slices, "liver", str(number)), truth
        )
    assert sum(found.values()).max() > 1
    said = refused(342, folder / "partial_overlaps.dcm", three_slices, "liver")
    assert "the file holds 1 'GREEN' (Tissue), 2 'ORANGE' (Artery), 3 'PURPLE' (Capillary)" in said


@pytest.mark.parametrize("volume", [1, 2, 3])
def test_a_real_fractional_mask_of_sagittal_mr_lies_on_each_time_point_of_its_series(volume: int) -> None:
    folder = public("dicom/dce_mri_three_timepoints_in_one_series")
    mr = read_image(ImageSource("t1", folder / "image_dce_orig", volume=volume), PATIENT)
    mask = mask_of(folder / "mask/1-1.dcm", mr, "breast")
    stored = pydicom.dcmread(folder / "mask/1-1.dcm")
    assert stored.MaximumFractionalValue == 255
    assert mask.sum() == (stored.pixel_array >= 128).sum() == 82527
    for frame, group in zip(stored.pixel_array, stored.PerFrameFunctionalGroupsSequence, strict=True):
        for row, column in np.argwhere(frame)[::500]:
            x, y, z = map(float, group.PlanePositionSequence[0].ImagePositionPatient)
            # Rows run to the feet, columns to the back.
            point = (x, y + 0.703125 * float(column), z - 0.703125 * float(row))
            assert mask[mr.image.TransformPhysicalPointToIndex(point)[::-1]] == 1


def test_frames_of_bits_that_begin_within_a_byte_are_read(tmp_path: Path, image: ReadImage) -> None:
    examination = small()
    path = segmentation(tmp_path / "m.dcm", examination.masks["tumour"].voxels, TUMOUR)
    np.testing.assert_array_equal(mask_of(path, image), examination.masks["tumour"].voxels)


@pytest.mark.parametrize("fractional", ["PROBABILITY", "OCCUPANCY"])
@pytest.mark.parametrize("syntax", ["", RLELossless])
def test_half_of_a_fraction_is_inside(tmp_path: Path, image: ReadImage, fractional: str, syntax: str) -> None:
    share = np.linspace(0, 1, np.prod(ODD.shape), dtype=np.float32).reshape(ODD.shape)
    path = segmentation(
        tmp_path / "m.dcm", share, TUMOUR, kind="FRACTIONAL", fractional_type=fractional, max_fractional_value=200,
        syntax=syntax,
    )  # fmt: skip
    np.testing.assert_array_equal(mask_of(path, image), np.rint(share * 200) >= 100)


@pytest.mark.parametrize("syntax", ["", RLELossless])
def test_a_label_map_holds_one_segment_a_number(tmp_path: Path, image: ReadImage, syntax: str) -> None:
    labels = np.random.default_rng(4).choice(np.array([0, 3, 8], dtype=np.uint8), ODD.shape)
    segments = [described(3, "Liver", "liver"), described(8, "Tumor", "tumour")]
    path = segmentation(tmp_path / "m.dcm", labels, segments, kind="LABELMAP", syntax=syntax)
    np.testing.assert_array_equal(mask_of(path, image, "tumour"), labels == 8)
    np.testing.assert_array_equal(mask_of(path, image, "liver"), labels == 3)


def test_compressed_frames_that_are_cut_off_are_refused(tmp_path: Path, image: ReadImage) -> None:
    share = np.ones(ODD.shape, dtype=np.float32)
    path = segmentation(tmp_path / "m.dcm", share, TUMOUR, kind="FRACTIONAL", syntax=RLELossless)
    whole = path.read_bytes()
    start = whole.index(b"\xe0\x7f\x10\x00")
    for length in range(start, len(whole) - 10, 7):
        path.write_bytes(whole[:length])
        refused(340, path, image)


def test_a_file_deflated_as_a_whole_is_read(tmp_path: Path, image: ReadImage) -> None:
    truth = small().masks["tumour"].voxels
    path = segmentation(tmp_path / "m.dcm", truth, TUMOUR)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    np.testing.assert_array_equal(mask_of(path, image), truth)
    path.write_bytes(path.read_bytes()[:-9])
    refused(340, path, image)


def test_a_segment_is_found_by_name_before_synonym_before_kind(tmp_path: Path, image: ReadImage) -> None:
    voxels = (np.random.default_rng(5).random((*ODD.shape, 4)) < 0.5).astype(np.uint8)

    def found(*segments: tuple[str, str]) -> int:
        parts = [described(n, label, kind) for n, (label, kind) in enumerate(segments, start=1)]
        path = segmentation(tmp_path / "m.dcm", voxels[..., : len(parts)], parts)
        mask = mask_of(path, image)
        (at,) = (n for n in range(len(parts)) if (mask == voxels[..., n]).all())
        return at + 1

    assert found(("GTV", "tumour"), ("TUMOUR", "other"), ("liver", "liver")) == 2
    assert found(("rim", "tumour"), ("liver", "liver"), ("Lesion_1", "other")) == 3
    assert found(("Segment_1", "liver"), ("Segment_2", "tumour"), ("Segment_3", "other")) == 2
    assert found(("Segment_1", "other")) == 1


def test_two_lesions_are_not_chosen_from(tmp_path: Path, image: ReadImage) -> None:
    both = [described(1, "Lesion 1", "tumour"), described(2, "Lesion 2", "tumour")]
    path = segmentation(tmp_path / "m.dcm", np.ones((*ODD.shape, 2), dtype=np.uint8), both)
    assert "there 2 times; the file holds 1 'Lesion 1' (Neoplasm), 2 'Lesion 2'" in refused(342, path, image)
    assert mask_of(path, image, segment="lesion 2").all()


def test_a_mask_drawn_on_another_phase_is_refused(tmp_path: Path, image: ReadImage) -> None:
    path = segmentation(tmp_path / "m.dcm", small().masks["tumour"].voxels, TUMOUR, phase="arterial")
    assert f"the image is series {image.about.series}" in refused(343, path, image)


def test_a_mask_of_another_patient_is_refused(tmp_path: Path, image: ReadImage) -> None:
    _, folder = examined(tmp_path, ct(), "seg")
    refused(343, folder / "tumour.dcm", image)
    path = folder / "stripped.dcm"
    dataset = pydicom.dcmread(folder / "tumour.dcm")
    del dataset.ReferencedSeriesSequence
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    dataset.save_as(path)
    assert "its frame of reference is" in refused(343, path, image)


def _moved(path: Path, axis: int, by: float, strip: bool) -> Path:
    """All frames moved in mm; with `strip`, frames do not say on which slices they were drawn."""
    dataset = pydicom.dcmread(path)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        position = [float(value) for value in group.PlanePositionSequence[0].ImagePositionPatient]
        position[axis] += by
        group.PlanePositionSequence[0].ImagePositionPatient = position
        if strip:
            del group.DerivationImageSequence
    dataset.save_as(path)
    return path


def test_frames_that_lie_off_the_slices_are_refused_with_their_place(tmp_path: Path, image: ReadImage) -> None:
    voxels = np.ones(ODD.shape, dtype=np.uint8)
    for axis, by in ((2, 1.5), (2, 40.0), (0, 0.6), (1, 1.5)):
        path = _moved(segmentation(tmp_path / "m.dcm", voxels, TUMOUR), axis, by, strip=True)
        assert "frame 1 at (-71.125, -40.5" in refused(341, path, image) or axis != 2
    path = _moved(segmentation(tmp_path / "m.dcm", voxels, TUMOUR), 2, 0.1, strip=False)
    assert mask_of(path, image).all()


def test_a_frame_on_another_slice_than_the_one_it_names_is_refused(tmp_path: Path, image: ReadImage) -> None:
    voxels = np.zeros(ODD.shape, dtype=np.uint8)
    voxels[1] = 1
    path = segmentation(tmp_path / "m.dcm", voxels, TUMOUR)
    assert mask_of(path, image)[1].all()
    assert "lies on slice 3, but names slice 2" in refused(341, _moved(path, 2, 4.0, strip=False), image)


def test_frames_across_the_slices_are_put_where_they_lie(tmp_path: Path, image: ReadImage) -> None:
    # One coronal frame: columns to the left, rows to the head.
    voxels = np.zeros(ODD.shape, dtype=np.uint8)
    voxels[:, 4, 1:4] = 1
    path = segmentation(tmp_path / "m.dcm", np.ones((1, *ODD.shape[1:]), dtype=np.uint8).repeat(3, 0), TUMOUR)
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = 1, 3, 3
    dataset.PixelData = np.packbits(np.ones(9, dtype=np.uint8), bitorder="little").tobytes()
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:1]
    shared, frame = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, 1]
    shared.PixelMeasuresSequence[0].PixelSpacing = [4.0, 1.25]
    frame.PlanePositionSequence[0].ImagePositionPatient = [-71.125 + 1.25, -40.5 + 6.0, -60.0]
    dataset.save_as(path)
    np.testing.assert_array_equal(mask_of(path, image), voxels)


@pytest.mark.parametrize(
    "missing",
    [
        "SegmentationType",
        "SegmentSequence",
        "PerFrameFunctionalGroupsSequence",
        "SharedFunctionalGroupsSequence",
        "Rows",
    ],
)
def test_a_segmentation_that_lacks_what_it_needs_is_refused(tmp_path: Path, image: ReadImage, missing: str) -> None:
    path = segmentation(tmp_path / "m.dcm", small().masks["tumour"].voxels, TUMOUR)
    dataset = pydicom.dcmread(path)
    del dataset[missing]
    dataset.save_as(path)
    refused(340, path, image)
