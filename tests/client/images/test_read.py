"""tests/client: one entry reads any image, says what its headers say, and never lets a library's error through."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from client.images.reading import read as reading
from common.errors import FedmviError
from simulation.imaging.dicom import write_series as simulate_series
from simulation.imaging.nifti import write_volume
from tests.client.images.dicom_files import (
    frame_group,
    picture,
    read,
    same_place,
    voxels_of,
    write_enhanced,
    write_series,
)
from tests.client.images.test_nifti import save as save_nifti
from tests.client.images.test_nrrd import write as write_nrrd
from tests.simulation.imaging.examinations import ABOUT, ct, mr


def test_a_simulated_patient_is_the_same_as_dicom_and_as_nifti(tmp_path: Path) -> None:
    for examination in (ct(), mr()):
        for phase, volume in examination.phases.items():
            place = tmp_path / examination.modality / phase
            simulate_series(place / "dicom", examination, phase, ABOUT)
            write_volume(place / "image.nii.gz", volume)
            dicom, nifti = read(place / "dicom"), read(place / "image.nii.gz")
            np.testing.assert_array_equal(voxels_of(dicom), voxels_of(nifti))
            np.testing.assert_array_equal(voxels_of(dicom), volume.voxels)
            assert same_place(dicom.image, nifti.image, within=1e-4)
            assert dicom.about.manufacturer == "FedMVI simulation"
            assert (dicom.about.tesla, dicom.about.kilovolt) == (
                (None, 120) if place.parent.name == "ct" else (3, None)
            )


def test_headers_say_how_the_image_was_made(tmp_path: Path) -> None:
    def change(z: int, header: Dataset) -> None:
        header.FrameOfReferenceUID = "2.25.55"
        header.Manufacturer, header.ManufacturerModelName = "SIEMENS", "Vida"
        header.SeriesDescription = "t1_vibe_dixon_tra_caipi3_bh_20min"
        header.ContrastBolusAgent = "Primovist"
        header.MagneticFieldStrength = 30000
        header.RepetitionTime, header.EchoTime = 4.2, 1.3
        header.AcquisitionDate, header.AcquisitionTime = "20200103", f"1015{40 - z}.25"

    about = read(write_series(tmp_path, picture(), change=change, modality="MR")).about
    assert (about.series, about.frame_of_reference) == ("2.25.7", "2.25.55")
    assert about.instances == tuple(f"2.25.8.{3000 * z}" for z in range(5))
    assert about.acquired == "20200103101536.250000"
    assert (about.manufacturer, about.model, about.agent) == ("SIEMENS", "Vida", "Primovist")
    assert about.description == "t1_vibe_dixon_tra_caipi3_bh_20min"
    assert (about.tesla, about.repetition_ms, about.echo_ms, about.kilovolt) == (3, 4.2, 1.3, None)


def test_a_nifti_file_says_nothing_of_how_it_was_made(tmp_path: Path) -> None:
    about = read(save_nifti(tmp_path / "a.nii", picture())).about
    assert (about.series, about.instances, about.acquired, about.tesla) == ("", (), "", None)


@pytest.mark.parametrize(
    "name", ["nothing", "nothing.nii.gz", "nothing.nrrd", "nul\0l", "x" * 300 + ".nii", " ", "é\u0301"]
)
def test_a_file_that_is_not_there_is_an_error_with_a_number(tmp_path: Path, name: str) -> None:
    with pytest.raises(FedmviError) as caught:
        read(tmp_path / name)
    assert caught.value.number == 330
    assert caught.value.local.startswith("p1: ")


def test_folders_without_images_and_folders_named_like_files_are_errors_with_a_number(tmp_path: Path) -> None:
    for name in ("empty", "a.nii", "b.nii.gz", "c.nrrd"):
        (tmp_path / name).mkdir()
        with pytest.raises(FedmviError) as caught:
            read(tmp_path / name)
        assert caught.value.number == 330
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(FedmviError, match="330"):
        read(loop)
    (tmp_path / "empty" / "IM1").symlink_to(tmp_path / "gone")
    with pytest.raises(FedmviError, match="IM1"):
        read(tmp_path / "empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "series", picture())
    (tmp_path / "series" / "014-a.dcm").chmod(0)
    with pytest.raises(FedmviError, match=r"014-a\.dcm"):
        read(tmp_path / "series")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One good file of every kind, as bytes."""
    place = tmp_path_factory.mktemp("good")
    write_series(place / "series", picture((1, 4, 4)))
    (slice_file,) = (place / "series").iterdir()
    groups = [frame_group(3.0 * z, MRDiffusionSequence={"DiffusionBValue": 5.0}) for z in range(2)]
    return {
        "slice.dcm": slice_file.read_bytes(),
        "enhanced.dcm": write_enhanced(place / "e.dcm", picture((2, 4, 4)), groups).read_bytes(),
        "image.nii": save_nifti(place / "a.nii", picture((2, 4, 4))).read_bytes(),
        "image.nii.gz": save_nifti(place / "a.nii.gz", picture((2, 4, 4))).read_bytes(),
        "image.nrrd": write_nrrd(place / "a.nrrd").read_bytes(),
    }


