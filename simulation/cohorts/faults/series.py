"""simulation/cohorts: deliberate faults of DICOM series, one series of the site each.

A series is the folder `images/<patient>/<phase>` with one file a slice. Identifiers of slices that are added come from
those of the slices they were made from, so that the same fault gives the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from common.errors import FedmviError
from simulation.cohorts.faults.fault import Damage, Fault, choose

FEWEST_SLICES = 4
"""A series with fewer has no slice whose neighbours' distance shows that it is missing or moved."""


def _series(folder: Path, rng: np.random.Generator, count: int = 1) -> list[Path]:
    """Series of different phases of one patient at random."""
    patients = sorted(p for p in (folder / "images").iterdir() if p.is_dir())
    (patient,) = choose(rng, patients, 1, "patients with images")
    return choose(rng, sorted(p for p in patient.iterdir() if p.is_dir()), count, "series")


def _inner_slice(series: Path) -> Path:
    """A slice in the middle, from foot to head."""
    files = sorted(series.glob("*.dcm"))
    if len(files) < FEWEST_SLICES:
        raise FedmviError(809, problems=f"a fault needs {FEWEST_SLICES} slices, and {series.name} has {len(files)}")
    return sorted(files, key=_height)[len(files) // 2]


def _height(path: Path) -> float:
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])


def _missing_slice(folder: Path, rng: np.random.Generator) -> None:
    (series,) = _series(folder, rng)
    _inner_slice(series).unlink()


def _duplicate_slice(folder: Path, rng: np.random.Generator) -> None:
    (series,) = _series(folder, rng)
    path = _inner_slice(series)
    data = pydicom.dcmread(path)
    data.SOPInstanceUID = generate_uid(entropy_srcs=[str(data.SOPInstanceUID), "again"])
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.InstanceNumber = len(list(series.glob("*.dcm"))) + 1
    data.save_as(path.with_name(f"{path.stem}-again.dcm"))


def _mixed_series(folder: Path, rng: np.random.Generator) -> None:
    one, two = _series(folder, rng, 2)
    for path in sorted(two.glob("*.dcm"))[:3]:
        shutil.copyfile(path, one / f"{two.name}-{path.name}")


def _uneven_slices(folder: Path, rng: np.random.Generator) -> None:
    (series,) = _series(folder, rng)
    path = _inner_slice(series)
    heights = sorted(map(_height, series.glob("*.dcm")))
    data = pydicom.dcmread(path)
    x, y, z = data.ImagePositionPatient
    data.ImagePositionPatient = [x, y, round(z + 0.4 * (heights[1] - heights[0]), 3)]
    data.save_as(path)


def _no_rescale(folder: Path, rng: np.random.Generator) -> None:
    (series,) = _series(folder, rng)
    for path in sorted(series.glob("*.dcm")):
        data = pydicom.dcmread(path)
        if "RescaleIntercept" not in data:
            raise FedmviError(809, problems="a fault needs CT images: others have no rescale intercept to lose")
        del data.RescaleIntercept, data.RescaleSlope
        data.save_as(path)


def _dicom(text: str, apply: Damage, tell: int | None = None) -> Fault:
    return Fault("dicom", text, apply, tell)


SERIES_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "missing-slice": _dicom("A slice in the middle of a series is missing.", _missing_slice, 331),
        "duplicate-slice": _dicom("A slice is there twice, under two identifiers.", _duplicate_slice, 332),
        "mixed-series": _dicom("Slices of another series lie in a series' folder.", _mixed_series, 332),
        "uneven-slices": _dicom("A slice is nearer to the next one than all others.", _uneven_slices, 331),
        "missing-rescale": _dicom("A CT series does not say how its values become HU.", _no_rescale, 362),
    }
)
"""Faults of DICOM series by name."""
