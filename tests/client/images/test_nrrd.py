"""tests/client: an NRRD file is read where it lies."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from common.errors import FedmviError
from tests.client.images.dicom_files import picture, read, same_place, voxels_of
from tests.public_data import DATA, public

HEADER = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 6 8 5
space directions: (0.7,0,0) (0,0.8,0) (0,0,3)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (-10,20,5)

"""


def write(path: Path, change: tuple[str, str] = ("", "")) -> Path:
    """A raw NRRD of `picture()` with one field written otherwise."""
    path.write_bytes(HEADER.replace(*change).encode() + picture().tobytes())
    return path


def test_public_files_are_read_as_simpleitk_reads_them() -> None:
    for name in ("pyradiomics_reference/breast1_image.nrrd", "dicom/liver_seg_object/liver_seg.nrrd"):
        ours, theirs = read(public(name)).image, sitk.ReadImage(str(DATA / name))
        assert same_place(ours, theirs, 0)
        np.testing.assert_array_equal(voxels_of(ours), voxels_of(theirs))


def test_axes_to_the_right_and_front_are_turned_into_dicoms(tmp_path: Path) -> None:
    lps = read(write(tmp_path / "a.nrrd")).image
    np.testing.assert_array_equal(voxels_of(lps), picture())
    assert lps.GetOrigin() == (-10, 20, 5)
    ras = read(write(tmp_path / "b.nrrd", ("left-posterior-superior", "right-anterior-superior"))).image
    assert ras.GetOrigin() == (10, -20, 5)
    assert ras.GetDirection()[0] == ras.GetDirection()[4] == -1


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (("space: left-posterior-superior\n", ""), 334),
        (("left-posterior-superior", "scanner-xyz"), 334),
        (("space origin: (-10,20,5)\n", ""), 334),
        (("(0.7,0,0)", "(0.7,0.3,0)"), 334),
        (("encoding: raw", "encoding: bzip2"), 330),
        (("encoding: raw", "encoding: raw\ndata file: other.raw"), 330),
        (("sizes: 6 8 5", "sizes: 6 8 6"), 330),
        (("sizes: 6 8 5", "sizes: 60000 80000 5"), 330),
        (("sizes: 6 8 5", "sizes: 6 8"), 330),
        (("type: short", "type: block"), 330),
        (("NRRD0004", "GRRD0004"), 330),
    ],
)
def test_what_cannot_be_read_or_placed_is_refused(tmp_path: Path, change: tuple[str, str], number: int) -> None:
    path = write(tmp_path / "a.nrrd", change)
    with pytest.raises(FedmviError) as caught:
        read(path)
    assert caught.value.number == number, caught.value
    assert caught.value.local.startswith(f"p1: {path}: ")


def test_one_of_several_volumes_must_be_named(tmp_path: Path) -> None:
    both = np.stack([picture(), picture(seed=1)], axis=-1)
    sitk.WriteImage(sitk.GetImageFromArray(both, isVector=True), str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "a.nrrd", volume=2)), picture(seed=1))
    with pytest.raises(FedmviError, match="2 volumes") as caught:
        read(tmp_path / "a.nrrd")
    assert caught.value.number == 336


def test_a_cut_off_compressed_file_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(picture().tobytes())
    path = tmp_path / "a.nrrd"
    path.write_bytes(HEADER.replace("encoding: raw", "encoding: gzip").encode() + packed)
    np.testing.assert_array_equal(voxels_of(read(path)), picture())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FedmviError) as caught:
        read(path)
    assert caught.value.number == 330
