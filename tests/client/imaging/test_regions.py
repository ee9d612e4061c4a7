"""Regions: rings in true mm, limited to the liver, never tumour, and what is lost of them is counted."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import cdist

from client.imaging.regions import Made, make_regions
from client.imaging.resampling import resample_mask, whole_grid
from common.errors import FedmviError
from common.study.preparation import Preparation
from tests.public_data import public

Bits = NDArray[np.bool_]


def settings_of(*regions: str, **rule: Any) -> Preparation:
    return Preparation.model_validate(
        {
            "modality": "ct",
            "phases": ("portal",),
            "reference": "portal",
            "regions": rule,
            "radiomics": {"regions": ("tumour", *regions)},
        }
    )


def image(bits: Bits, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> sitk.Image:
    """A mask, spacing in the order z, y, x."""
    made = sitk.GetImageFromArray(bits.astype(np.uint8))
    made.SetSpacing(spacing[::-1])
    return made


def bits(made: Made, region: str) -> Bits:
    return np.asarray(sitk.GetArrayFromImage(made.masks[region]) != 0)


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> Bits:
    away = sum((axis - at) ** 2 for axis, at in zip(np.ogrid[tuple(map(slice, shape))], centre, strict=True))
    return np.asarray(away <= radius**2)


@pytest.mark.parametrize("radius", [8.0, 20.0])
@pytest.mark.parametrize(("width", "tolerance"), [(5, 0.065), (10, 0.04)])
def test_a_ring_of_a_sphere_has_the_volume_of_the_shell(radius: float, width: int, tolerance: float) -> None:
    side = 2 * int(radius + width + 3)
    centre = (side / 2 + 0.2, side / 2 - 0.3, side / 2 + 0.1)
    name = f"peritumour-{width}mm"
    ring = bits(make_regions(image(ball((side,) * 3, centre, radius)), None, (), settings_of(name)), name)
    shell = 4 / 3 * np.pi * ((radius + width) ** 3 - radius**3)
    assert 1 - tolerance < ring.sum() / shell <= 1


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.bool_, (4, 7, 6), elements=st.integers(0, 9).map(lambda n: n == 0)),
    st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3),
    st.integers(1, 4),
)
def test_a_ring_holds_exactly_the_voxels_within_its_width(
    tumour: Bits, spacing: tuple[float, float, float], width: int
) -> None:
    name = f"peritumour-{width}mm"
    made = make_regions(image(tumour, spacing), None, (), settings_of(name, lesion="all"))
    places = np.argwhere(np.ones_like(tumour)) * spacing
    near = np.zeros(tumour.shape, dtype=bool)
    if tumour.any():
        near = (cdist(places, places[tumour.ravel()]).min(axis=1) <= width + 1e-6).reshape(tumour.shape)
    assert np.array_equal(bits(made, name), near & ~tumour)


def test_a_ring_follows_the_index_lesion_and_holds_no_lesion() -> None:
    shape = (40, 40, 60)
    index, other = ball(shape, (20, 20, 20), 8), ball(shape, (20, 20, 38), 5)
    tumour = image(index | other)
    made = make_regions(tumour, None, (), settings_of("peritumour-5mm", "peritumour-10mm"))
    assert made.parts == 2
    assert np.array_equal(bits(made, "tumour"), index)
    for name in ("peritumour-5mm", "peritumour-10mm"):
        assert not (bits(made, name) & (index | other)).any()
        assert made.lost[name] == 0  # the other lesion is not lost liver
    assert not (bits(made, "peritumour-5mm") & ~bits(made, "peritumour-10mm")).any()
    assert not bits(made, "peritumour-10mm")[:, :, 39:].any()
    both = make_regions(tumour, None, (), settings_of("peritumour-10mm", lesion="all"))
    assert bits(both, "peritumour-10mm")[20, 20, 47]


def test_what_lies_beyond_the_liver_or_in_a_vessel_is_lost_and_counted() -> None:
    shape = (50, 50, 50)
    tumour = ball(shape, (25, 25, 25), 8)
    liver, vessel = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    liver[:, :, :30], vessel[:20] = True, True
    plan = settings_of("liver", "peritumour-10mm", exclude=("vessels",))
    whole = bits(make_regions(image(tumour), None, (), plan), "peritumour-10mm")
    made = make_regions(image(tumour), image(liver), [image(vessel)], plan)
    kept = whole & liver & ~vessel
    assert np.array_equal(bits(made, "peritumour-10mm"), kept)
    assert made.lost["peritumour-10mm"] == pytest.approx(1 - kept.sum() / whole.sum())
    assert np.array_equal(bits(made, "liver"), liver & ~tumour)


def test_what_lies_beyond_the_image_is_lost_too() -> None:
    tumour = ball((40, 40, 40), (20, 20, 0), 8)
    plan = settings_of("peritumour-10mm")
    made = make_regions(image(tumour), None, (), plan)
    roomy = make_regions(image(np.pad(tumour, ((0, 0), (0, 0), (12, 0)))), None, (), plan)
    kept, whole = (bits(one, "peritumour-10mm").sum() for one in (made, roomy))
    assert made.lost["peritumour-10mm"] == pytest.approx(1 - kept / whole) and roomy.lost["peritumour-10mm"] == 0


def test_a_region_off_its_liver_is_empty_and_wholly_lost() -> None:
    tumour = ball((40, 40, 40), (20, 20, 20), 5)
    made = make_regions(image(tumour), image(np.zeros_like(tumour)), (), settings_of("peritumour-5mm"))
    assert not bits(made, "peritumour-5mm").any() and made.lost["peritumour-5mm"] == 1


def test_a_liver_is_used_needed_or_ignored_as_the_protocol_says() -> None:
    tumour = ball((30, 30, 30), (15, 15, 15), 5)
    half = image(np.broadcast_to(np.arange(30) < 15, tumour.shape))
    lost = {
        limit: make_regions(image(tumour), half, (), settings_of("peritumour-5mm", limit_to_liver=limit)).lost
        for limit in ("where-outlined", "required", "never")
    }
    assert lost["where-outlined"] == lost["required"] != lost["never"] == {"peritumour-5mm": 0}
    with pytest.raises(FedmviError) as caught:
        make_regions(image(tumour), None, (), settings_of("peritumour-5mm", limit_to_liver="required"))
    assert caught.value.number == 374


def test_in_a_real_liver_a_lesion_at_the_capsule_loses_part_of_its_ring_and_a_deep_one_nothing() -> None:
    outlined = sitk.Cast(sitk.ReadImage(str(public("abdomen_ct_mr") / "example_seg.nii.gz")) == 5, sitk.sitkUInt8)
    liver = resample_mask(outlined, whole_grid(outlined, (2.0, 2.0, 2.0)), "shape-based")
    inside = sitk.GetArrayFromImage(liver) != 0
    # The liver is cut off by the image, where it has no capsule but a ring is lost all the same.
    depth = distance_transform_edt(np.pad(inside, 1), sampling=2)[1:-1, 1:-1, 1:-1]
    deepest = int(np.argmax(depth))
    shallow = int(np.flatnonzero((depth > 9) & (depth < 11))[1000])
    lost = []
    for place in (deepest, shallow):
        centre = tuple(float(at) for at in np.unravel_index(place, inside.shape))
        tumour = image(ball(inside.shape, centre, 10 / 2), (2, 2, 2))
        tumour.CopyInformation(liver)
        made = make_regions(tumour, liver, (), settings_of("liver", "peritumour-5mm", "peritumour-10mm"))
        for name in ("peritumour-5mm", "peritumour-10mm"):
            ring = bits(made, name)
            assert ring.any() and not (ring & ~inside).any() and not (ring & bits(made, "tumour")).any()
        assert np.array_equal(bits(made, "liver") | (bits(made, "tumour") & inside), inside)
        lost.append({name: round(share, 3) for name, share in made.lost.items()})
    print(f"a lesion of 20 mm loses of its rings: deep {lost[0]}, at the capsule {lost[1]}")
    assert not any(lost[0].values())
    assert 0.1 < lost[1]["peritumour-5mm"] < lost[1]["peritumour-10mm"] < 0.7
