"""tests/client/preparation: MR from files to features: a z-score, then the scale that the hospitals' landmarks give."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.cohort.site import Site, load_site
from client.imaging import bias
from client.preparation import working
from client.preparation.prepare import Prepared, prepare
from common.study.features import LANDMARKS
from common.study.loader import parse_study
from server.study.landmarks import as_toml
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals

HOSPITAL = """
name = "tiny-mr"
title = "One hospital with two patients, on wide voxels"
sources = ["Made up."]
assumptions = ["All numbers are assumed."]

[[sites]]
name = "hospital-a"
groups = [{ patients = 2, present = 1 }]
scanner = { spacing_mm = 8.0, slice_mm = 16.0, gain = 1.6 }

[clinical]
ineligible = 0.0
size_absent = { lower = 5.0, median = 5.5, upper = 6.5 }
size_present = { lower = 5.5, median = 6.5, upper = 8.0 }

[survival]
preset = "rates"

[imaging]
modality = "mr"
phases = ["t1a", "t1v"]
matrix = 48
slices = 14
"""

STUDY = """
[study]
name = "tiny-mr"
title = "A few simulated patients with MR"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[cohorts]]
name = "train"
role = "train"
sites = ["hospital-a", "hospital-b", "hospital-c"]

[[models]]
name = "radiomics"
endpoint = "mvi"
cohort = "train"
predictors = ["t1a.tumour.original_firstorder_Mean", "t1v.tumour.original_glcm_Contrast"]

[preparation]
modality = "mr"
phases = ["t1a", "t1v"]
reference = "t1v"
subtractions = ["t1a-minus-t1v"]

[preparation.registration]
method = "rigid"
spacing_mm = 6.0

[preparation.resampling]
spacing_mm = [4.0, 4.0, 5.0]

[preparation.radiomics]
regions = ["tumour", "peritumour-10mm"]
classes = ["firstorder", "shape", "glcm"]
log_sigma_mm = [4.0]
wavelet = "none"

[preparation.stacks]
size = 64

