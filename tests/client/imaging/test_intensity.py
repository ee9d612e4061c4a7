"""Intensities: the body, the bias field, and the scales on which images of different scanners meet."""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.imaging.bias import MOST, find_bias, load_bias, save_bias, thinned, without_bias
from client.imaging.intensity import body_mask, body_percentiles, landmarks_of, normalise
from common.errors import FedmviError
from common.study.features import LANDMARKS
from common.study.preparation import Intensity
from simulation.cohorts.consortium import Scanner
from simulation.imaging.tissues import Tissue
from simulation.imaging.volume import Examination, Volume
from tests.public_data import public
from tests.simulation.imaging.subjects import imaging, pictured, subject, tissues

Floats = NDArray[np.float64]


def image(voxels: NDArray[Any], spacing: tuple[float, float, float] = (3.0, 3.0, 3.0)) -> sitk.Image:
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing(spacing)
    return made


def of(volume: Volume) -> sitk.Image:
    return image(volume.voxels, volume.grid.spacing[::-1])


def array(given_image: sitk.Image) -> Floats:
    return sitk.GetArrayFromImage(given_image).astype(np.float64)


def correct_bias(raw: sitk.Image, body: sitk.Image) -> sitk.Image:
    return without_bias(raw, body, find_bias(raw, body))


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@functools.cache
def scanned() -> Examination:
    return pictured(4, imaging(modality="mr", matrix=48, slices=12))


def noisy(number: int = 0) -> tuple[sitk.Image, sitk.Image]:
    """Skewed intensities, and a body that is a part of them."""
    random = np.random.default_rng(number)
    body = np.zeros((6, 12, 14), dtype=np.uint8)
    body[1:5, 2:10, 3:12] = 1
    return image(random.gamma(2.0, 150.0, body.shape).astype(np.float32)), image(body)


def nyul(scale: tuple[float, ...]) -> Intensity:
    return Intensity(scale="nyul", landmarks={"t1": scale})


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_the_body_is_found_without_air_and_couch_and_with_lungs_and_gas(modality: str) -> None:
    examined = pictured(3, imaging(modality=modality))
    phase = examined.phases[examined.reference]
    labels = tissues(subject(3, imaging(modality=modality), phase.grid), phase.grid)
    found = array(body_mask(of(phase), modality)) > 0
    assert dice(found, (labels != Tissue.AIR) & (labels != Tissue.COUCH)) > 0.97
    assert found[np.isin(labels, (Tissue.LUNG, Tissue.GAS))].mean() > 0.95
    assert modality != "ct" or found[labels == Tissue.COUCH].mean() < 0.05


def test_a_real_body_is_told_from_its_table_and_keeps_its_bowel_gas() -> None:
    scan = sitk.ReadImage(str(public("abdomen_ct_mr") / "example_ct_sm.nii.gz"))
    body = array(body_mask(scan, "ct")) > 0
    organs = sitk.GetArrayFromImage(sitk.ReadImage(str(public("abdomen_ct_mr") / "example_seg.nii.gz"))) > 0
    assert body[organs].mean() > 0.995
    outside = array(scan)[~body]
    assert (outside > -300).mean() < 0.04  # the table is all that is left


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 40), st.floats(-500, 500))
def test_neither_gain_nor_offset_changes_a_body_or_a_z_score(gain: float, offset: float) -> None:
    raw = of(scanned().phases["t1"])
    other = image((array(raw) * gain + offset).astype(np.float32), raw.GetSpacing())
    bodies = [body_mask(raw, "mr"), body_mask(other, "mr")]
    assert dice(*(array(body) > 0 for body in bodies)) > 0.9999
    plan = Intensity(scale="z-score")
    first, second = (array(normalise(one, "t1", bodies[0], plan)) for one in (raw, other))
    np.testing.assert_allclose(first, second, atol=0.02)
    inside = first[array(bodies[0]) > 0]
    assert inside.mean() == pytest.approx(0, abs=1e-3) and inside.std() == pytest.approx(100, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.lists(st.floats(0.5, 30), min_size=10, max_size=10), st.floats(0.1, 10))
