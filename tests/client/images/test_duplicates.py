"""tests/client: the same voxels under two names are found, whatever the format, and nothing else is taken for them."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from client.images.case import Case, ImageSource, MaskSource, Scan
from client.images.checking.duplicates import Print, duplicates, prints_of, voxel_digest
from common.errors import FedmviError, Severity
from tests.client.images.phantom import mask_image, phase_image, scan


def prints(of: Scan) -> list[Print]:
    images = {phase: ImageSource(phase, Path(f"/{of.patient}/{phase}.nii")) for phase in of.images}
    masks = tuple(MaskSource(*key, path=Path(f"/{of.patient}/{'.'.join(map(str, key))}.nii")) for key in of.masks)
    return prints_of(of, Case(of.patient, images, masks))


def of_patient(patient: str, by: float, **images: sitk.Image) -> Scan:
    """A patient like no other."""
    own = {phase: phase_image(phase, (by, 0, 0)) for phase in ("plain", "arterial", "portal")}
    return scan(own | images, {("tumour", 1, "portal"): mask_image("tumour", (by, 0, 0))}, patient)


def text(problem: FedmviError) -> str:
    return f"{problem.number} {problem.severity.name} {problem.local}"


def test_two_patients_with_one_image_are_both_told() -> None:
    shared = phase_image("portal", (11, 0, 0))
    patients = (of_patient("A", 5), of_patient("B", -7, portal=shared), of_patient("C", 11))
    told = [text(problem) for problem in duplicates(one for each in patients for one in prints(each))]
    assert told == [
        "364 ERROR C: /C/portal.nii (portal) has the voxels of B: /B/portal.nii (portal)",
        "364 ERROR B: /B/portal.nii (portal) has the voxels of C: /C/portal.nii (portal)",
    ]


def test_two_phases_of_one_patient_with_one_image_are_told_once() -> None:
    (told,) = duplicates(prints(of_patient("A", 5, plain=phase_image("portal", (5, 0, 0)))))
    assert text(told) == "364 ERROR A: /A/portal.nii (portal) has the voxels of A: /A/plain.nii (plain)"


def test_a_mask_of_another_patient_is_told() -> None:
    told = duplicates(prints(of_patient("A", 5)) + prints(Scan("B", {}, of_patient("B", 5).masks)))
    assert {p.number for p in told} == {364} and all("tumour on portal" in p.local for p in told)


def test_readers_who_agree_to_the_voxel_are_a_warning_and_masks_carried_to_other_phases_are_nothing() -> None:
    mask = mask_image("tumour")
    masks = {("tumour", 1, "portal"): mask, ("tumour", 2, "portal"): mask, ("tumour", 1, "arterial"): mask}
    (told,) = duplicates(prints(scan(masks=masks)))
    assert (told.number, told.severity) == (364, Severity.WARNING)
    assert "of reader 2" in told.local


@settings(max_examples=30, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3), st.booleans())
def test_the_order_of_axes_and_the_type_of_voxels_do_not_matter(
    order: list[int], flipped: tuple[bool, bool, bool], real: bool
) -> None:
    image = phase_image("portal")
    # sitk's filters keep every voxel at its place in the patient and write them in another order.
    turned = sitk.Flip(sitk.PermuteAxes(image, order), list(flipped))
    stored = sitk.Cast(turned, sitk.sitkFloat32) if real else turned
    assert voxel_digest(stored) == voxel_digest(image)


def test_one_voxel_makes_another_image() -> None:
    image = phase_image("portal")
    other = sitk.Image(image)
    other[3, 4, 5] = int(other[3, 4, 5]) + 1
    assert voxel_digest(other) != voxel_digest(image)
    assert voxel_digest(sitk.Cast(image, sitk.sitkFloat32) * 1.5) != voxel_digest(image)
