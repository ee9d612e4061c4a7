"""tests/client: stored pixels become HU or signal, however they are stored and compressed."""

from __future__ import annotations

import errno
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
)

from client.images.reading import pixels
from common.errors import FedmviError
from tests.client.images.dicom_files import by_simpleitk, picture, read, save, slice_header, voxels_of, write_series
from tests.public_data import public


def compress(folder: Path, syntax: int) -> None:
    """Compress every file of a folder by GDCM."""
    for path in folder.iterdir():
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()


def with_bits(bits: int, *, signed: bool = False) -> object:
    def change(z: int, header: Dataset) -> None:
        header.BitsStored, header.HighBit = bits, bits - 1
        header.BitsAllocated = 8 if bits == 8 else 16
        header.PixelRepresentation = int(signed)
        header.RescaleIntercept, header.RescaleSlope = -1024, 1

    return change


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14, gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLSLossless, gdcm.TransferSyntax.JPEG2000Lossless, gdcm.TransferSyntax.RLELossless,
        gdcm.TransferSyntax.ImplicitVRLittleEndian, gdcm.TransferSyntax.ExplicitVRBigEndian,
    ],
)  # fmt: skip
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, False), (16, True)])
def test_a_lossless_transfer_syntax_gives_the_voxels_that_went_in(
    tmp_path: Path, syntax: int, bits: int, signed: bool
) -> None:
    stored = (picture((3, 16, 12)) + (0 if signed else 1024)).astype(np.int16 if signed else np.uint16)
    write_series(tmp_path, stored, change=with_bits(bits, signed=signed))
    compress(tmp_path, syntax)
    ours = read(tmp_path)
    np.testing.assert_array_equal(voxels_of(ours), stored.astype(int) - 1024)
    assert ours.image.GetPixelIDTypeAsString() == "16-bit signed integer"


@pytest.mark.parametrize(
    ("syntax", "bits", "within"),
    [
        (gdcm.TransferSyntax.JPEGBaselineProcess1, 8, 12),
        (gdcm.TransferSyntax.JPEGExtendedProcess2_4, 12, 40),
        (gdcm.TransferSyntax.JPEGLSNearLossless, 12, 4),
        (gdcm.TransferSyntax.JPEG2000, 12, 40),
    ],
)
def test_a_lossy_transfer_syntax_gives_nearly_what_went_in(
    tmp_path: Path, syntax: int, bits: int, within: float
) -> None:
    z, y, x = np.mgrid[:2, :32, :24]
    stored = (2 ** (bits - 1) * (1 + 0.9 * np.sin(y / 6 + z) * np.cos(x / 5))).astype("<u1" if bits == 8 else "<u2")
    write_series(tmp_path, stored, change=with_bits(bits))
    compress(tmp_path, syntax)
    assert np.abs(voxels_of(read(tmp_path)) + 1024.0 - stored).max() <= within