def test_nyul_maps_landmarks_exactly_and_keeps_order(number: int, gaps: list[float], gain: float) -> None:
    raw, body = noisy(number)
    raw = image(array(raw).astype(np.float32) * np.float32(gain))
    scale = tuple(float(at) for at in np.cumsum([0.0, *gaps]))
    percentiles = np.array(body_percentiles(raw, body))
    # The landmarks themselves are put where the body is not.
    probe = array(raw)
    probe[0, 0, : len(LANDMARKS)] = percentiles
    mapped = array(normalise(image(probe.astype(np.float32)), "t1", body, nyul(scale)))
    np.testing.assert_allclose(mapped[0, 0, : len(LANDMARKS)], scale, rtol=1e-4, atol=1e-4)
    order = np.argsort(probe, axis=None)
    assert (np.diff(mapped.ravel()[order]) >= 0).all()


def test_beyond_its_landmarks_nyul_goes_on_as_in_the_end_pieces() -> None:
    raw, body = noisy()
    scale = (0.0, 5.0, 12.0, 20.0, 30.0, 41.0, 53.0, 66.0, 76.0, 88.0, 100.0)
    at = body_percentiles(raw, body)
    probe = array(raw)
    probe[0, 0, :2] = at[0] - 30, at[-1] + 300
    low, high = array(normalise(image(probe.astype(np.float32)), "t1", body, nyul(scale)))[0, 0, :2]
    assert low == pytest.approx(-30 * 5 / (at[1] - at[0]), rel=1e-4)
    assert high == pytest.approx(100 + 300 * 12 / (at[-1] - at[-2]), rel=1e-4)


def test_learned_landmarks_reproduce_themselves() -> None:
    images = [noisy(number) for number in range(6)]
    learned = tuple(np.mean([landmarks_of(*one) for one in images], axis=0).tolist())
    assert learned[0] == 0 and learned[-1] == 100
    for raw, body in images:
        standard = normalise(raw, "t1", body, nyul(learned))
        np.testing.assert_allclose(landmarks_of(standard, body), learned, atol=0.5)


def test_percentiles_that_coincide_do_not_break_the_scale() -> None:
    raw, body = noisy()
    voxels = array(raw)
    voxels[voxels < np.percentile(voxels, 35)] = 0
    scale = tuple(float(at) for at in range(0, 110, 10))
    mapped = array(normalise(image(voxels.astype(np.float32)), "t1", body, nyul(scale)))
    assert np.isfinite(mapped).all()
    assert (np.diff(mapped.ravel()[np.argsort(voxels, axis=None)]) >= 0).all()


def test_ct_is_clipped_and_keeps_its_type() -> None:
    raw = image(np.arange(-1024, 1024, 4, dtype=np.int16).reshape(8, 8, 8))
    plan = Intensity.model_validate({"phase": {"clip": (-200.0, 400.0)}})
    clipped = normalise(raw, "portal", None, plan)
    assert clipped.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(array(clipped), np.clip(array(raw), -200, 400))


def test_a_coil_field_is_taken_out_of_a_real_image() -> None:
    raw = sitk.ReadImage(str(public("abdomen_ct_mr") / "example_mr_sm.nii.gz"), sitk.sitkFloat32)
    body = body_mask(raw, "mr")
    z, y, x = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in raw.GetSize()[::-1])]
    field = np.exp(0.3 * x - 0.4 * y**2 + 0.2 * z + 0.25 * np.cos(2.5 * x) * np.sin(2 * y))
    biased = image((array(raw) * field).astype(np.float32))
    biased.CopyInformation(raw)
    corrected = [correct_bias(one, body) for one in (raw, biased)]
    seen = (array(body) > 0) & (array(raw) > 20)
    # What is left of the field once both are corrected; the image's own bias drops out.
    left = np.log(array(corrected[1])[seen] / array(corrected[0])[seen]).std()
    injected = np.log(field)[seen].std()
    print(f"bias field: {injected:.3f} on the logarithm, {left:.3f} left")
    assert left < 0.25 * injected
    again = correct_bias(biased, body)
    assert np.array_equal(array(again), array(corrected[1]))
    assert abs(np.log(array(again)[seen] / array(biased)[seen]).mean()) < 0.02  # overall brightness stays


