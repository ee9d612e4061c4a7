"""tests/client/preparation: how a file orders its voxels is no property of the patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import SimpleITK as sitk  # noqa: N813

from client.cohort.site import Site
from client.preparation.prepare import prepare
from common.study.loader import parse_study
from tests.client.preparation.sites import STUDY, MakeSite

CUBES = STUDY
for old, new in {
    '["plain", "arterial", "portal", "delayed"]\noptional = ["delayed"]': '["arterial", "portal"]',
    "arterial-minus-plain": "arterial-minus-portal",
    # A registration samples on a grid of its own.
    'method = "rigid"': 'method = "none"',
    # The working grid begins at the corner of the first stored voxel: only voxels that fill the field of view, here
    # 64 x 5.7 mm by 24 x 10 mm, lie at the same positions from any corner on.
    "spacing_mm = [4.0, 4.0, 5.0]": "spacing_mm = [4.8, 4.8, 4.8]",
    "second_reader = true": "second_reader = false",
}.items():
    assert old in CUBES
    CUBES = CUBES.replace(old, new)

DIAMETERS = [f"Maximum2DDiameter{plane}" for plane in ("Slice", "Column", "Row")]
"""Largest diameters within planes of the file, not of the patient (pyradiomics)."""
MESH = ("MeshVolume", "Sphericity", "SurfaceArea", "SurfaceVolumeRatio")


def other_way_round(image: sitk.Image) -> sitk.Image:
    """The same picture, stored from the patient's other side on."""
    return sitk.Flip(image, [True, False, False])


def sagittal(image: sitk.Image) -> sitk.Image:
    """The same picture, stored slice by slice along the patient's left-right axis."""
    return sitk.PermuteAxes(image, [1, 2, 0])


def stored(site: Site, change: Callable[[sitk.Image], sitk.Image]) -> None:
    """Rewrite every image and mask of a site."""
    for path in sorted(site.folder.rglob("*.nii.gz")):
        image = sitk.ReadImage(path)
        other = change(image)
        middle = [(n - 1) / 2 for n in other.GetSize()]
        there = other.TransformContinuousIndexToPhysicalPoint(middle)
        assert there == pytest.approx(
            image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
        )
        assert other.GetDirection() != image.GetDirection()
        sitk.WriteImage(other, path)


def features(site: Site) -> Mapping[str, float]:
    done = prepare(site, parse_study(CUBES), workers=1)
    assert done.images is not None and not done.images.failed
    return done.images.outcomes[0].features[1]


def test_how_voxels_are_ordered_does_not_change_features(make_site: MakeSite) -> None:
    site = make_site(patients=1)
    was = features(site)
    assert len(was) == 2 * 14 + 3 * 2 * 2 * (18 + 24)
    stored(site, other_way_round)
    agree(was, features(site), DIAMETERS)
    # From the patient's left-right axis as columns to the same axis as slices, by way of the mirrored file.
    stored(site, sagittal)
    agree(was, features(site), [*DIAMETERS[1:], DIAMETERS[0]])


def agree(was: Mapping[str, float], now: Mapping[str, float], diameters: list[str]) -> None:
    """All features, and the diameters within planes in the order in which the file has the planes."""
    assert set(was) == set(now)
    for name in was:
        region, _, kind = name.rpartition("_")
        same = f"{region}_{diameters[DIAMETERS.index(kind)]}" if kind in DIAMETERS else name
        # Splines of voxels of 1000 HU are rounded to 1e-4 HU. Where voxels of a ring touch at an edge only, marching
        # cubes join them or not by which way they look at them.
        loose = kind in MESH and "peritumour" in region
        assert now[same] == pytest.approx(was[name], rel=1e-2 if loose else 5e-5, abs=5e-4), name
