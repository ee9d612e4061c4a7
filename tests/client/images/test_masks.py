"""tests/client: masks lie exactly on their images, or a numbered error says which file does not, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.images.case import ImageSource, MaskSource, ReadImage
from client.images.masks.masks import read_mask
from client.images.reading.read import read_image
from common.errors import FedmviError
from simulation.imaging.volume import Examination
from tests.client.images.drawn import (
    OBLIQUE,
    PATIENT,
    SHAPE,
    box,
    examined,
    mask_of,
    picture,
    refused,
    save_image,
    volume,
)
from tests.public_data import public
from tests.simulation.imaging.examinations import ct, mr

FORMATS = [("nifti", "nifti"), ("dicom", "nifti"), ("dicom", "seg"), ("dicom", "rtstruct")]


@pytest.mark.parametrize("made", [ct, mr])
@pytest.mark.parametrize(("images", "masks"), FORMATS)
def test_a_simulated_mask_comes_back_exactly_from_every_format(
    tmp_path: Path, made: Callable[[], Examination], images: str, masks: str
) -> None:
    examination = made()
    image, folder = examined(tmp_path, examination, masks, images)
    for key, truth in examination.masks.items():
        path = folder / (key + (".nii.gz" if masks == "nifti" else ".dcm"))
        np.testing.assert_array_equal(mask_of(path, image, key.partition(".")[0]), truth.voxels)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd"])
@given(order=st.permutations([0, 1, 2]), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()), data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_mask_with_its_voxels_in_any_other_order_is_the_same_mask(
    tmp_path_factory: pytest.TempPathFactory,
    ending: str,
    order: list[int],
    flips: tuple[bool, bool, bool],
    data: st.DataObject,
) -> None:
    direction = data.draw(st.sampled_from([(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, 1, 0, 0, 0, -1, 0), OBLIQUE]))
    turned = sitk.PermuteAxes(sitk.Flip(volume(box(), direction), flips), order)
    path = save_image(tmp_path_factory.getbasetemp() / f"turned{ending}", turned)
    np.testing.assert_array_equal(mask_of(path, picture(direction)), box())


def _changed(**changes: tuple[float, ...]) -> sitk.Image:
    made = volume(box())
    for name, value in changes.items():
        getattr(made, f"Set{name}")(value)
    return made


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (volume(box()[:, :, 1:]), "size (6, 8, 6), the image's (7, 8, 6)"),
        (volume(np.pad(box(), 1)), "size (9, 10, 8), the image's (7, 8, 6)"),
        (_changed(Spacing=(1.5, 1.25, 3.1)), "spacing (1.5, 1.25, 3.1), the image's (1.5, 1.25, 3)"),
        (_changed(Origin=(-10.5, 4.25, 7.6)), "origin (-10.5, 4.25, 7.6), the image's (-10.5, 4.25, 7)"),
        (_changed(Origin=(-10.5, 5.5, 7.0)), "origin (-10.5, 5.5, 7), the image's (-10.5, 4.25, 7)"),
        (_changed(Direction=OBLIQUE), "direction (0.36, 0.48, -0.8"),
    ],
)
def test_a_mask_on_another_grid_is_refused_with_both_values(tmp_path: Path, other: sitk.Image, said: str) -> None:
    assert said in refused(341, save_image(tmp_path / "m.nii.gz", other), picture())


def test_rounding_of_headers_is_no_other_grid(tmp_path: Path) -> None:
    path = save_image(tmp_path / "m.nrrd", _changed(Origin=(-10.53, 4.22, 7.04), Spacing=(1.5, 1.2503, 3.0004)))
    np.testing.assert_array_equal(mask_of(path, picture()), box())


def test_a_mask_without_a_place_in_the_patient_is_refused(tmp_path: Path) -> None:
    path = save_image(tmp_path / "m.nii", volume(box()))
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(raw)
    assert "neither qform nor sform" in refused(341, path, picture())


def test_one_label_of_several_is_chosen_by_its_number_and_never_guessed(tmp_path: Path) -> None:
    labels = box().astype(np.int16) * 5
    labels[5] = 7
    path = save_image(tmp_path / "m.nii.gz", volume(labels))
    np.testing.assert_array_equal(mask_of(path, picture(), segment="5"), box())
    assert "the file holds 5, 7" in refused(342, path, picture())
    assert "segment '6' is missing; the file holds 5, 7" in refused(342, path, picture(), segment="6")
    assert "segment 'liver' is missing" in refused(342, path, picture(), segment="liver")
    labels[5] = 0
    np.testing.assert_array_equal(mask_of(save_image(path, volume(labels)), picture()), box())


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan, np.inf])
def test_voxels_that_are_no_labels_are_refused(tmp_path: Path, value: float) -> None:
    voxels = box().astype(np.float32)
    voxels[0, 0, 0] = value
    for ending in (".nii.gz", ".nrrd"):
        refused(340, save_image(tmp_path / f"m{ending}", volume(voxels)), picture())


def test_an_empty_mask_is_refused(tmp_path: Path) -> None:
    for ending in (".nii.gz", ".nrrd"):
        refused(342, save_image(tmp_path / f"m{ending}", volume(np.zeros(SHAPE, dtype=np.uint8))), picture())
    for masks in ("seg", "rtstruct"):
        examination = mr()
        examination.masks["tumour"].voxels[:] = 0
        image, folder = examined(tmp_path / masks, examination, masks)
        refused(342, folder / "tumour.dcm", image)


def _slicer(
    path: Path, voxels: NDArray[np.uint8], start: tuple[int, int, int], named: list[tuple[str, int, int]]
) -> Path:
    """A segmentation of 3D Slicer: (slices, rows, columns, layers), from a voxel x, y, z of the image on."""
    origin = picture().image.TransformIndexToPhysicalPoint(start)
    lines = ["NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior"]
    lines += ["sizes: " + " ".join(map(str, voxels.shape[::-1]))]
    lines += ["space directions: none (1.5,0,0) (0,1.25,0) (0,0,3)", "kinds: list domain domain domain"]
    lines += ["encoding: raw", "space origin: (" + ",".join(map(str, origin)) + ")"]
    for at, (name, label, layer) in enumerate(named):
        lines += [f"Segment{at}_LabelValue:={label}", f"Segment{at}_Layer:={layer}", f"Segment{at}_Name:={name}"]
    lines += ["Segmentation_ReferenceImageExtentOffset:=" + " ".join(map(str, start)), "", ""]
    path.write_bytes("\n".join(lines).encode() + voxels.tobytes())
    return path


def test_segments_of_3d_slicer_are_found_by_name_in_layers_that_overlap(tmp_path: Path) -> None:
    liver = np.zeros(SHAPE, dtype=np.uint8)
    liver[1:4, 1:7, 1:6] = 1
    layers = np.stack([2 * liver, box()], axis=-1)
    cropped = layers[1:4, 1:7, 1:6]
    path = _slicer(tmp_path / "m.seg.nrrd", cropped, (1, 1, 1), [("Liver", 2, 0), ("Tumor", 1, 1)])
    np.testing.assert_array_equal(mask_of(path, picture()), box())
    np.testing.assert_array_equal(mask_of(path, picture(), "liver"), liver)
    np.testing.assert_array_equal(mask_of(path, picture(), segment="liver"), liver)
    assert "the file holds 2 'Liver', 1 'Tumor'" in refused(342, path, picture(), "vessels")


def test_a_part_that_reaches_out_of_the_image_is_refused(tmp_path: Path) -> None:
    part = np.ones((2, 2, 2, 1), dtype=np.uint8)
    path = _slicer(tmp_path / "m.seg.nrrd", part, (6, 0, 0), [("tumour", 1, 0)])
    assert "outside of the image" in refused(341, path, picture())


def test_files_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "empty.nrrd").touch()
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "note.txt").write_text("tumour in segment 8")
    (tmp_path / "folder").mkdir()
    for name in ("empty.nii.gz", "empty.nrrd", "empty.dcm", "note.txt", "folder", "absent.nii.gz", "absent.dcm"):
        refused(340, tmp_path / name, picture())
    image, _ = examined(tmp_path, ct(), "nifti")
    assert "neither SEG nor RTSTRUCT" in refused(340, tmp_path / "images/hospital-a-0001/portal/0001.dcm", image)


def test_a_name_in_any_script_is_read(tmp_path: Path) -> None:
    for ending in (".nii.gz", ".nrrd", ".NII.GZ"):
        path = save_image(tmp_path / "肝細胞がん Läsion" / f"m{ending.lower()}", volume(box()))
        path = path.rename(path.with_name(f"腫瘍 (1){ending}"))
        np.testing.assert_array_equal(mask_of(path, picture()), box())


def test_masks_of_label_maps_on_real_anatomy_lie_where_the_file_puts_them() -> None:
    folder = public("abdomen_ct_mr")
    image = read_image(ImageSource("portal", folder / "example_ct_dicom"), PATIENT)
    path = folder / "example_seg_dicom.nii.gz"
    labels = sitk.ReadImage(str(path))
    assert labels.GetDirection() != image.image.GetDirection() or labels.GetOrigin() != image.image.GetOrigin()
    for label in (1, 5):
        # The nearest neighbour of a voxel is the voxel itself, wherever the file has it.
        there = sitk.Resample(labels == label, image.image, sitk.Transform(), sitk.sitkNearestNeighbor)
        np.testing.assert_array_equal(mask_of(path, image, "liver", str(label)), sitk.GetArrayFromImage(there))


Sound = tuple[ReadImage, bytes, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sound]:
    """A sound file of each format: its image, its bytes and its mask."""
    folder = tmp_path_factory.mktemp("whole")
    sound: dict[str, Sound] = {}
    for ending in (".nii", ".nii.gz", ".nrrd"):
        sound[ending] = (picture(), save_image(folder / f"m{ending}", volume(box())).read_bytes(), box())
    for masks in ("seg", "rtstruct"):
        examination = mr()
        image, place = examined(folder / masks, examination, masks)
        sound[f".{masks}.dcm"] = (image, (place / "tumour.dcm").read_bytes(), examination.masks["tumour"].voxels)
    return sound


ENDINGS = [".nii", ".nii.gz", ".nrrd", ".seg.dcm", ".rtstruct.dcm"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_cut_off_is_never_read_as_another_mask(
    whole: dict[str, Sound], tmp_path: Path, ending: str
) -> None:
    image, sound, truth = whole[ending]
    path = tmp_path / f"m{ending}"
    numbers = set()
    for length in range(0, len(sound), max(len(sound) // 100, 1)):
        path.write_bytes(sound[:length])
        try:
            np.testing.assert_array_equal(mask_of(path, image), truth)
        except FedmviError as error:
            numbers.add(error.number)
            assert error.local.startswith(f"{PATIENT}: {path}: ")
    assert 340 in numbers
    assert numbers <= {340, 342}


@pytest.mark.parametrize("ending", ENDINGS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_ends_in_a_numbered_error_or_in_a_mask_on_the_image(
    whole: dict[str, Sound], tmp_path: Path, ending: str, data: st.DataObject
) -> None:
    image, sound, _ = whole[ending]
    changed = bytearray(sound)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(sound) - 1), st.integers(0, 255)), max_size=8)):
        changed[at] = value
    path = tmp_path / f"m{ending}"
    path.write_bytes(changed)
    try:
        read = read_mask(MaskSource("tumour", 1, "portal", path), image, PATIENT)
    except FedmviError as error:
        assert 340 <= error.number <= 344
        assert error.local.startswith(f"{PATIENT}: {path}: ")
    else:
        assert read.IsSameImageGeometryAs(image.image)
        assert set(np.unique(sitk.GetArrayViewFromImage(read)).tolist()) == {0, 1}


@given(st.binary(max_size=600))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_of_nothing_are_no_mask(tmp_path: Path, noise: bytes) -> None:
    for name in ("m.nii", "m.nii.gz", "m.nrrd", "m.dcm"):
        path = tmp_path / name
        path.write_bytes(bytes(128) + b"DICM" + noise if name == "m.dcm" else noise)
        refused(340, path, picture())
