"""client/images/checking: the same image or mask under two names: of two patients, two phases, or two readers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.images.case import Case, MaskKey, Scan
from client.images.checking.remark import mask_name
from common.errors import FedmviError, Severity


@dataclass(frozen=True)
class Print:
    """What remains of an image or mask when it is let go: enough to tell it from all others.

    Attributes
    ----------
    patient, path
        Whose file it is.
    name
        Its phase; of a mask, region, reader and phase in words.
    mask
        The key of a mask; None of an image.
    digest
        Hash of the voxels, whatever the format of the file.
    """

    patient: str
    path: str
    name: str
    mask: MaskKey | None
    digest: str


def prints_of(scan: Scan, case: Case) -> list[Print]:
    """The prints of a patient's images and of masks of the tumour."""
    found = [
        Print(scan.patient, str(case.images[phase].path), phase, None, voxel_digest(read.image))
        for phase, read in scan.images.items()
    ]
    paths = {(m.region, m.reader, m.phase): str(m.path) for m in case.masks}
    found += [
        Print(scan.patient, paths[key], mask_name(key), key, voxel_digest(mask))
        for key, mask in scan.masks.items()
        if key[0] == "tumour" and sitk.GetArrayViewFromImage(mask).any()
    ]
    return found


def voxel_digest(image: sitk.Image) -> str:
    """SHA-256 of size and voxels, in one order of the axes, so that the format in which they are stored is no matter.

    Position and spacing do not count: who copies an image may correct them.
    """
    upright = sitk.DICOMOrient(image, "LPS")
    voxels = np.ascontiguousarray(sitk.GetArrayViewFromImage(upright))
    if voxels.dtype.kind == "f" and np.array_equal(voxels, np.rint(voxels)) and np.abs(voxels).max() < 2**15:
        # CT is int16 where that loses nothing; the same CT may also have come as whole numbers with a point.
        voxels = voxels.astype(np.int16)
    hashed = hashlib.sha256(f"{voxels.shape} {voxels.dtype.str}".encode())
    hashed.update(voxels.data)
    return hashed.hexdigest()


def duplicates(prints: Iterable[Print]) -> list[FedmviError]:
    """Images or masks that are used twice (364); of two patients, each is told.

    One pass over all prints; only equal ones are compared. A mask that is alike on all phases of one patient is
    how many programs carry it over, and is no problem. A second reader's that equals the first's makes agreement
    perfect, and is a warning.
    """
    alike: dict[tuple[bool, str], list[Print]] = defaultdict(list)
    for one in prints:
        alike[one.mask is None, one.digest].append(one)
    return [problem for group in alike.values() if len(group) > 1 for problem in _within(group)]


def _within(group: list[Print]) -> Iterator[FedmviError]:
    first = group[0]
    for other in group[1:]:
        severity = _severity(first, other)
        if severity:
            yield _same(other, first, severity)
            if other.patient != first.patient:
                yield _same(first, other, severity)  # whose it is, nobody knows yet: both are told


def _same(one: Print, other: Print, severity: Severity) -> FedmviError:
    text = f"{one.patient}: {one.path} ({one.name}) has the voxels of {other.patient}: {other.path} ({other.name})"
    return FedmviError(364, text, severity=severity)


def _severity(one: Print, other: Print) -> Severity | None:
    if one.patient != other.patient or one.mask is None or other.mask is None:
        return Severity.ERROR
    return Severity.WARNING if one.mask[1] != other.mask[1] and one.mask[2] == other.mask[2] else None