def test_a_lesion_is_not_taken_for_bias() -> None:
    scanner = Scanner(spacing_mm=5, slice_mm=9, coil_bias=0)
    examined = pictured(9, imaging(modality="mr", matrix=64, slices=20), scanner=scanner)
    raw = of(examined.phases["t1a"])
    tumour = examined.masks["tumour"].voxels > 0
    liver = (examined.masks["liver"].voxels > 0) & ~tumour
    before, after = (array(one) for one in (raw, correct_bias(raw, body_mask(raw, "mr"))))
    contrasts = [float(one[tumour].mean() / one[liver].mean()) for one in (before, after)]
    print(f"lesion of 5 cm against liver: {contrasts[0]:.3f} before N4, {contrasts[1]:.3f} after")
    assert contrasts[1] == pytest.approx(contrasts[0], rel=0.05)


def test_a_bias_field_that_was_kept_is_the_one_that_was_found(tmp_path: Path) -> None:
    raw = of(scanned().phases["t1"])
    body = body_mask(raw, "mr")
    found = find_bias(raw, body)
    save_bias(found, tmp_path)
    kept = load_bias(tmp_path, raw)
    corrected = [array(without_bias(raw, body, field)) for field in (found, kept)]
    assert np.array_equal(*corrected)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 4 * MOST + 1000


def test_a_bias_field_does_not_depend_on_the_number_of_threads() -> None:
    raw = of(scanned().phases["t1"])
    body = body_mask(raw, "mr")
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    try:
        for number in (1, 4):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
            found.append(array(find_bias(raw, body)))
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == number
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert np.array_equal(*found)


@given(st.tuples(*[st.floats(0.5, 12)] * 3), st.tuples(*[st.integers(1, 600)] * 3))
def test_the_time_of_a_bias_field_is_bounded_whatever_the_voxels(
    spacing: tuple[float, float, float], size: tuple[int, int, int]
) -> None:
    factors = thinned(spacing, size)
    left = [n // by for n, by in zip(size, factors, strict=True)]
    assert math.prod(left) <= MOST
    assert all(few >= min(n, 2) for few, n in zip(left, size, strict=True))


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_an_image_without_a_body_is_an_error_with_a_number(modality: str) -> None:
    with pytest.raises(FedmviError) as caught:
        body_mask(image(np.full((4, 8, 8), -1000, dtype=np.int16)), modality)
    assert caught.value.number == 380


@pytest.mark.parametrize(("slices", "works"), [(1, False), (2, True), (3, True)])
def test_a_bias_field_needs_two_slices(slices: int, works: bool) -> None:
    voxels = np.random.default_rng(0).normal(100, 5, (slices, 40, 40)).astype(np.float32)
    body = image(np.ones_like(voxels, dtype=np.uint8), (4.0, 4.0, 5.0))
    if works:
        assert np.isfinite(array(correct_bias(image(voxels, body.GetSpacing()), body))).all()
        return
    with pytest.raises(FedmviError) as caught:
        correct_bias(image(voxels, body.GetSpacing()), body)
    assert caught.value.number == 382


@pytest.mark.parametrize("scale", ["z-score", "nyul"])
@pytest.mark.parametrize("inside", [0, 1])
def test_a_body_without_voxels_or_contrast_is_an_error_with_a_number(scale: str, inside: int) -> None:
    flat = image(np.full((4, 8, 8), 7, dtype=np.float32))
    body = image(np.full((4, 8, 8), inside, dtype=np.uint8))
    plan = Intensity(scale="z-score") if scale == "z-score" else nyul(tuple(map(float, range(11))))
    with pytest.raises(FedmviError) as caught:
        normalise(flat, "t1", body, plan)
    assert caught.value.number == 380
