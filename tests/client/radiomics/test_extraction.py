"""What does not change a value, and what becomes of regions and images that have none."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from client.radiomics.cropping import filter_box
from client.radiomics.extraction import extract
from common.study.preparation import Preparation, Radiomics

SIZE = (34, 31, 29)


def ct(**radiomics: object) -> Preparation:
    wanted = Radiomics.model_validate({"regions": ("tumour",), **radiomics})
    return Preparation(modality="ct", phases=("portal",), reference="portal", radiomics=wanted)


def image(size: tuple[int, int, int] = SIZE, sd: float = 40) -> sitk.Image:
    rng = np.random.default_rng(5)
    return sitk.GetImageFromArray(rng.normal(60, sd, size[::-1]).astype(np.float32))


def mask(size: tuple[int, int, int], start: tuple[int, int, int], widths: tuple[int, int, int]) -> sitk.Image:
    voxels = np.zeros(size[::-1], np.uint8)
    voxels[tuple(slice(a, a + n) for a, n in zip(start[::-1], widths[::-1], strict=True))] = 1
    return sitk.GetImageFromArray(voxels)


@settings(max_examples=8, deadline=None)
@given(
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    margin=st.tuples(*[st.integers(0, 5)] * 3),
)
def test_neither_the_origin_nor_more_of_the_volume_changes_a_value(
    origin: tuple[float, float, float], margin: tuple[int, int, int]
) -> None:
    """More volume than the filters reach: here without the recursive ones, whose reach is longer than the image."""
    preparation = ct(log_sigma_mm=())
    tumour = mask(SIZE, (13, 12, 11), (7, 6, 5))
    plain = extract({"portal": image()}, {"tumour": tumour}, preparation).values
    larger = [sitk.MirrorPad(one, margin, margin) for one in (image(), tumour)]
    for one in larger:
        one.SetOrigin(origin)
    moved = extract({"portal": larger[0]}, {"tumour": larger[1]}, preparation)
    assert plain == moved.values


def test_extracting_twice_gives_the_same_bytes() -> None:
    tumour = mask(SIZE, (13, 12, 11), (7, 6, 5))
    first, second = (extract({"portal": image()}, {"tumour": tumour}, ct()).values for _ in range(2))
    assert np.array(list(first.values())).tobytes() == np.array(list(second.values())).tobytes()


@pytest.mark.parametrize(
    ("widths", "size"),
    [((0, 0, 0), "no voxel"), ((1, 1, 1), "1 voxels"), ((26, 1, 1), "26 voxels"), ((30, 1, 1), "30 x 1 x 1")],
)
def test_a_region_that_is_too_small_is_named_and_left_empty(widths: tuple[int, int, int], size: str) -> None:
    tumour = mask(SIZE, (2, 2, 2), widths)
    found = extract({"portal": image()}, {"tumour": tumour}, ct(), patient="P7")
    assert [problem.number for problem in found.problems] == [372]
    assert found.problems[0].local.startswith("P7: tumour: ")
    assert size in found.problems[0].local
    assert found.missing == len(found.values) == 1130


def test_a_small_region_does_not_cost_the_others_their_features() -> None:
    preparation = ct(regions=("tumour", "peritumour-5mm"))
    regions = {"tumour": mask(SIZE, (2, 2, 2), (1, 1, 1)), "peritumour-5mm": mask(SIZE, (9, 9, 9), (6, 6, 6))}
    found = extract({"portal": image()}, regions, preparation)
    assert found.missing == 1130
    assert not any(np.isnan(value) for name, value in found.values.items() if "peritumour" in name)


def test_a_flat_region_of_one_slice_has_no_infinite_feature() -> None:
    found = extract({"portal": image(sd=0)}, {"tumour": mask(SIZE, (9, 9, 9), (8, 8, 1))}, ct(log_sigma_mm=()))
    assert not found.problems
    assert not any(np.isinf(value) for value in found.values.values())
    assert found.values["portal.tumour.original_glcm_JointEntropy"] == pytest.approx(0, abs=1e-12)


def test_voxels_that_are_not_numbers_are_named_where_they_are() -> None:
    damaged = image()
    damaged[15, 14, 13] = float("nan")
    regions = {"tumour": mask(SIZE, (13, 12, 11), (7, 6, 5)), "liver": mask(SIZE, (2, 2, 2), (5, 5, 5))}
    found = extract(
        {"portal": damaged}, regions, ct(regions=("tumour", "liver"), log_sigma_mm=(), wavelet="none"), patient="P7"
    )
    assert [problem.number for problem in found.problems] == [333]
    assert found.problems[0].local == "P7: portal: tumour: voxels that are not numbers (original)"
    missing = {name.split("_")[0] for name, value in found.values.items() if np.isnan(value)}
    assert missing == {"portal.tumour.original"}


def test_intensities_of_another_scale_give_no_texture_and_take_no_memory() -> None:
    tumour = {"tumour": mask(SIZE, (9, 9, 9), (12, 12, 12))}
    found = extract({"portal": image(sd=2e5)}, tumour, ct(log_sigma_mm=(), wavelet="none"))
    assert [problem.number for problem in found.problems] == [362]
    assert not np.isnan(found.values["portal.tumour.original_firstorder_Mean"])
    assert np.isnan(found.values["portal.tumour.original_glcm_Contrast"])
    absurd = extract({"portal": image(sd=1e12)}, tumour, ct(log_sigma_mm=(), wavelet="none", classes=("glcm",)))
    assert [problem.number for problem in absurd.problems] == [362]
    assert absurd.missing == len(absurd.values)


def test_a_volume_thinner_than_a_filter_has_no_features_of_it() -> None:
    """As pyradiomics, which leaves out such a filter with a warning."""
    thin = (34, 31, 3)
    found = extract({"portal": image(thin)}, {"tumour": mask(thin, (9, 9, 0), (8, 8, 3))}, ct(log_sigma_mm=(1.0,)))
    assert all(np.isnan(value) == ("log-sigma" in name) for name, value in found.values.items())


@pytest.mark.parametrize("wavelet", ["none", "haar", "coif1"])
def test_the_part_holds_the_box_and_lies_in_the_volume(wavelet: str) -> None:
    wanted = Radiomics(wavelet=wavelet)
    whole, spacing = (300, 301, 90), (1.0, 0.8, 2.5)
    start, size = filter_box(whole, spacing, (120, 150, 40), (20, 30, 5), wanted)
    assert start == (35, 43, 6)
    assert size == (190, 244, 73)
    start, size = filter_box(whole, spacing, (1, 150, 85), (20, 30, 5), wanted)
    assert (start[0], start[2]) == (0, 51 if wavelet == "none" else 0)
    assert (size[0], size[2]) == ((106, 39) if wavelet == "none" else (300, 90))
    bare = Radiomics(log_sigma_mm=(), wavelet="none")
    assert filter_box(whole, spacing, (1, 2, 3), (4, 5, 6), bare) == ((1, 2, 3), (4, 5, 6))
