"""simulation/cohorts: deliberate faults of NIfTI images and masks, one patient of the site each.

Images are `images/<patient>/<phase>.nii.gz`, masks `masks/<patient>/<region>.nii.gz` on the grid of one phase.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from simulation.cohorts.faults.fault import Damage, Fault, choose

TUMOUR = "tumour.nii.gz"
_SUFFIX = ".nii.gz"

_Voxels = NDArray[Any]
_Image = Any  # nibabel's Nifti1Image, most of whose methods carry no types


def _read(path: Path) -> _Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))


def _write(path: Path, content: bytes) -> None:
    """Compressed without a time, so that the same fault gives the same bytes."""
    path.write_bytes(gzip.compress(content, 1, mtime=0))


def _replace(path: Path, image: _Image, voxels: _Voxels) -> None:
    """Other voxels, perhaps of another type, in the same place."""
    header = image.header.copy()
    header.set_data_dtype(voxels.dtype)
    _write(path, type(image)(voxels, image.affine, header).to_bytes())


def _patients(folder: Path, rng: np.random.Generator, count: int = 1) -> list[str]:
    """Patients at random who have images."""
    return choose(rng, sorted(p.name for p in (folder / "images").iterdir()), count, "patients with images")


def _phases(folder: Path, rng: np.random.Generator, count: int = 1) -> list[Path]:
    """Files of different phases of one patient at random."""
    (patient,) = _patients(folder, rng)
    return choose(rng, sorted((folder / "images" / patient).glob(f"*{_SUFFIX}")), count, "phases")


def _of_image(change: Callable[[Path, _Image], None]) -> Damage:
    """A fault of one phase."""

    def apply(folder: Path, rng: np.random.Generator) -> None:
        (path,) = _phases(folder, rng)
        change(path, _read(path))

    return apply


def _of_mask(change: Callable[[Path, _Image], None]) -> Damage:
    """A fault of the first reader's outline of the tumour."""

    def apply(folder: Path, rng: np.random.Generator) -> None:
        masks = sorted((folder / "masks").glob(f"*/{TUMOUR}"))
        (path,) = choose(rng, masks, 1, "outlined tumours")
        change(path, _read(path))

    return apply


def _missing_phase(folder: Path, rng: np.random.Generator) -> None:
    _phases(folder, rng, 2)[0].unlink()


def _extra_phase(folder: Path, rng: np.random.Generator) -> None:
    (path,) = _phases(folder, rng)
    shutil.copyfile(path, path.with_name(f"repeated{_SUFFIX}"))


def _swapped_phases(folder: Path, rng: np.random.Generator) -> None:
    one, two = _phases(folder, rng, 2)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def _image_of_another(folder: Path, rng: np.random.Generator) -> None:
    one, two = _patients(folder, rng, 2)
    phases = {p.name for p in (folder / "images" / one).iterdir()}
    shared = sorted(p for p in (folder / "images" / two).iterdir() if p.name in phases)
    (path,) = choose(rng, shared, 1, "phases that two patients share")
    shutil.copyfile(folder / "images" / one / path.name, path)


def _images_without_row(folder: Path, rng: np.random.Generator) -> None:
    (patient,) = _patients(folder, rng)
    for kind in ("images", "masks"):
        shutil.copytree(folder / kind / patient, folder / kind / f"{patient}-unlisted")


def _row_without_images(folder: Path, rng: np.random.Generator) -> None:
    (patient,) = _patients(folder, rng)
    for kind in ("images", "masks"):
        shutil.rmtree(folder / kind / patient)