[preparation.intensity]
n4 = false
"""

ALONE = {
    'phases = ["t1a", "t1v"]': 'phases = ["t1v"]',
    'subtractions = ["t1a-minus-t1v"]\n': "",
    '"t1a.tumour.original_firstorder_Mean"': '"t1v.tumour.original_firstorder_Mean"',
}
"""What makes it a study of one phase."""
PHASES = ("t1a", "t1v")
Columns = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("mr")
    (folder / "tiny-mr.toml").write_text(HOSPITAL)
    make_hospitals(load_consortium(folder / "tiny-mr.toml"), folder / "sites", seed=1, workers=1)
    return load_site(folder / "sites" / "hospital-a")


@pytest.fixture(scope="module")
def done(site: Site) -> Prepared:
    """Prepared with a z-score in the body."""
    return prepared(site, STUDY)


def prepared(site: Site, study: str) -> Prepared:
    found = prepare(site, parse_study(study), workers=1)
    assert found.images is not None and not found.images.failed
    return found


def features(found: Prepared) -> Columns:
    table = pq.read_table(found.folder / "features.parquet")
    return {name: table[name].to_numpy() for name in table.column_names if name != "patient_id"}


def stacks(found: Prepared) -> dict[str, bytes]:
    files = sorted((found.folder / "stacks").rglob("*"))
    return {str(path.relative_to(found.folder)): path.read_bytes() for path in files if path.is_file()}


def scaled(site: Site, folder: Path, factor: int, offset: int) -> Site:
    """A copy of the site whose stored signals are another linear function of the tissue."""
    shutil.copytree(site.folder, folder, ignore=shutil.ignore_patterns("store"))
    for path in (folder / "images").rglob("*.nii.gz"):
        image = sitk.Cast(sitk.ReadImage(path), sitk.sitkInt32) * factor + offset
        assert sitk.GetArrayViewFromImage(image).max() < 2**15
        sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), path)
    return load_site(folder)


def first_only(site: Site, folder: Path) -> Site:
    """A copy of the site with its first patient only."""
    shutil.copytree(site.folder, folder, ignore=shutil.ignore_patterns("store"))
    table = folder / "patients.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
    return load_site(folder)


def test_features_of_mr_are_numbers_and_landmarks_rise_from_0_to_100(done: Prepared) -> None:
    found = features(done)
    for name, values in found.items():
        assert np.isfinite(values).all(), name
    mean = found["t1v.tumour.original_firstorder_Mean"]
    assert mean[0] != mean[1]
    for phase in PHASES:
        marks = np.array([found[f"{phase}.body.original_landmark_P{at}"] for at in LANDMARKS])
        assert marks[0] == pytest.approx(0) and marks[-1] == pytest.approx(100, rel=1e-12)
        assert (np.diff(marks, axis=0) > 0).all()


def test_the_learned_scale_redoes_features_only(site: Site, done: Prepared) -> None:
    first = features(done)
    scale = {
        phase: tuple(float(first[f"{phase}.body.original_landmark_P{at}"].mean()) for at in LANDMARKS)
        for phase in PHASES
    }
    nyul = prepared(
        site,
        STUDY.replace("[preparation.intensity]\n", as_toml(scale).partition("\n\n")[0] + "\n")
        + as_toml(scale).partition("\n\n")[2],
    )
    assert nyul.images is not None
    assert [set(outcome.seconds) for outcome in nyul.images.outcomes] == [{"check", "features"}] * 2
    assert stacks(nyul) == stacks(done) and stacks(done)
    second = features(nyul)
    same = [name for name in first if "_landmark_" in name or "_shape_" in name]
    assert all(np.array_equal(first[name], second[name]) for name in same)
    assert np.isfinite(np.array(list(second.values()))).all()
    mean = "t1v.tumour.original_firstorder_Mean"
    assert not np.array_equal(first[mean], second[mean])
    # The tumour is a part of the body, whose percentiles 1 and 99 are 0 and 100.
    assert (second[mean] > 0).all() and (second[mean] < 120).all()


def tolerance(name: str) -> dict[str, float]:
    """Signals are kept in float32; rounded otherwise, a voxel at the edge of a bin may fall into the next one."""
    binned = "_glcm_" in name or name.endswith(("Entropy", "Uniformity"))
    return {"rel": 2e-2 if binned else 1e-4, "abs": 1e-3}


def test_neither_gain_nor_offset_changes_features(site: Site, done: Prepared, tmp_path: Path) -> None:
    was, now = features(done), features(prepared(scaled(site, tmp_path / "site", 3, 70), STUDY))
    for name in was:
        assert now[name] == pytest.approx(was[name], **tolerance(name)), name


def test_a_gain_does_not_change_features_after_n4(site: Site, tmp_path: Path) -> None:
    # N4 divides by a field: a gain is a part of its model, an offset is not.
    study = STUDY.replace("n4 = false", "n4 = true")
    for old, new in ALONE.items():
        study = study.replace(old, new)
    assert "t1a" not in study
    one = first_only(site, tmp_path / "one")
    was, now = (features(prepared(given, study)) for given in (one, scaled(one, tmp_path / "scaled", 3, 0)))
    assert all(np.isfinite(values).all() for values in was.values())
    for name in was:
        assert now[name] == pytest.approx(was[name], **tolerance(name)), name


def test_a_bias_field_is_found_once_and_gives_the_same_bytes_when_only_features_are_redone(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = first_only(site, tmp_path / "site")
    study = STUDY
    for was, now in ALONE.items():
        study = study.replace(was, now)
    study = study.replace("n4 = false", "n4 = true")
    monkeypatch.setattr(bias, "_ITERATIONS", (2, 2, 2))
    first = prepared(one, study)
    shutil.rmtree(next(one.store.glob("steps/*/features.t1v")))
    monkeypatch.setattr(working, "find_bias", lambda *_: pytest.fail("the field was found again"))
    again = prepared(one, study)
    assert again.images is not None and set(again.images.outcomes[0].seconds) == {"features"}
    assert again.digest == first.digest and not again.fresh
