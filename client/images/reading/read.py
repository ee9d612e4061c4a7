"""client/images/reading: one image of a patient, from whatever file or folder it is in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.images.case import Acquisition, ImageSource, ReadImage
from client.images.reading.geometry import geometry_of
from client.images.reading.nifti import read_nifti
from client.images.reading.nrrd import read_nrrd
from client.images.reading.pixels import read_voxels
from client.images.reading.series import FoundSeries, files_under, find_series
from client.images.reading.slices import after_injection, agent_in, image_problem, number, read_moment, text
from client.images.reading.volumes import FoundVolume


def read_image(source: ImageSource, patient: str) -> ReadImage:
    """Read the image of one phase and what its headers say, or in their stead the manifest.

    Parameters
    ----------
    source
        A folder of DICOM files or one of them, or a file that ends in `.nii`, `.nii.gz` or `.nrrd`.
    patient
        Id, for messages.

    Returns
    -------
    ReadImage
        Three-dimensional, int16 where that loses nothing, else float32, in DICOM's patient coordinates.

    Raises
    ------
    FedmviError
        330 to 336 and 377, see `docs/errors.md`; `local` names patient and file.
    """
    path = source.path
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        read = ReadImage(read_nifti(path, patient, source.volume))
    elif name.endswith(".nrrd"):
        read = ReadImage(read_nrrd(path, patient, source.volume))
    else:
        volume = _volume(source, patient)
        # The place first: a missing slice is seen before any pixel is decoded.
        geometry = geometry_of(volume, patient, path)
        image = read_voxels(volume, patient)
        geometry.lay_on(image)
        read = ReadImage(image, _about(volume))
    check_voxels(read.image, path, patient)
    return ReadImage(read.image, source.described(read.about))


def check_voxels(image: sitk.Image, path: Path, patient: str) -> None:
    """See that voxels are numbers, and not all the same.

    Raises
    ------
    FedmviError
        333 with the slice.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    for z, plane in enumerate(voxels):
        bad = plane.size - np.isfinite(plane).sum()
        if bad:
            raise image_problem(333, patient, path, f"{bad} voxels of slice {z + 1} are not finite numbers")
    first = voxels.flat[0]
    if all((plane == first).all() for plane in voxels):
        raise image_problem(333, patient, path, f"all voxels are {first}")


def _volume(source: ImageSource, patient: str) -> FoundVolume:
    """The volume of a folder that the source means."""
    found = _found(source.path, patient, _as_it_is(source.path, patient))
    for one in found:
        # A file that cannot be read may be a slice of any series here, and the last slice is missed by nobody.
        if one.problem and not one.uid:
            raise one.problem
    series = _series(found, source, patient)
    if series.problem:
        raise series.problem
    chosen = source.volume or (1 if len(series.volumes) == 1 else 0)
    if not 1 <= chosen <= len(series.volumes):
        listed = "; ".join(f"volume {i}: {volume.label}" for i, volume in enumerate(series.volumes, 1))
        raise image_problem(336, patient, source.path, f"{len(series.volumes)} volumes ({listed})")
    return series.volumes[chosen - 1]


def _as_it_is(folder: Path, patient: str) -> tuple[tuple[Path, int, int], ...]:
    """Size and time of change of every file; -1 of one that cannot be asked, whose reading will say why."""
    return tuple((path, *_changed(path)) for path in files_under(folder, patient))


def _changed(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return -1, -1
    return about.st_size, about.st_mtime_ns


@lru_cache(maxsize=1)
def _found(
    folder: Path,
    patient: str,
    as_it_is: tuple[tuple[Path, int, int], ...],  # noqa: ARG001  # a folder that changed is another
) -> tuple[FoundSeries, ...]:
    """The series of a folder as it is.

    What a PACS exports is often one folder with every series of a patient, and each of his phases is read from it: the
    headers of thousands of files are parsed once.
    """
    return tuple(find_series(folder, patient))


def _series(found: Sequence[FoundSeries], source: ImageSource, patient: str) -> FoundSeries:
    named = [one for one in found if one.uid == source.series] if source.series else found
    if len(named) == 1:
        return named[0]
    listed = "; ".join(_described(one) for one in found) or "none"
    if source.series:
        raise image_problem(330, patient, source.path, f"no series {source.series} here; there are: {listed}")
    if not found:
        raise image_problem(330, patient, source.path, "no CT or MR slices here")
    raise image_problem(332, patient, source.path, f"{len(found)} series, and none is named: {listed}")


def _described(series: FoundSeries) -> str:
    if not series.volumes:
        return f"{series.uid} (cannot be used)"
    return f"{series.uid} ({text(series.volumes[0].header, 'SeriesDescription')}, {series.volumes[0].label})"


def _about(volume: FoundVolume) -> Acquisition:
    """What the headers say of how the image was made."""
    header = volume.header
    tesla = number(header, "MagneticFieldStrength")
    return Acquisition(
        series=text(header, "SeriesInstanceUID"),
        frame_of_reference=text(header, "FrameOfReferenceUID"),
        instances=tuple(one.instance for one in volume.slices),
        acquired=volume.acquired,
        manufacturer=text(header, "Manufacturer"),
        model=text(header, "ManufacturerModelName"),
        kernel=text(header, "ConvolutionKernel"),
        description=text(header, "SeriesDescription"),
        agent=agent_in(header),
        # Some scanners write gauss.
        tesla=tesla / 1e4 if tesla and tesla > 100 else tesla,
        b_value=volume.b_value,
        repetition_ms=number(header, "RepetitionTime"),
        echo_ms=number(header, "EchoTime"),
        kilovolt=number(header, "KVP"),
        seconds=after_injection(header, read_moment(volume.acquired)),
    )
