"""tests/client/preparation: which voxels of a patient the features are of, wherever the outlines were drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.cohort.site import Site
from client.images.finding.finding import find_cases
from client.imaging.lesion import image_like
from client.imaging.regions import Made
from client.preparation import chain
from client.preparation.patient import Job, Outcome
from client.preparation.steps import read_result
from common.study.loader import parse_study
from tests.client.preparation.sites import STUDY, MakeSite

QUICK = STUDY
for old, new in {
    ', "delayed"]\noptional = ["delayed"]': "]",
    "spacing_mm = [4.0, 4.0, 5.0]": 'spacing_mm = [4.1, 4.1, 5.0]\nmask = "nearest"',
    '["firstorder", "shape", "glcm"]\nlog_sigma_mm = [4.0]': '["firstorder"]',
    "peritumour-10mm.original_glcm_Idm": "peritumour-10mm.original_firstorder_Mean",
    "second_reader = true": "second_reader = false",
}.items():
    assert old in QUICK
    QUICK = QUICK.replace(old, new)

RING = "peritumour-10mm"
VOXEL_MM = (4.1, 4.1, 5.0)
ARTERIAL, PLAIN = (3, -2, 1), (-2, 2, 0)
"""Voxels along x, y and z by which these phases lie farther than the reference phase: 17, 11 and 10 mm."""

Bits = NDArray[np.bool_]
Prepared = tuple[Outcome, Made]
PreparePatient = Callable[..., Prepared]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """One patient of one lesion."""
    return make_site(patients=1)


@pytest.fixture
def prepared(site: Site, monkeypatch: pytest.MonkeyPatch) -> PreparePatient:
    """Prepares the patient as `prepare` does, and shows the regions, of which the store keeps volumes only."""

    def do(**rule: object) -> Prepared:
        made: list[Made] = []
        rows = chain.region_rows

        def seen(one: Made) -> list[dict[str, Any]]:
            made.append(one)
            return rows(one)

        with monkeypatch.context() as spy:
            spy.setattr(chain, "region_rows", seen)
            lines = "\n".join(f"{name} = {value!r}" for name, value in rule.items())
            preparation = parse_study(f"{QUICK}\n[preparation.regions]\n{lines}\n").preparation
            assert preparation is not None
            cases, _ = find_cases(site, preparation, [f"{site.name}-0001"])
            outcome = chain.prepare_patient(Job(*cases.values(), preparation, site.store, bytes(32)))
        assert not outcome.failed, outcome.problems[0].local
        (regions,) = made
        return outcome, regions

    return do


def image_of(site: Site, phase: str) -> Path:
    return site.folder / "images" / f"{site.name}-0001" / f"{phase}.nii.gz"


def mask_of(site: Site, name: str) -> Path:
    return site.folder / "masks" / f"{site.name}-0001" / f"{name}.nii.gz"


def rolled(image: sitk.Image, by: tuple[int, int, int]) -> sitk.Image:
    """What is shown, farther along x, y and z by whole voxels; the borders are air."""
    return image_like(np.roll(sitk.GetArrayFromImage(image), by[::-1], (0, 1, 2)), image)


def displaced(site: Site) -> sitk.Image:
    """Make both other phases the reference phase, displaced and with noise of their own; the tumour as it was drawn."""
    portal = sitk.ReadImage(image_of(site, "portal"))
    for seed, (phase, by) in enumerate({"arterial": ARTERIAL, "plain": PLAIN}.items()):
        noise = np.random.default_rng(seed).normal(0, 8, portal.GetSize()[::-1])
        there = sitk.GetArrayFromImage(rolled(portal, by)) + noise
        sitk.WriteImage(image_like(np.clip(there, -1024, None).astype(np.int16), portal), image_of(site, phase))
    return sitk.ReadImage(mask_of(site, "tumour"))


def bits(mask: sitk.Image) -> Bits:
    return np.asarray(sitk.GetArrayFromImage(mask) != 0)


def middle(mask: sitk.Image) -> NDArray[np.float64]:
    """Centre of mass in mm."""
    at = np.argwhere(bits(mask)).mean(axis=0)[::-1]
    return np.array(mask.TransformContinuousIndexToPhysicalPoint(at.tolist()))


def on(grid: sitk.Image, mask: sitk.Image) -> Bits:
    """A mask at the centres of another grid's voxels."""
    return bits(sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor))


def rectangle_at(outcome: Outcome, phase: str) -> NDArray[np.float64]:
    """Middle of the rectangle of a phase's stack along x and y, in mm."""
    return np.array(read_result(outcome.stacks[phase])["at_mm"][0][:2])