def test_a_full_disk_is_not_the_images_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEG of twelve bits is decoded by way of a temporary file."""
    write_series(tmp_path, np.full((1, 32, 24), 2048, "<u2"), change=with_bits(12))
    compress(tmp_path, gdcm.TransferSyntax.JPEGExtendedProcess2_4)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pixels.Dataset, "save_as", full)
    with pytest.raises(FedmviError) as caught:
        read(tmp_path)
    assert caught.value.number == 377
    assert caught.value.local.startswith(f"p1: {tmp_path}") and "No space left on device" in caught.value.local


def test_deflated_files_and_files_without_a_file_header_are_read(tmp_path: Path) -> None:
    write_series(tmp_path / "deflated", picture())
    for path in (tmp_path / "deflated").iterdir():
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        header.save_as(path)
        bare = tmp_path / "bare" / path.stem
        bare.parent.mkdir(exist_ok=True)
        bare.write_bytes(_without_file_header(header))
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "deflated")), picture())
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "bare")), picture())


def _without_file_header(header: Dataset) -> bytes:
    out = pydicom.filebase.DicomBytesIO()
    del header.file_meta
    pydicom.dcmwrite(out, header, implicit_vr=True, little_endian=True)
    return out.getvalue()


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_a_jpeg_of_twelve_bits_from_elsewhere_has_the_voxels_that_simpleitk_gives_it(name: str, tmp_path: Path) -> None:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip("pydicom's test files are not installed")
    header = pydicom.dcmread(found)
    header.Modality, header.SOPClassUID = "CT", CTImageStorage
    header.SamplesPerPixel = 1
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        setattr(header, keyword, slice_header(0.0)[keyword].value)
    for keyword in ("NumberOfFrames", "ImageType", "RescaleSlope", "RescaleIntercept"):
        if keyword in header:
            del header[keyword]
    header.save_as(tmp_path / "a.dcm")
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(found))
    np.testing.assert_array_equal(voxels_of(read(tmp_path)), theirs)


@pytest.mark.parametrize("kind", ["RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"])
def test_one_picture_in_every_encoding_is_one_picture(kind: str) -> None:
    found = [get_testdata_file(name, download=False) for name in ("MR_small.dcm", f"MR_small_{kind}.dcm")]
    if None in found:
        pytest.skip("pydicom's test files are not installed")
    plain, encoded = (voxels_of(read(Path(str(path)))) for path in found)
    np.testing.assert_array_equal(plain, encoded)


@pytest.mark.parametrize("syntax", [HTJ2K, UID("1.2.840.10008.1.2.4.100"), UID("1.2.3")])
def test_a_compression_that_is_not_known_is_refused_by_name(tmp_path: Path, syntax: UID) -> None:
    write_series(tmp_path, picture((2, 8, 6)))
    for path in tmp_path.iterdir():
        header = pydicom.dcmread(path)
        header.PixelData = pydicom.encaps.encapsulate([b"\x00\x01"])
        header["PixelData"].VR = "OB"
        header.file_meta.TransferSyntaxUID = syntax
        header.save_as(path)
    with pytest.raises(FedmviError, match=r"p1: .*000-a\.dcm: transfer syntax") as caught:
        read(tmp_path)
    assert caught.value.number == 335


@pytest.mark.parametrize("name", ["dicom/liver_ct_series/image", "abdomen_ct_mr/example_ct_dicom"])
def test_a_real_series_has_the_voxels_that_simpleitk_gives_it_and_air_for_padding(name: str) -> None:
    theirs = voxels_of(by_simpleitk(public(name)))
    theirs[theirs == -3024] = -1024  # the liver series' Pixel Padding Value -2000 after its rescaling
    np.testing.assert_array_equal(voxels_of(read(public(name))), theirs)


def test_every_slice_is_rescaled_by_its_own_slope(tmp_path: Path) -> None:
    stored = np.abs(picture((4, 8, 6)))

    def change(z: int, header: Dataset) -> None:
        header.RescaleSlope, header.RescaleIntercept = 0.37 * (z + 1), 0

    write_series(tmp_path, stored, change=change)
    ours = read(tmp_path)
    assert ours.image.GetPixelIDTypeAsString() == "32-bit float"
    expected = stored * (0.37 * np.arange(1, 5))[:, None, None]
    np.testing.assert_allclose(voxels_of(ours), expected, rtol=1e-6)


def test_whole_numbers_beyond_int16_are_float32_from_the_first_slice_on(tmp_path: Path) -> None:
    def change(z: int, header: Dataset) -> None:
        header.RescaleSlope, header.RescaleIntercept = (100 if z == 3 else 1), 0

    stored = picture()
    write_series(tmp_path, stored, change=change)
    expected = stored.astype(float)
    expected[3] *= 100
    np.testing.assert_array_equal(voxels_of(read(tmp_path)), expected)


def test_bits_beyond_bits_stored_are_no_signal(tmp_path: Path) -> None:
    signal = np.abs(picture()) % 4096
    overlay = (np.indices(signal.shape).sum(axis=0) % 2).astype(np.uint16) << 14
    write_series(tmp_path / "unsigned", signal.astype(np.uint16) | overlay, change=with_bits(12))
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "unsigned")), signal.astype(int) - 1024)
    small = np.clip(picture(), -1000, 1000)
    write_series(tmp_path / "signed", small.astype(np.uint16) & 0x0FFF, change=with_bits(12, signed=True))
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "signed")), small.astype(int) - 1024)


@pytest.mark.parametrize(
    ("padding", "limit", "hu"), [(-2000, None, -1024), (63536, None, -1024), (-2000, -1900, -1024), (1064, None, 40)]
)
def test_padding_is_air_unless_tissue_has_its_value_too(
    tmp_path: Path, padding: int, limit: int | None, hu: int
) -> None:
    stored = np.abs(picture())
    stored[:, 0] = padding if padding < 2**15 else padding - 2**16

    def change(z: int, header: Dataset) -> None:
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        header.add_new("PixelPaddingValue", "US" if padding > 2**15 else "SS", padding)
        if limit is not None:
            header.add_new("PixelPaddingRangeLimit", "SS", limit)

    write_series(tmp_path, stored, change=change)
    expected = stored.astype(int) - 1024
    expected[:, 0] = hu
    np.testing.assert_array_equal(voxels_of(read(tmp_path)), expected)


def test_an_inverted_signal_is_turned_round_and_hu_are_not(tmp_path: Path) -> None:
    def change(z: int, header: Dataset) -> None:
        header.PhotometricInterpretation = "MONOCHROME1"

    write_series(tmp_path / "ct", picture(), change=change)
    write_series(tmp_path / "mr", picture(), change=change, modality="MR")
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "ct")), picture())
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "mr")), -1 - picture().astype(int))


def test_cut_off_pixels_name_the_slice(tmp_path: Path) -> None:
    write_series(tmp_path, picture())
    path = tmp_path / "014-a.dcm"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FedmviError) as caught:
        read(tmp_path)
    assert caught.value.number == 330
    assert caught.value.local.startswith(f"p1: {path}: pixels cannot be read")


def test_a_size_that_no_image_has_is_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "MAX_VOXELS", 200)
    with pytest.raises(FedmviError, match="6 x 8 x 5 voxels") as caught:
        read(write_series(tmp_path, picture()))
    assert caught.value.number == 330


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    header = slice_header(0.0)
    path = save(header, picture()[0], tmp_path / "one.dcm")
    assert read(path).image.GetSpacing() == (0.7, 0.8, 3.0)
    header.SliceThickness = None
    save(header, picture()[0], path)
    with pytest.raises(FedmviError) as caught:
        read(path)
    assert caught.value.number == 334


@pytest.mark.parametrize(
    "syntax",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14_1, gdcm.TransferSyntax.JPEGExtendedProcess2_4,
        gdcm.TransferSyntax.JPEGLSLossless, gdcm.TransferSyntax.JPEG2000Lossless,
    ],
)  # fmt: skip
@pytest.mark.parametrize(("keyword", "value"), [("Rows", 15), ("Columns", 400), ("BitsAllocated", 8)])
def test_a_compressed_picture_of_another_size_than_the_header_says_is_refused(
    tmp_path: Path, syntax: int, keyword: str, value: int
) -> None:
    write_series(tmp_path, np.abs(picture((1, 16, 12))).astype(np.uint16), change=with_bits(12))
    compress(tmp_path, syntax)
    (path,) = tmp_path.iterdir()
    header = pydicom.dcmread(path)
    setattr(header, keyword, value)
    header.save_as(path)
    with pytest.raises(FedmviError, match="pixels cannot be read") as caught:
        read(tmp_path)
    assert caught.value.number == 330
