"""tests/client: what is odd about a patient's images and masks is told by its number, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from client.images.case import Case, ImageSource, MaskKey, MaskSource, ReadImage, Scan
from client.images.checking.checks import problems_of
from client.images.checking.coarse import covered_by
from client.images.checking.mask_checks import dice
from client.images.checking.motion import shift_between
from client.images.checking.overlays import panels_of
from client.images.reading.read import read_image
from common.errors import FedmviError, Severity
from tests.client.images.phantom import (
    as_image,
    ellipsoid,
    grid,
    mask_image,
    phase_image,
    preparation,
    scan,
)
from tests.public_data import public

TUMOUR_KEY = ("tumour", 1, "portal")
SECOND = ("tumour", 2, "portal")
LIVER_KEY = ("liver", 1, "portal")


def scan_of(images: Mapping[str, sitk.Image], masks: Mapping[MaskKey, sitk.Image]) -> Scan:
    return Scan("P1", {phase: ReadImage(image) for phase, image in images.items()}, masks)


def told(odd: Scan, **settings: str) -> list[tuple[int, Severity, str]]:
    return [(p.number, p.severity, p.local) for p in problems_of(odd, preparation(*odd.images, **settings))]


def test_a_healthy_patient_has_no_problems() -> None:
    assert told(scan()) == []


def two_parts() -> sitk.Image:
    elsewhere = mask_image("tumour", (20.0, 20.0, 40.0))
    return sitk.Or(mask_image("tumour"), elsewhere)


def without(region: str) -> sitk.Image:
    """A liver whose outline leaves the tumour out."""
    return sitk.And(mask_image("liver"), sitk.Not(sitk.Cast(mask_image("tumour") > 0, sitk.sitkUInt8)) & 1)


ODD: dict[str, tuple[Callable[[], Scan], int, Severity, str]] = {
    "empty mask": (lambda: scan(masks={TUMOUR_KEY: mask_image("tumour") * 0}), 342, Severity.ERROR, "no voxel"),
    "two parts": (lambda: scan(masks={TUMOUR_KEY: two_parts()}), 361, Severity.NOTE, "2 parts of"),
    "mirrored": (
        lambda: scan(masks={TUMOUR_KEY: mask_image("tumour", (150.0, 0, 0))}),
        360,
        Severity.ERROR,
        "100 % of it is outside of the liver",
    ),
    "in the air": (
        lambda: scan(masks={TUMOUR_KEY: mask_image("tumour", (-60.0, -80.0, 0))}),
        360,
        Severity.ERROR,
        "outside of the body",
    ),
    "in the lung": (
        lambda: scan(masks={TUMOUR_KEY: mask_image("tumour", (140.0, 0.0, 55.0))}),
        360,
        Severity.WARNING,
        "lung or gas",
    ),
    "left out of the liver": (
        lambda: scan(masks={LIVER_KEY: without("tumour")}),
        360,
        Severity.WARNING,
        "which goes around it",
    ),
    "cut off": (
        lambda: scan(
            masks={TUMOUR_KEY: mask_image("tumour", (0, 0, 110.0)), LIVER_KEY: mask_image("liver", (0, 0, 80.0))}
        ),
        367,
        Severity.WARNING,
        "last slice",
    ),
    "no rescale": (
        lambda: scan({"portal": phase_image("portal") + 1024}),
        362,
        Severity.ERROR,
        "no air and no fat",
    ),
    "no air": (
        lambda: scan({"portal": sitk.Clamp(phase_image("portal"), sitk.sitkInt16, -150, 400)}),
        362,
        Severity.WARNING,
        "there is no air: ",
    ),
    "swapped phases": (
        lambda: scan({"arterial": phase_image("portal"), "portal": phase_image("arterial")}),
        362,
        Severity.WARNING,
        "each other's names",
    ),
    "an odd liver": (lambda: scan({"plain": phase_image("plain", liver_hu=190.0)}), 362, Severity.WARNING, "median"),
    "not covered": (
        lambda: scan({"arterial": phase_image("arterial", place=grid((64, 52, 14)))}),
        368,
        Severity.ERROR,
        "outside of its field of view",
    ),
    "hardly covered": (
        lambda: scan({"arterial": phase_image("arterial", place=grid((64, 52, 22)))}),
        368,
        Severity.WARNING,
        "reaches beyond",
    ),
    "moved": (lambda: scan({"plain": phase_image("plain", (0, 0, 30.0))}), 363, Severity.WARNING, "head +"),
    "readers": (
        lambda: scan(masks={SECOND: mask_image("tumour", (25.0, 0, 0))}),
        369,
        Severity.WARNING,
        "with reader 1",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_told(name: str) -> None:
    make, number, severity, words = ODD[name]
    found = told(make())
    assert any(n == number and s is severity and words in local for n, s, local in found), found
    assert all(local.startswith("P1: ") for _, _, local in found)


def test_volumes_of_parts_are_told_largest_first() -> None:
    small = as_image(ellipsoid(grid(), (-40, 10, 30), (12, 12, 12)).astype(np.uint8), grid())
    both = sitk.Or(mask_image("tumour"), small)
    voxel = 0.15
    large, little = (sitk.GetArrayViewFromImage(m).sum() * voxel for m in (mask_image("tumour"), small))
    ((_, _, local),) = [t for t in told(scan(masks={TUMOUR_KEY: both})) if t[0] == 361]
    assert f"2 parts of {large:.2g}, {little:.2g} mL" in local


def test_a_problem_names_the_file() -> None:
    masks = (MaskSource("tumour", 1, "portal", Path("/data/m.nii.gz")),)
    case = Case("P1", {"portal": ImageSource("portal", Path("/data/p.nii.gz"))}, masks)
    odd = scan({"portal": phase_image("portal") + 1024}, {TUMOUR_KEY: mask_image("tumour") * 0})
    text = "\n".join(problem.local for problem in problems_of(odd, preparation(*odd.images), case))
    assert "P1: /data/p.nii.gz (portal): " in text and "P1: /data/m.nii.gz (tumour on portal): " in text


def test_mr_that_is_cut_off_or_a_difference_is_told() -> None:
    body = sitk.Clamp(phase_image("portal") + 1000, sitk.sitkFloat32, 0, 4000)
    images = {"t1v": body, "t1": sitk.Clamp(body, sitk.sitkFloat32, 0, 1050), "t2": body - 1040}
    masks = {(r, 1, "t1v"): mask_image(r) for r in ("tumour", "liver")}
    odd = scan_of(images, masks)
    found = [(local.split(": ")[1], local) for n, _, local in told(odd, modality="mr", reference="t1v") if n == 362]
    assert {phase for phase, _ in found} == {"t1", "t2"}
    assert any("cut off" in local for phase, local in found if phase == "t1")
    assert any("negative" in local for phase, local in found if phase == "t2")


@settings(max_examples=15, deadline=None)
@given(st.tuples(*(st.floats(-top, top) for top in (15, 15, 32))), st.booleans())
def test_motion_is_measured_whatever_the_contrast(by: tuple[float, float, float], inverted: bool) -> None:
    reference, other = phase_image("portal"), phase_image("plain", by)
    if inverted:
        reference, other = (sitk.Clamp(i, sitk.sitkInt16, -200, 250) for i in (reference, other))
        other = other * -1
    shift = shift_between(reference, other, mask_image("liver"), ct=True)
    assert shift is not None
    # The phantom's own voxels are 5 and 6 mm wide.
    assert np.linalg.norm(np.subtract(shift.mm, by)) < 5.0


def test_nothing_to_follow_is_no_motion() -> None:
    flat = phase_image("portal") * 0
    assert shift_between(flat, flat, mask_image("liver"), ct=True) is None
    assert shift_between(phase_image("portal"), phase_image("plain"), mask_image("liver") * 0, ct=True) is None


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.sampled_from(["ct", "mr"]),
    st.randoms(),
)
def test_no_image_is_too_small_or_odd_to_be_looked_at(
    size: tuple[int, int, int], other: tuple[int, int, int], modality: str, draw: Random
) -> None:
    random = np.random.default_rng(draw.randrange(10**6))
    phases = ("portal", "arterial") if modality == "ct" else ("t1v", "t1")
    images = {}
    for phase, shape in zip(phases, (size, other), strict=True):
        voxels = random.normal(0, 10 ** random.uniform(-3, 5), shape).astype(np.float32)
        images[phase] = sitk.GetImageFromArray(voxels * random.integers(0, 2))
        images[phase].SetSpacing(random.uniform(0.1, 30, 3).tolist())
        images[phase].SetOrigin(random.uniform(-50, 50, 3).tolist())
    masks = {
        (region, reader, phases[0]): as_image(random.integers(0, 2, size).astype(np.uint8), images[phases[0]])
        for region, reader in (("tumour", 1), ("tumour", 2), ("liver", 1))
    }
    odd = scan_of(images, masks)
    problems_of(odd, preparation(*phases, modality=modality, reference=phases[0]))
    assert len(panels_of(odd, preparation(*phases, modality=modality, reference=phases[0]))) >= len(phases)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_field_of_view_is_that_of_simpleitk(seed: int) -> None:
    random = np.random.default_rng(seed)

    def tilted() -> sitk.Image:
        made = sitk.Image([int(n) for n in random.integers(1, 9, 3)], sitk.sitkUInt8)
        made.SetDirection(np.linalg.qr(random.normal(size=(3, 3)))[0].ravel().tolist())
        made.SetSpacing(random.uniform(0.5, 3, 3).tolist())
        made.SetOrigin(random.uniform(-5, 5, 3).tolist())
        return made

    image, place = tilted(), tilted()
    inside = covered_by(image, place)
    for k, j, i in np.ndindex(inside.shape):
        at = image.TransformPhysicalPointToContinuousIndex(place.TransformIndexToPhysicalPoint([i, j, k]))
        gap = min(min(a + 0.5, n - 0.5 - a) for a, n in zip(at, image.GetSize(), strict=True))
        if abs(gap) > 0.01:
            assert inside[k, j, i] == (gap > 0)


def test_dice_is_that_of_simpleitk() -> None:
    one, other = mask_image("tumour"), mask_image("tumour", (10.0, 5.0, 0))
    oracle = sitk.LabelOverlapMeasuresImageFilter()
    oracle.Execute(one, other)
    assert dice(one, other) == pytest.approx(oracle.GetDiceCoefficient(), rel=1e-12)


def test_no_problem_has_a_public_face_with_a_patient() -> None:
    odd = scan(masks={TUMOUR_KEY: mask_image("tumour") * 0}, patient="SECRET")
    problems = problems_of(odd, preparation(*odd.images))
    assert problems and all(isinstance(p, FedmviError) and "SECRET" not in str(p.public()) + p.what for p in problems)


def real(name: str) -> tuple[sitk.Image, dict[tuple[str, int, str], sitk.Image]]:
    """A real CT, and the liver of `example_ct_sm` as a program outlined it, with a ball in it for a tumour."""
    folder = public("abdomen_ct_mr")
    image = sitk.ReadImage(str(folder / name), sitk.sitkInt16)
    small = sitk.ReadImage(str(folder / "example_seg.nii.gz"))
    liver = sitk.Cast(small == 5, sitk.sitkUInt8)
    deepest = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(liver, squaredDistance=False, useImageSpacing=True))
    k, j, i = np.unravel_index(int(np.argmin(deepest[8:-8])), deepest[8:-8].shape)
    seed = liver * 0
    seed[int(i), int(j), int(k) + 8] = 1
    ball = sitk.SignedMaurerDistanceMap(seed, squaredDistance=False, useImageSpacing=True) < 12
    masks = {("liver", 1, "plain"): liver, ("tumour", 1, "plain"): sitk.Cast(ball, sitk.sitkUInt8)}
    nearest = sitk.sitkNearestNeighbor
    return image, {key: sitk.Resample(mask, image, sitk.Transform(), nearest) for key, mask in masks.items()}


def test_a_real_ct_with_its_liver_has_notes_only() -> None:
    image, masks = real("example_ct_sm.nii.gz")
    found = told(scan_of({"plain": image}, masks), reference="plain")
    assert all(severity is Severity.NOTE for _, severity, _ in found), found


def test_the_liver_of_another_real_ct_is_told() -> None:
    image, masks = real("example_ct.nii.gz")
    found = told(scan_of({"plain": image}, masks), reference="plain")
    assert (360, Severity.WARNING) in {(number, severity) for number, severity, _ in found}, found


def test_a_real_series_at_full_resolution_has_no_problems() -> None:
    image = read_image(ImageSource("portal", public("dicom/liver_ct_series")), "P1").image
    assert told(scan_of({"portal": image}, {})) == []


def test_real_time_points_of_one_series_did_not_move() -> None:
    folder = public("dicom/dce_mri_three_timepoints_in_one_series")
    series = "1.3.6.1.4.1.14519.5.2.1.7695.2311.301418062006848930267168549521"
    images = {
        phase: read_image(ImageSource(phase, folder, series, number), "P1").image
        for number, phase in enumerate(("t1", "t1a", "t1v"), start=1)
    }
    middle = images["t1v"].TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in images["t1v"].GetSize()])
    near = sitk.PhysicalPointSource(sitk.sitkVectorFloat64, images["t1v"].GetSize(), images["t1v"].GetOrigin(),
                                    images["t1v"].GetSpacing(), images["t1v"].GetDirection())  # fmt: skip
    far = np.linalg.norm(sitk.GetArrayFromImage(near) - np.array(middle), axis=3)
    tumour = as_image((far < 15).astype(np.uint8), images["t1v"])
    odd = scan_of(images, {("tumour", 1, "t1v"): tumour})
    assert told(odd, modality="mr", reference="t1v") == []
    shift = shift_between(images["t1v"], images["t1"], tumour, ct=False)
    assert shift is not None and shift.length_mm < 3
