"""tests/client/preparation: real scans with planted lesions: a DICOM series, and a liver that rings must not leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from client.images.case import ImageSource
from client.images.reading.read import read_image
from client.imaging.registration import Registered
from tests.client.preparation.real import PATIENT, Bools, features, prepared, rows, site_of, sphere
from tests.public_data import public

STUDY = """
[study]
name = "real-images"
title = "A real scan with a planted lesion"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[models]]
name = "radiomics"
endpoint = "mvi"
cohort = "train"
predictors = ["portal.tumour.original_firstorder_Mean", "portal.peritumour-10mm.original_glcm_Contrast"]

[preparation]
modality = "ct"
phases = ["arterial", "portal"]
optional = ["arterial"]
reference = "portal"
subtractions = ["arterial-minus-portal"]

[preparation.registration]
method = "rigid"
spacing_mm = 6.0

[preparation.resampling]
spacing_mm = [3.0, 3.0, 3.0]

[preparation.regions]
limit_to_liver = "required"

[preparation.radiomics]
regions = ["tumour", "peritumour-10mm", "peritumour-20mm", "liver"]
classes = ["firstorder", "shape", "glcm"]
log_sigma_mm = []
wavelet = "none"

[preparation.stacks]
size = 64
"""
LIVER_HU = (60, 180)
SHIFT_MM = (12.0, -9.0, 6.0)
CONTRAST = ([-1024, -50, 30, 150, 1200], [-1024, -50, 22, 100, 1000])
"""HU of the portal phase, and what the arterial phase has instead."""


def millilitres(mask: Bools, image: sitk.Image) -> float:
    return float(mask.sum()) * float(np.prod(image.GetSpacing())) / 1000


def test_a_real_dicom_series_becomes_features_and_a_stack(tmp_path: Path) -> None:
    source = public("dicom/liver_ct_series/image")
    image = read_image(ImageSource("portal", source), PATIENT).image
    voxels = sitk.GetArrayViewFromImage(image)
    # Every fourth pixel is enough for an outline: the largest connected part with a liver's HU.
    coarse = ndimage.median_filter(voxels[:, ::4, ::4], 3)
    soft = ndimage.binary_opening((coarse > LIVER_HU[0]) & (coarse < LIVER_HU[1]), iterations=2)
    parts, _ = ndimage.label(soft)
    liver = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    depth = ndimage.distance_transform_edt(np.pad(liver, 1), sampling=(5.0, 3.1875, 3.1875))[1:-1, 1:-1, 1:-1]
    z, y, x = np.unravel_index(np.argmax(depth), depth.shape)
    whole = liver.repeat(4, axis=1).repeat(4, axis=2)
    tumour = sphere(image, (int(z), 4 * int(y), 4 * int(x)), 15.0)
    site = site_of(tmp_path / "a", image, tumour, whole | tumour)
    shutil.copytree(source, site.folder / "images" / PATIENT / "portal")
    done = prepared(site, STUDY)
    found, regions = features(done), rows(done, "regions", "region")
    of_portal = {name: value for name, value in found.items() if name.startswith("portal.")}
    assert of_portal and all(np.isfinite(value) for value in of_portal.values())
    # The phase that the patient lacks has no features.
    assert all(value is None or np.isnan(value) for name, value in found.items() if name not in of_portal)
    # A planted region changes no voxel: it has the mean of the voxels that it covers.
    assert found["portal.tumour.original_firstorder_Mean"] == pytest.approx(voxels[tumour].mean(), abs=2)
    assert found["portal.liver.original_firstorder_Mean"] == pytest.approx(
        np.clip(voxels[whole | tumour], -200, 400).mean(), abs=2
    )
    assert regions["tumour"]["volume_ml"] == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.05)
    assert regions["liver"]["volume_ml"] == pytest.approx(millilitres(whole | tumour, image), rel=0.03)
    pixels = np.load(done.folder / "stacks" / PATIENT / "portal" / "pixels.npy")
    assert pixels.shape == (3, 64, 64) and 0 < np.median(pixels) < 200


def test_rings_end_at_the_liver_and_a_shifted_phase_is_brought_back(tmp_path: Path) -> None:
    image = sitk.ReadImage(public("abdomen_ct_mr/example_ct_sm.nii.gz"))
    labels = sitk.ReadImage(public("abdomen_ct_mr/example_seg.nii.gz"))
    assert labels.GetSize() == image.GetSize() and labels.GetOrigin() == image.GetOrigin()
    liver = sitk.GetArrayViewFromImage(labels) == 5
    # A lesion whose middle is 12 mm below the liver's surface, half way up.
    depth = ndimage.distance_transform_edt(liver, sampling=3.0)
    middle = liver.shape[0] // 2
    places = np.argwhere(np.abs(depth[middle] - 12) < 1.5)
    y, x = (int(at) for at in places[len(places) // 2])
    tumour = sphere(image, (middle, y, x), 9.0)
    site = site_of(tmp_path / "a", image, tumour, liver)
    folder = site.folder / "images" / PATIENT
    folder.mkdir(parents=True)
    sitk.WriteImage(image, folder / "portal.nii.gz")
    sitk.WriteImage(arterial_of(image), folder / "arterial.nii.gz")
    done = prepared(site, STUDY.replace("rigid", "deformable"))
    regions = rows(done, "regions", "region")
    for ring, width in (("peritumour-10mm", 10), ("peritumour-20mm", 20)):
        free = 4 / 3 * np.pi * ((0.9 + width / 10) ** 3 - 0.9**3)
        assert 0.05 < regions[ring]["lost"] < 0.9
        assert regions[ring]["volume_ml"] == pytest.approx(free * (1 - regions[ring]["lost"]), rel=0.1)
        assert regions[ring]["volume_ml"] < regions["liver"]["volume_ml"] - regions["tumour"]["volume_ml"]
    assert regions["peritumour-20mm"]["lost"] > regions["peritumour-10mm"]["lost"]
    assert regions["liver"]["volume_ml"] == pytest.approx(millilitres(liver, image), rel=0.02)
    found = features(done)
    assert all(value is not None and np.isfinite(value) for value in found.values())
    # The liver's tissue and nothing around it: neither the air of the lung nor the fat below.
    assert abs(found["portal.peritumour-20mm.original_firstorder_Median"] - 45) < 15
    # A tumour is as bright as the shift and the remapping leave it.
    voxels = sitk.GetArrayViewFromImage(image)[tumour]
    change = found["arterial-minus-portal.tumour.original_firstorder_Mean"]
    assert change == pytest.approx((np.interp(voxels, *CONTRAST) - voxels).mean(), abs=1)
    quality = rows(done, "registrations", "phase")["arterial"]
    # The motion is rigid: whether a field adds anything to it is decided by the last digits.
    assert quality["method"] in ("rigid", "deformable")
    assert quality["translation_mm"] == pytest.approx(np.linalg.norm(SHIFT_MM), abs=1)
    registered = Registered.load(next((site.store / "steps").glob("*/register.arterial/*")))
    for at in np.argwhere(liver)[::500].tolist():
        here = np.array(image.TransformIndexToPhysicalPoint(at[::-1]))
        there = here - SHIFT_MM
        assert np.linalg.norm(registered.rigid.TransformPoint(here) - there) < 3  # a voxel
        assert np.linalg.norm(registered.transform.TransformPoint(here) - there) < 6  # a voxel of the field


def arterial_of(image: sitk.Image) -> sitk.Image:
    """The same patient who has moved, with other contrast."""
    # What comes in from outside of the field of view goes on as its edge.
    there, like = sitk.TranslationTransform(3, SHIFT_MM), sitk.sitkInt16
    moved = sitk.Resample(image, image, there, sitk.sitkLinear, -1000.0, like, useNearestNeighborExtrapolator=True)
    hu = sitk.GetArrayFromImage(moved).astype(np.float64)
    remapped = np.interp(hu, *CONTRAST)
    out = sitk.GetImageFromArray(np.rint(remapped).astype(np.int16))
    out.CopyInformation(image)
    return out
