"""tests/client/preparation: hospitals of one real patient, planted lesions, and what `prepare` made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.cohort.site import Site, load_site
from client.preparation.prepare import Prepared, prepare
from common.study.loader import parse_study

PATIENT = "real-1"
Bools = NDArray[np.bool_]


def hospital(folder: Path, patient: str = PATIENT) -> Site:
    """A hospital with one patient and no images yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.toml").write_text('[site]\nname = "a"\nsimulated = true\n')
    (folder / "site.secret").write_text("5e" * 32)
    (folder / "patients.csv").write_text(f"patient_id,mvi\n{patient},1\n")
    return load_site(folder)


def site_of(folder: Path, reference: sitk.Image, tumour: Bools, liver: Bools) -> Site:
    """A hospital with one patient, whose masks are files on the grid of the image."""
    masks = folder / "masks" / PATIENT
    masks.mkdir(parents=True)
    for region, voxels in (("tumour", tumour), ("liver", liver)):
        mask = sitk.GetImageFromArray(voxels.astype(np.uint8))
        mask.CopyInformation(reference)
        sitk.WriteImage(mask, masks / f"{region}.nii.gz")
    return hospital(folder)


def sphere(image: sitk.Image, centre: tuple[int, int, int], radius_mm: float) -> Bools:
    """Voxels within a distance of a voxel (z, y, x)."""
    spacing = image.GetSpacing()[::-1]
    axes = np.ogrid[tuple(slice(n) for n in image.GetSize()[::-1])]
    squares = [((axis - at) * step) ** 2 for axis, at, step in zip(axes, centre, spacing, strict=True)]
    inside: Bools = sum(squares) <= radius_mm**2
    return inside


def prepared(site: Site, study: str) -> Prepared:
    done = prepare(site, parse_study(study), workers=1)
    assert done.images is not None
    assert not done.images.failed, [problem.local for problem in done.images.outcomes[0].problems]
    return done


def rows(done: Prepared, table: str, key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in pq.read_table(done.folder / f"{table}.parquet").to_pylist()}


def features(done: Prepared) -> dict[str, float]:
    """The patient's features by name; None or not a number where there is none."""
    row: dict[str, float]
    (row,) = pq.read_table(done.folder / "features.parquet").drop_columns("patient_id").to_pylist()
    return row
