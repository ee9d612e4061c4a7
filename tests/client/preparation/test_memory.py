"""tests/client/preparation: a worker's memory for whole scans on fine voxels: under 6 GiB for 512 x 512 x 600."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

COMMAND = str(Path(sys.executable).parent / "fedmvi-site")
WIDTH_MM = 0.7
LONGEST, SLICES = 600, 200
"""Slices of the scan that the bound is about, and of the one that is prepared here; both are 512 x 512 wide."""
BOUND_MIB = 6 * 1024
STUDY = """
[study]
name = "large-images"
title = "One made-up patient on many fine voxels"
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
predictors = ["portal.tumour.original_firstorder_Mean"]

[preparation]
modality = "ct"
phases = ["arterial", "portal"]
reference = "portal"
subtractions = ["arterial-minus-portal"]

[preparation.regions]
limit_to_liver = "required"

[preparation.radiomics]
regions = ["tumour", "peritumour-10mm"]
log_sigma_mm = [1.0, 3.0]
wavelet = "none"

[preparation.stacks]
"""
Point = tuple[float, float, float]


def ellipsoid(centre: Point, radii_mm: Point) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of the scan."""
    axes = np.ogrid[:SLICES, :512, :512]
    squares = [((axis - at) * WIDTH_MM / r) ** 2 for axis, at, r in zip(axes, centre, radii_mm, strict=True)]
    inside: NDArray[np.bool_] = sum(squares) <= 1
    return inside


def write(voxels: NDArray[np.generic], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([WIDTH_MM] * 3)
    sitk.WriteImage(image, path)


def make_site(folder: Path) -> None:
    """A hospital with one patient: a body, a liver of 1.8 L with a tumour of 5 cm, which moves between two phases."""
    noise = np.random.default_rng(0)
    for phase, moved, liver, tumour in (("portal", 0, 100, 70), ("arterial", 5, 80, 110)):
        middle = (SLICES / 2 + moved, 256.0, 206.0)
        lesion = (middle[0], middle[1], middle[2] - 20)
        parts = {"liver": ellipsoid(middle, (60, 75, 95)), "tumour": ellipsoid(lesion, (25, 25, 25))}
        voxels = np.where(ellipsoid((SLICES / 2, 256, 256), (1e9, 120, 160)), np.int16(40), np.int16(-1000))
        voxels[parts["liver"]], voxels[parts["tumour"]] = liver, tumour
        for z in range(SLICES):
            voxels[z] += noise.normal(0, 10, (512, 512)).astype(np.int16)
        write(voxels, folder / "images" / "one" / f"{phase}.nii")
        for region, inside in parts.items() if phase == "portal" else ():
            write(inside.astype(np.uint8), folder / "masks" / "one" / f"{region}.nii")
    (folder / "site.toml").write_text('[site]\nname = "a"\nsimulated = true\n')
    (folder / "site.secret").write_text("5e" * 32)
    (folder / "patients.csv").write_text("patient_id,mvi\none,1\n")
    (folder / "study.toml").write_text(STUDY)


def test_a_worker_keeps_to_its_share_of_6_gib(tmp_path: Path) -> None:
    # What does not grow with the scan counts as if it did: the bound of the whole scan is kept with room to spare.
    make_site(tmp_path)
    command = [COMMAND, "prepare", str(tmp_path / "study.toml"), "--site", str(tmp_path), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(r"largest process (\d+) MiB", " ".join(done.stdout.split()))
    assert said is not None
    scan = 2 * SLICES * 512 * 512 * 2 / 1024**2
    assert scan < int(said[1]) < BOUND_MIB * SLICES / LONGEST
