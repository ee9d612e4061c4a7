"""client/images/masks: a mask from NIfTI, NRRD, DICOM SEG or RTSTRUCT, on the grid of the image it was drawn on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from client.images.case import MaskSource, ReadImage
from client.images.masks.outlines import MaskFile, Segment, choose
from client.images.masks.placing import Canvas, Lattice, OffGridError
from client.images.masks.segmentation import SEGMENTATIONS, read_segmentation
from client.images.masks.structure_set import STRUCTURE_SET, dicom_kind, read_structure_set
from client.images.reading.nifti import read_nifti
from client.images.reading.nrrd import read_nrrd
from common.errors import FedmviError

CROPPED = "Segmentation_ReferenceImageExtentOffset"
"""The field by which 3D Slicer's segmentations (`.seg.nrrd`) say that they may be a part of their image."""


def read_mask(source: MaskSource, image: ReadImage, patient: str) -> sitk.Image:
    """Read one mask.

    A label map is put onto the image's grid only where its voxels are the image's voxels, in any order of the axes;
    nothing is interpolated. Frames of a Segmentation go to the slices on which they lie, contours to the voxels whose
    centres they surround.

    Parameters
    ----------
    source
        Where the mask is.
    image
        The image on which it was drawn.
    patient
        For errors.

    Returns
    -------
    SimpleITK.Image
        uint8 of 0 and 1 with the size, origin, spacing and direction of the image; never empty.

    Raises
    ------
    FedmviError
        340 not readable, 341 not on the image's voxels, 342 empty, or no such region or several, 343 of another series
        or frame of reference, 344 a contour that is not closed, planar or on a slice.
    """
    file = MaskFile(patient, source)
    canvas = Canvas(image.image)
    name = source.path.name.casefold()
    if name.endswith((".nii", ".nii.gz")):
        volume = _as_mask(lambda: read_nifti(source.path, patient))
        _draw(file, canvas, volume, _chosen_label(file, volume), whole=True)
    elif name.endswith(".nrrd"):
        _read_nrrd_mask(file, canvas)
    else:
        kind = dicom_kind(file)
        if kind in SEGMENTATIONS:
            read_segmentation(file, image.about, canvas)
        elif kind == STRUCTURE_SET:
            read_structure_set(file, image.about, canvas)
        else:
            raise file.refused(340, f"a DICOM object, but neither SEG nor RTSTRUCT (its class is '{kind}')")
    if not canvas.voxels.any():
        raise file.refused(342, "no voxel of the image is in the region")
    return canvas.mask()


def named_segments(path: Path, patient: str) -> list[Segment]:
    """The segments of a `.nrrd` of 3D Slicer; none of another, whose labels have no names. No voxel is read.

    Raises
    ------
    FedmviError
        340 not readable.
    """
    return list(_slicer_segments(_fields(MaskFile(patient, MaskSource("", 1, "", path)))))


def _read_nrrd_mask(file: MaskFile, canvas: Canvas) -> None:
    """A label map, or a segmentation of 3D Slicer, whose overlapping segments are in several layers."""
    path, patient = file.source.path, file.patient
    fields = _fields(file)
    layers = _slicer_segments(fields)
    if layers:
        segments = list(layers)
        chosen = segments[choose(file, segments)]
        label, layer = chosen.number, layers[chosen]
        volume = _as_mask(lambda: read_nrrd(path, patient, layer))
        _check_labels(file, sitk.GetArrayViewFromImage(volume))
    else:
        volume = _as_mask(lambda: read_nrrd(path, patient))
        label = _chosen_label(file, volume)
    _draw(file, canvas, volume, label, whole=CROPPED not in fields)


def _as_mask(read: Callable[[], sitk.Image]) -> sitk.Image:
    """What an image reader reads, with its errors as those of a mask."""
    try:
        return read()
    except FedmviError as error:
        # What has no usable place in the patient does not lie on the image.
        raise FedmviError(341 if error.number == 334 else 340, error.local) from error


def _draw(file: MaskFile, canvas: Canvas, volume: sitk.Image, label: int, *, whole: bool) -> None:
    try:
        canvas.add(sitk.GetArrayViewFromImage(volume) == label, Lattice.of(volume), whole=whole)
    except OffGridError as error:
        raise file.refused(341, str(error)) from error


def _chosen_label(file: MaskFile, volume: sitk.Image) -> int:
    """The label that is meant of those that a file without names holds."""
    voxels = sitk.GetArrayViewFromImage(volume)
    _check_labels(file, voxels)
    labels = [Segment(int(label)) for label in np.unique(voxels[voxels != 0])]
    if not labels:
        raise file.refused(342, "all of its voxels are 0")
    return labels[choose(file, labels)].number


def _check_labels(file: MaskFile, voxels: NDArray[np.generic]) -> None:
    """Refuse an image that is given for a mask."""
    marked = voxels[voxels != 0]
    if not np.isfinite(marked).all():
        raise file.refused(340, "it has voxels that are not finite numbers")
    if (marked != np.rint(marked)).any() or (marked < 0).any():
        raise file.refused(340, f"its voxels, from {marked.min():g} to {marked.max():g}, are not labels")


def _fields(file: MaskFile) -> dict[str, str]:
    """The fields of an NRRD header that the format leaves to programs."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO")
    reader.SetFileName(str(file.source.path))
    try:
        reader.ReadImageInformation()
        return {key: str(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    except (RuntimeError, UnicodeError) as error:
        raise file.refused(340, f"not readable as NRRD: {str(error).strip().splitlines()[-1]}") from error


def _slicer_segments(fields: Mapping[str, str]) -> dict[Segment, int]:
    """3D Slicer's segments and the layer of each, from 1; none where a file has no such fields.

    Fields as its documentation has them (slicer.readthedocs.io, developer guide, "Segmentation file format"):
    `Segment0_Name`, `Segment0_LabelValue`, `Segment0_Layer` and so on.
    """
    segments: dict[Segment, int] = {}
    for at in itertools.count():
        label = fields.get(f"Segment{at}_LabelValue", "")
        layer = fields.get(f"Segment{at}_Layer", "0")
        if not label.isdecimal() or not layer.isdecimal():
            return segments
        segments[Segment(int(label), fields.get(f"Segment{at}_Name", ""))] = int(layer) + 1
    return segments