def test_a_tumour_drawn_on_another_phase_is_where_the_lesion_is_on_each_phase(
    site: Site, prepared: PreparePatient
) -> None:
    drawn = displaced(site)
    direct, wanted = prepared()
    mask_of(site, "tumour").unlink()
    sitk.WriteImage(rolled(drawn, ARTERIAL), mask_of(site, "arterial.tumour"))
    outcome, made = prepared()
    width = np.array(drawn.GetSpacing())
    there = middle(sitk.ReadImage(mask_of(site, "arterial.tumour")))
    assert there - middle(drawn) == pytest.approx(width * ARTERIAL, abs=0.01)
    assert (np.abs(middle(made.masks["tumour"]) - middle(drawn)) < VOXEL_MM).all()
    # Drawn on the reference phase it would be the same region, of the same lesion, in every phase.
    again, once = on(wanted.masks["tumour"], made.masks["tumour"]), bits(wanted.masks["tumour"])
    assert 2 * (again & once).sum() / (again.sum() + once.sum()) > 0.85
    for phase in ("portal", "arterial", "plain"):
        name = f"{phase}.tumour.original_firstorder_Mean"
        assert outcome.features[1][name] == pytest.approx(direct.features[1][name], abs=3)
    # The plain phase has no outline of its own: the one of the arterial phase goes by way of the reference phase.
    assert (np.abs(rectangle_at(outcome, "portal") - rectangle_at(direct, "portal")) < width[:2]).all()
    moved = rectangle_at(outcome, "plain") - rectangle_at(direct, "portal")
    assert (np.abs(moved - (width * PLAIN)[:2]) < width[:2]).all()


def test_a_vessel_that_the_study_excludes_is_in_no_ring_and_takes_nothing_of_the_tumour(
    site: Site, prepared: PreparePatient
) -> None:
    tumour = sitk.ReadImage(mask_of(site, "tumour"))
    # Through the tumour and its ring, along y, on the side of larger x.
    vessel = np.zeros(tumour.GetSize()[::-1], dtype=np.uint8)
    vessel[12:17, 18:34, 26:28] = 1
    unnamed, whole = prepared()
    lacking, _ = prepared(exclude=["vessels"])
    sitk.WriteImage(image_like(vessel, tumour), mask_of(site, "vessels"))
    outcome, made = prepared(exclude=["vessels"])
    # A patient of whom it is not outlined is prepared as if it were not asked for.
    assert lacking.features == unnamed.features and lacking.regions == unnamed.regions
    inside = on(made.masks[RING], image_like(vessel, tumour))
    ring, once = bits(made.masks[RING]), bits(whole.masks[RING])
    assert 0.1 < (once & inside).sum() / once.sum() < 0.9
    assert np.array_equal(ring, once & ~inside)
    assert (bits(whole.masks["tumour"]) & inside).any()
    assert np.array_equal(bits(made.masks["tumour"]), bits(whole.masks["tumour"]))
    volumes = {row["region"]: row["volume_ml"] for row in outcome.regions}
    before = {row["region"]: row["volume_ml"] for row in unnamed.regions}
    assert volumes["tumour"] == before["tumour"]
    assert volumes[RING] == pytest.approx(before[RING] * ring.sum() / once.sum())
    changed = {name for name, value in outcome.features[1].items() if value != unnamed.features[1][name]}
    assert changed and all(f".{RING}." in name for name in changed)


def test_one_lesion_or_all_of_them_are_the_tumour(site: Site, prepared: PreparePatient) -> None:
    index = sitk.ReadImage(mask_of(site, "tumour"))
    alone, _ = prepared()
    second = np.zeros(index.GetSize()[::-1], dtype=np.uint8)
    second[11:14, 36:40, 18:22] = 1
    assert bits(sitk.ReadImage(mask_of(site, "liver")))[second != 0].all()
    both = image_like(second | sitk.GetArrayFromImage(index), index)
    sitk.WriteImage(both, mask_of(site, "tumour"))
    for rule, tumour in (("largest", index), ("all", both)):
        outcome, made = prepared(lesion=rule)
        grid = made.masks["tumour"]
        assert np.array_equal(bits(grid), on(grid, tumour)) and made.parts == 2
        # Neither lesion is in a ring, which lies around those that are meant.
        ring, other = bits(made.masks[RING]), on(grid, image_like(second, index))
        assert not (ring & on(grid, both)).any()
        near = bits(sitk.BinaryDilate(image_like(other.astype(np.uint8), grid), [2, 2, 2]))
        assert (ring & near).any() == (rule == "all")
        assert (outcome.features[1] == alone.features[1]) == (rule == "largest")
