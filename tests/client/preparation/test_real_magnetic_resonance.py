"""tests/client/preparation: real MR: time points of one series as a subtraction, and a liver after N4 and a z-score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from client.discovering import propose_manifest
from client.images.case import ImageSource, Scan
from client.images.finding.manifest import Line, manifest_bytes
from client.images.reading.read import read_image
from client.imaging.lesion import image_like
from client.preparation.working import Comparable, Working
from common.study.loader import parse_study
from tests.client.preparation.real import PATIENT, Bools, features, hospital, prepared, rows, site_of, sphere
from tests.public_data import public

BREAST = "UCSF-BR-06"
"""PatientID of the time points."""
TIME_POINTS = ("t1", "t1a", "t1v")
SUBTRACTIONS = ("t1a-minus-t1", "t1v-minus-t1")
STUDY = """
[study]
name = "real-mr"
title = "Real MR"
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
predictors = ["t1v.tumour.original_firstorder_Mean", "t1v.tumour.original_glcm_Contrast"]

[preparation]
modality = "mr"
reference = "t1v"
"""
DYNAMIC = """
phases = ["t1", "t1a", "t1v"]
subtractions = ["t1a-minus-t1", "t1v-minus-t1"]

[preparation.registration]
method = "none"
spacing_mm = 6.0

[preparation.resampling]
spacing_mm = [0.703125, 0.703125, 2.0]
mask = "nearest"

[preparation.regions]
lesion = "all"

[preparation.intensity]
n4 = false
scale = "none"

[preparation.radiomics]
regions = ["tumour"]
classes = ["firstorder", "glcm"]
log_sigma_mm = []
wavelet = "none"
"""
"""Stored signals on the voxels of the scanner, so that plain arithmetic on the files must give the same numbers."""
ABDOMINAL = """
phases = ["t1v"]

[preparation.resampling]
spacing_mm = [3.0, 3.0, 3.0]
mask = "nearest"

[preparation.regions]
limit_to_liver = "required"

[preparation.radiomics]
regions = ["tumour", "peritumour-10mm", "liver"]
classes = ["firstorder", "shape", "glcm"]
log_sigma_mm = []
wavelet = "none"