def _truncated(path: Path, image: _Image) -> None:  # noqa: ARG001 - only its bytes matter
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _flat(path: Path, image: _Image) -> None:
    voxels = np.asarray(image.dataobj)
    _replace(path, image, voxels[:, :, voxels.shape[2] // 2])


def _nan(path: Path, image: _Image) -> None:
    """Not-a-number outside the circle of reconstruction, as some scanners' exports pad it."""
    voxels = np.asarray(image.dataobj).astype(np.float32)
    x, y = (np.linspace(-1, 1, n) for n in voxels.shape[:2])
    voxels[np.hypot(x[:, None], y[None, :]) > 1] = np.nan
    _replace(path, image, voxels)


def _zero_spacing(path: Path, image: _Image) -> None:
    def change(header: _Voxels) -> None:
        header["pixdim"][0, 3] = 0
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row][0, 2] = 0

    _header(path, image, change)


def _negative_spacing(path: Path, image: _Image) -> None:
    def change(header: _Voxels) -> None:
        header["pixdim"][0, 3] *= -1

    _header(path, image, change)


def _header(path: Path, image: _Image, change: Callable[[_Voxels], None]) -> None:
    """Change the header's bytes in place: a library that writes NIfTI would mend or refuse such a header."""
    content = bytearray(image.to_bytes())
    change(np.frombuffer(content, dtype=image.header.structarr.dtype, count=1))
    _write(path, bytes(content))


def _no_mask(path: Path, image: _Image) -> None:  # noqa: ARG001
    path.unlink()


def _empty_mask(path: Path, image: _Image) -> None:
    _replace(path, image, np.zeros_like(np.asarray(image.dataobj)))


def _coarse_mask(path: Path, image: _Image) -> None:
    _write(path, image.slicer[::2, ::2].to_bytes())


def _reoriented_mask(path: Path, image: _Image) -> None:
    """Axes in another order and one reversed, and a matrix that says so: every voxel stays where it was."""
    _write(path, image.as_reoriented(np.array([[2, 1], [0, 1], [1, -1]])).to_bytes())


def _flipped_mask(path: Path, image: _Image) -> None:
    _replace(path, image, np.flip(np.asarray(image.dataobj), axis=0))


def _two_tumours(path: Path, image: _Image) -> None:
    voxels = np.asarray(image.dataobj)
    elsewhere = np.roll(voxels, voxels.shape[0] // 2, axis=0)
    _replace(path, image, np.where((elsewhere > 0) & (voxels == 0), np.uint8(2), voxels))


def _fractional_mask(path: Path, image: _Image) -> None:
    _replace(path, image, uniform_filter(np.asarray(image.dataobj).astype(np.float32), 3))


def _nifti(text: str, apply: Damage, tell: int | None = None) -> Fault:
    return Fault("nifti", text, apply, tell)


IMAGE_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "missing-phase": _nifti("One patient lacks a phase.", _missing_phase, 351),
        "extra-phase": _nifti("One patient has a phase twice, under a name that no study knows.", _extra_phase, 357),
        "swapped-phases": _nifti("Two phases of one patient have each other's names.", _swapped_phases, 362),
        "image-of-another-patient": _nifti("A phase of one patient shows another one.", _image_of_another, 364),
        "images-without-row": _nifti("There are images of somebody who is not in the table.", _images_without_row, 354),
        "row-without-images": _nifti("One patient of the table has no images.", _row_without_images, 351),
        "truncated-image": _nifti("A file of an image ends halfway.", _of_image(_truncated), 330),
        "flat-image": _nifti("An image is a single slice with two dimensions.", _of_image(_flat), 330),
        "nan-image": _nifti("An image is not-a-number outside a circle.", _of_image(_nan), 333),
        "zero-spacing": _nifti("The distance between slices is 0.", _of_image(_zero_spacing), 334),
        "negative-spacing": _nifti(
            "The header's distance between slices is negative.", _of_image(_negative_spacing), 334
        ),
        "missing-mask": _nifti("One tumour is not outlined.", _of_mask(_no_mask), 352),
        "empty-mask": _nifti("A mask has no voxel.", _of_mask(_empty_mask), 342),
        "coarse-mask": _nifti("A mask has every second pixel of its image's grid only.", _of_mask(_coarse_mask), 341),
        "reoriented-mask": _nifti(
            "A mask is stored in another orientation than its image, at the same place.", _of_mask(_reoriented_mask)
        ),
        "flipped-mask": _nifti("A mask is mirrored, right for left.", _of_mask(_flipped_mask), 360),
        "two-tumours": _nifti("A mask has a second tumour with the label 2.", _of_mask(_two_tumours), 342),
        "fractional-mask": _nifti("A mask has shares of voxels, not 0 and 1.", _of_mask(_fractional_mask), 340),
    }
)
"""Faults of NIfTI images and masks by name."""