@pytest.mark.parametrize("name", ["slice.dcm", "enhanced.dcm", "image.nii", "image.nii.gz", "image.nrrd"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_an_image_or_an_error_with_a_number(
    good: dict[str, bytes], tmp_path: Path, name: str, data: st.DataObject
) -> None:
    raw = bytearray(good[name])
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))
    path = tmp_path / name
    path.write_bytes(bytes(raw[:end]))
    try:
        image = read(path).image
    except FedmviError as error:
        assert 330 <= error.number <= 336
        assert error.local.startswith("p1: ")
        assert name in error.local
    else:
        assert image.GetDimension() == 3
        assert np.isfinite(voxels_of(image)).all()


@pytest.mark.parametrize("name", ["a.dcm", "IM0001", "a.nii", "a.nii.gz", "a.nrrd"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=800), mark=st.sampled_from([b"", bytes(128) + b"DICM", b"\x5c\x01\0\0", b"NRRD0004\n"]))
def test_random_bytes_are_an_error_with_a_number(tmp_path: Path, name: str, raw: bytes, mark: bytes) -> None:
    (tmp_path / name).write_bytes(mark + raw)
    with pytest.raises(FedmviError) as caught:
        read(tmp_path / name)
    assert caught.value.number in (330, 334)


def test_files_under_any_name_are_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "series", picture())
    names = ["IM 1", "ärztin.dcm", "CT.1.2.840.113", "scan.v2", "\u202e7"]
    for path, name in zip(sorted((tmp_path / "series").iterdir()), names, strict=True):
        shutil.move(path, path.with_name(name))
    np.testing.assert_array_equal(voxels_of(read(tmp_path / "series")), picture())


def test_headers_of_a_folder_with_many_series_are_parsed_once_and_again_where_a_file_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flat export: each phase is one series of the same folder."""
    folder, parsed = tmp_path / "export", list[object]()
    folder.mkdir()
    for k in range(3):

        def change(z: int, header: Dataset, k: int = k) -> None:
            header.SeriesInstanceUID, header.SOPInstanceUID = f"2.25.{70 + k}", f"2.25.8.{k}.{z}"

        for path in sorted(write_series(tmp_path / str(k), picture(seed=k), change=change).iterdir()):
            shutil.move(path, folder / f"{k}-{path.name}")
    whole = reading.find_series
    monkeypatch.setattr(reading, "find_series", lambda *asked: parsed.append(asked) or whole(*asked))
    for k in range(3):
        np.testing.assert_array_equal(voxels_of(read(folder, series=f"2.25.{70 + k}")), picture(seed=k))
    assert len(parsed) == 1
    damaged = min(folder.iterdir())
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(FedmviError, match="330"):
        read(folder, series="2.25.71")
    assert len(parsed) == 2
