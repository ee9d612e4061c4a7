"""tests/client: a patient is read as a whole, or every file that cannot be read is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from client.images.case import Case, ImageSource, MaskSource
from client.images.loading import CaseError, load_case
from simulation.imaging.files import write_examination
from simulation.imaging.volume import Examination
from tests.simulation.imaging.examinations import ABOUT, ct


@pytest.fixture(scope="module")
def examination() -> Examination:
    return ct()


@pytest.fixture(scope="module")
def case(examination: Examination, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("site")
    write_examination(folder, examination, "dicom", "seg", ABOUT)
    patient = examination.patient
    images = {phase: ImageSource(phase, folder / "images" / patient / phase) for phase in examination.phases}
    place = folder / "masks" / patient
    masks = (
        MaskSource("tumour", 1, "portal", place / "tumour.dcm"),
        MaskSource("tumour", 2, "portal", place / "tumour.reader2.dcm"),
        MaskSource("liver", 1, "portal", place / "liver.dcm"),
    )
    return Case(patient, images, masks)


def test_all_images_and_masks_of_a_patient_are_read(case: Case, examination: Examination) -> None:
    scan = load_case(case)
    assert scan.patient == case.patient
    assert list(scan.images) == list(case.images)
    for phase, volume in examination.phases.items():
        np.testing.assert_array_equal(sitk.GetArrayFromImage(scan.images[phase].image), volume.voxels)
    for key, reader in (("tumour", 1), ("tumour.reader2", 2), ("liver", 1)):
        mask = scan.mask(key.partition(".")[0], "portal", reader)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), examination.masks[key].voxels)
    assert scan.mask("liver", "plain") is None


def test_only_the_phases_that_are_asked_for_are_read(case: Case) -> None:
    plain = load_case(replace(case, images={**case.images, "arterial": _absent("arterial")}), ["plain"])
    assert (list(plain.images), list(plain.masks)) == (["plain"], [])
    assert set(load_case(case, ["portal"]).masks) == {("tumour", r, "portal") for r in (1, 2)} | {
        ("liver", 1, "portal")
    }


def test_the_liver_may_be_drawn_on_another_phase_than_the_tumour(case: Case, tmp_path: Path) -> None:
    phase = load_case(case, ["delayed"]).images["delayed"].image
    path = tmp_path / "delayed.liver.nii.gz"
    sitk.WriteImage(sitk.Cast(phase > 0, sitk.sitkUInt8), str(path))
    scan = load_case(replace(case, masks=(case.masks[0], MaskSource("liver", 1, "delayed", path))))
    assert set(scan.masks) == {("tumour", 1, "portal"), ("liver", 1, "delayed")}


def _absent(phase: str) -> ImageSource:
    return ImageSource(phase, Path("/nowhere") / phase)


def _problems(case: Case, **images: ImageSource) -> Mapping[str, int]:
    with pytest.raises(CaseError) as caught:
        load_case(replace(case, images={**case.images, **images}))
    assert all(problem.local.startswith(f"{case.patient}: ") for problem in caught.value.problems)
    first = caught.value.problems[0]
    assert (caught.value.number, caught.value.local) == (first.number, first.local)
    return {problem.local.split(": ")[1]: problem.number for problem in caught.value.problems}


def test_every_file_that_cannot_be_read_is_named_at_once(case: Case, tmp_path: Path) -> None:
    empty = tmp_path / "empty.nii.gz"
    empty.touch()
    bad = replace(
        case,
        masks=(
            *case.masks,
            MaskSource("liver", 2, "plain", empty),
            MaskSource("vessels", 1, "hepatobiliary", tmp_path / "vessels.nii.gz"),
            MaskSource("vessels", 1, "arterial", tmp_path / "not-tried.nii.gz"),
        ),
    )
    found = _problems(bad, arterial=_absent("arterial"))
    assert found == {"/nowhere/arterial": 330, str(empty): 340, str(tmp_path / "vessels.nii.gz"): 341}


def test_a_mask_of_another_phase_is_named(case: Case) -> None:
    wrong = replace(case, masks=(replace(case.masks[0], phase="arterial"), case.masks[2]))
    assert _problems(wrong) == {str(case.masks[0].path): 343}
