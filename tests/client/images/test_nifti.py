"""tests/client: a NIfTI file is read where it lies, or refused where programs would differ on where that is."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from common.errors import FedmviError
from tests.client.images.dicom_files import picture, read, same_place, voxels_of
from tests.public_data import DATA, public

OBLIQUE = np.array([[0.0, 0.0, -2.5, 40], [0.6, -0.64, 0, -30], [0.45, 0.48 * 16 / 9, 0, 12.5], [0, 0, 0, 1]])
OBLIQUE[:3, 0] *= 0.7 / 0.75
OBLIQUE[:3, 1] = np.cross(OBLIQUE[:3, 2], OBLIQUE[:3, 0]) / 2.5 / 0.7 * 0.9


def save(path: Path, voxels: NDArray[Any], affine: NDArray[Any] = OBLIQUE, kind: Any = nib.Nifti1Image) -> Path:
    """Write voxels (z, y, x), or (t, z, y, x), with both transforms set."""
    image = kind(voxels.T, affine, dtype=voxels.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    """Change the header of an uncompressed NIfTI-1 file."""
    raw = path.read_bytes()
    header = nib.Nifti1Header(raw[:348], check=False)
    change(header)
    path.write_bytes(header.binaryblock + raw[348:])
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "Jörg  Müller (2).nii.gz"])
def test_what_was_written_is_read_where_it_lies(tmp_path: Path, name: str, kind: Any) -> None:
    image = read(save(tmp_path / name, picture(), kind=kind)).image
    np.testing.assert_array_equal(voxels_of(image), picture())
    assert image.GetPixelIDTypeAsString() == "16-bit signed integer"
    for index in ((0, 0, 0), (5, 7, 4)):
        right, front, head, _ = OBLIQUE @ [*index, 1]
        assert image.TransformIndexToPhysicalPoint(index) == pytest.approx((-right, -front, head), abs=1e-4)


def test_simpleitk_reads_the_public_images_as_ours() -> None:
    names = ["abdomen_ct_mr/example_ct.nii.gz", "abdomen_ct_mr/example_mr_sm.nii.gz",
             "ibsi/ibsi1_ct_phantom/image/phantom.nii.gz", "ibsi/ibsi1_digital_phantom/image/phantom.nii.gz",
             "ibsi/ibsi2_digital_phantom/orientation/image/orientation.nii.gz",
             "ibsi/sts_validation/STS_002/MR_T1_image.nii.gz"]  # fmt: skip
    for name in names:
        ours, theirs = read(public(name)).image, sitk.ReadImage(str(DATA / name))
        assert same_place(ours, theirs), name
        np.testing.assert_array_equal(voxels_of(ours), voxels_of(theirs), err_msg=name)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_whole_numbers_are_int16_whatever_they_were_stored_as(tmp_path: Path, kind: type) -> None:
    voxels = np.abs(picture()) // (8 if kind is np.uint8 else 1)
    image = read(save(tmp_path / "a.nii", voxels.astype(kind))).image
    assert image.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(voxels_of(image), voxels)


def test_fractions_and_large_numbers_are_float32(tmp_path: Path) -> None:
    for voxels in (picture() / 3, picture().astype(np.int32) * 100):
        image = read(save(tmp_path / "a.nii", voxels)).image
        assert image.GetPixelID() == sitk.sitkFloat32
        np.testing.assert_allclose(voxels_of(image), voxels, rtol=1e-7)


def test_another_byte_order_is_read(tmp_path: Path) -> None:
    voxels = picture()
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(voxels.T.astype(">i2"), OBLIQUE, header)
    image.set_sform(OBLIQUE, code=1)
    image.to_filename(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == struct.pack(">i", 348)
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "a.nii")), voxels)


@pytest.mark.parametrize(
    ("slope", "intercept", "factor", "added"),
    [(2.0, -1024.0, 2, -1024), (0.0, 5.0, 1, 0), (float("nan"), float("nan"), 1, 0), (0.25, 1.0, 0.25, 1)],
)
def test_voxels_are_scaled_where_the_header_has_a_scale(
    tmp_path: Path, slope: float, intercept: float, factor: float, added: float
) -> None:
    def change(header: Any) -> None:
        header["scl_slope"], header["scl_inter"] = slope, intercept

    path = changed(save(tmp_path / "a.nii", picture()), change)
    np.testing.assert_allclose(voxels_of(read(path)), picture() * factor + added, rtol=1e-6)


def _shifted(header: Any) -> None:
    header["qoffset_x"] += 0.2


def _sheared(header: Any) -> None:
    header["qform_code"] = 0
    header["srow_x"] += [0, 0.1, 0, 0]


def _nowhere(header: Any) -> None:
    header["qform_code"] = header["sform_code"] = 0


def _flat(header: Any) -> None:
    header["qform_code"] = 0
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row][2] = 0


def _not_a_number(header: Any) -> None:
    header["srow_x"][1] = np.nan


def _metres(header: Any) -> None:
    header.set_xyzt_units("meter")


@pytest.mark.parametrize("change", [_shifted, _sheared, _nowhere, _flat, _not_a_number, _metres])
def test_a_place_on_which_programs_differ_is_refused(tmp_path: Path, change: Callable[[Any], None]) -> None:
    path = changed(save(tmp_path / "a.nii", picture()), change)
    with pytest.raises(FedmviError) as caught:
        read(path)
    assert caught.value.number == 334
    assert caught.value.local.startswith(f"p1: {path}: ")


def test_a_qform_alone_is_enough(tmp_path: Path) -> None:
    def change(header: Any) -> None:
        header["sform_code"] = 0

    whole = read(save(tmp_path / "a.nii", picture())).image
    assert same_place(read(changed(tmp_path / "a.nii", change)).image, whole, within=1e-4)


def test_one_of_several_volumes_must_be_named(tmp_path: Path) -> None:
    voxels = np.stack([picture(seed=i) for i in range(3)])
    for name in ("a.nii", "a.nii.gz"):
        path = save(tmp_path / name, voxels)
        np.testing.assert_array_equal(voxels_of(read(path, volume=2)), picture(seed=1))
        for volume in (0, 4):
            with pytest.raises(FedmviError, match="3 volumes") as caught:
                read(path, volume=volume)
            assert caught.value.number == 336


def test_colours_and_complex_numbers_are_no_image(tmp_path: Path) -> None:
    for voxels in (picture().astype(np.complex64), np.zeros((5, 8, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])):
        with pytest.raises(FedmviError, match="colours, vectors or complex") as caught:
            read(save(tmp_path / "a.nii", voxels))
        assert caught.value.number == 330


def _huge(header: Any) -> None:
    header["dim"][1:4] = 32000


def _longer(header: Any) -> None:
    header["dim"][3] = 6


def _dimensions(header: Any) -> None:
    header["dim"][0] = 2


def _negative(header: Any) -> None:
    header["dim"][2] = -8


@pytest.mark.parametrize("change", [_huge, _longer, _dimensions, _negative])
def test_sizes_that_the_file_does_not_have_are_refused(tmp_path: Path, change: Callable[[Any], None]) -> None:
    path = changed(save(tmp_path / "a.nii", picture()), change)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    for damaged in (path, tmp_path / "b.nii.gz"):
        with pytest.raises(FedmviError) as caught:
            read(damaged)
        assert caught.value.number == 330


def test_a_cut_off_or_changed_compressed_file_is_refused(tmp_path: Path) -> None:
    raw = save(tmp_path / "a.nii.gz", picture()).read_bytes()
    flipped = bytearray(raw)
    flipped[-6] ^= 1
    for damaged in (raw[:-20], raw[: len(raw) // 2], raw[:100], bytes(flipped), b""):
        (tmp_path / "a.nii.gz").write_bytes(damaged)
        with pytest.raises(FedmviError) as caught:
            read(tmp_path / "a.nii.gz")
        assert caught.value.number == 330


@pytest.mark.parametrize(
    ("value", "what"),
    [(np.nan, "1 voxels of slice 3"), (np.inf, "1 voxels of slice 3"), (1e300, "1 voxels of slice 3")],
)
def test_voxels_that_are_not_numbers_are_refused_with_their_slice(tmp_path: Path, value: float, what: str) -> None:
    voxels = picture().astype(np.float64)
    voxels[2, 3, 4] = value
    with pytest.raises(FedmviError, match=what) as caught:
        read(save(tmp_path / "a.nii", voxels))
    assert caught.value.number == 333


def test_an_image_of_one_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FedmviError, match="all voxels are 7") as caught:
        read(save(tmp_path / "a.nii", np.full((3, 4, 5), 7, np.int16)))
    assert caught.value.number == 333