[preparation.stacks]
size = 64
"""
"""The preset of MR: N4 and a z-score in the body."""
LIVER = 5
Numbers = NDArray[np.float64]


def as_stored(folder: Path) -> tuple[Numbers, Bools]:
    """Signals (time point, slice, row, column) and the mask, slice on slice by their positions: pydicom only."""
    slices: dict[tuple[str, float], pydicom.Dataset] = {}
    for path in (folder / "image_dce_orig").iterdir():
        one = pydicom.dcmread(path)
        slices[one.ContentTime, float(one.ImagePositionPatient[0])] = one
    times, places = sorted({time for time, _ in slices}), sorted({place for _, place in slices})
    signals = np.array([[slices[time, place].pixel_array for place in places] for time in times], dtype=np.float64)
    drawn = pydicom.dcmread(folder / "mask/1-1.dcm")
    (plane,) = drawn.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    mask = np.zeros(signals.shape[1:], dtype=bool)
    for frame, groups in zip(drawn.pixel_array, drawn.PerFrameFunctionalGroupsSequence, strict=True):
        corner = [float(value) for value in groups.PlanePositionSequence[0].ImagePositionPatient]
        at = int(np.argmin(np.abs(np.array(places) - corner[0])))
        under = slices[times[0], places[at]]
        assert under.ImageOrientationPatient == plane.ImageOrientationPatient
        assert corner == pytest.approx([float(value) for value in under.ImagePositionPatient], abs=1e-3)
        mask[at] = frame >= drawn.MaximumFractionalValue / 2
    return signals, mask


def confirmed(found: tuple[Line, ...]) -> list[Line]:
    """The proposal, corrected by a person who knows that contrast was given after the first time point."""
    corrected = []
    for line in found:
        meant = {"phase": TIME_POINTS[line.volume - 1]} if line.kind == "image" else {"region": "tumour"}
        corrected.append(line.model_copy(update={**meant, "agent": "", "use": "yes"}))
    return corrected


def test_time_points_of_one_real_series_become_subtractions_with_the_means_of_the_files(tmp_path: Path) -> None:
    source = public("dicom/dce_mri_three_timepoints_in_one_series")
    site = hospital(tmp_path / "a", BREAST)
    manifest, proposed = propose_manifest(source, None, site.folder, None)
    images = [line for line in proposed.lines if line.kind == "image"]
    # A header that says "no agent" of every time point contradicts the order: only the first is named, none is used.
    assert [(line.volume, line.phase, line.use) for line in images] == [(1, "t1", "no"), (2, "", "no"), (3, "", "no")]
    assert all("contradiction: time point" in line.why for line in images[1:])
    manifest.write_bytes(manifest_bytes(confirmed(proposed.lines)))
    done = prepared(site, STUDY + DYNAMIC)
    found = features(done)
    assert {name.partition(".")[0] for name in found} == {*TIME_POINTS, *SUBTRACTIONS}
    assert all(value is not None and np.isfinite(value) for value in found.values())
    stored, mask = as_stored(source)
    signals = dict(zip(TIME_POINTS, stored[:, mask], strict=True))
    assert signals["t1"].mean() < signals["t1a"].mean() < signals["t1v"].mean()
    changes = {f"{later}-minus-t1": signals[later] - signals["t1"] for later in ("t1a", "t1v")}
    for name, values in (signals | changes).items():
        assert found[f"{name}.tumour.original_firstorder_Mean"] == pytest.approx(values.mean(), abs=1e-3), name
        assert found[f"{name}.tumour.original_firstorder_Variance"] == pytest.approx(values.var(), rel=1e-4), name
        ends = [found[f"{name}.tumour.original_firstorder_{end}"] for end in ("Minimum", "Maximum")]
        assert ends == pytest.approx([values.min(), values.max()], abs=0.1), name
    volume = rows(done, "regions", "region")["tumour"]["volume_ml"]
    assert volume == pytest.approx(mask.sum() * 0.703125**2 * 2.0 / 1000, rel=1e-6)


def middle_near_the_surface(liver: Bools) -> tuple[int, int, int]:
    """A voxel 9 mm below the liver's surface, half way up."""
    depth = ndimage.distance_transform_edt(liver, sampling=3.0)
    level = liver.shape[0] // 2
    places = np.argwhere(np.abs(depth[level] - 9) < 1)
    y, x = (int(at) for at in places[len(places) // 2])
    return level, y, x


def test_a_real_abdomen_is_a_z_score_of_its_body_and_its_ring_ends_at_the_liver(tmp_path: Path) -> None:
    image = sitk.ReadImage(public("abdomen_ct_mr/example_mr_sm.nii.gz"))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(public("abdomen_ct_mr/example_seg_mr.nii.gz")))
    liver = labels == LIVER
    tumour = sphere(image, middle_near_the_surface(liver), 9.0) & liver
    site = site_of(tmp_path / "a", image, tumour, liver)
    file = site.folder / "images" / PATIENT / "t1v.nii.gz"
    file.parent.mkdir(parents=True)
    sitk.WriteImage(image, file)
    done = prepared(site, STUDY + ABDOMINAL)
    found, regions = features(done), rows(done, "regions", "region")
    assert all(value is not None and np.isfinite(value) for value in found.values())
    settings = parse_study(STUDY + ABDOMINAL).preparation
    assert settings is not None and settings.radiomics is not None
    assert (settings.intensity.n4, settings.intensity.scale) == (True, "z-score")

    # The body holds every organ that is labelled, and not the air around it.
    comparable = Comparable(Scan(PATIENT, {"t1v": read_image(ImageSource("t1v", file), PATIENT)}, {}), settings)
    _, outline = comparable.corrected("t1v")
    assert outline is not None
    body = sitk.GetArrayFromImage(outline) != 0
    assert body[labels > 0].mean() > 0.99 and 0.5 < body.mean() < 0.9
    scores = sitk.GetArrayFromImage(comparable.normalised("t1v")).astype(np.float64)
    assert scores[body].mean() == pytest.approx(0, abs=0.01)
    assert scores[body].std() == pytest.approx(100, abs=0.01)

    # The ring, found plainly: what lies within 10 mm of the lesion, is of the liver and not of the lesion.
    around = (ndimage.distance_transform_edt(~tumour, sampling=3.0) <= 10) & ~tumour
    meant = {"tumour": tumour, "peritumour-10mm": around & liver, "liver": liver & ~tumour}
    assert regions["peritumour-10mm"]["lost"] == pytest.approx(1 - liver[around].mean(), rel=1e-9)
    assert 0.1 < regions["peritumour-10mm"]["lost"] < 0.5
    drawn = {name: image_like(mask.astype(np.uint8), image) for name, mask in (("tumour", tumour), ("liver", liver))}
    made = Working(comparable, drawn, {}, settings, settings.radiomics).made.masks
    for name, mask in meant.items():
        part = sitk.Resample(made[name], image, sitk.Transform(), sitk.sitkNearestNeighbor)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(part) != 0, mask, name)
        assert regions[name]["volume_ml"] == pytest.approx(mask.sum() * 0.027)
        assert found[f"t1v.{name}.original_firstorder_Mean"] == pytest.approx(scores[mask].mean(), abs=1e-3), name
    pixels = np.load(done.folder / "stacks" / PATIENT / "t1v" / "pixels.npy")
    assert pixels.shape == (3, 64, 64) and np.isfinite(pixels).all() and pixels.std() > 0
