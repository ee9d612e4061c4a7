"""client/images/checking: is a mask where it should be: parts, edges, body, liver, and the other reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from client.images.case import MaskKey, Scan
from client.images.checking.coarse import box_around, coarse_image, cropped, millilitres, seen_at
from client.images.checking.remark import Remark
from client.imaging.intensity import body_mask
from common.errors import FedmviError, Severity
from common.study.preparation import Modality

_BODY_MM = 4.0
_OUTSIDE_BODY = {0.02: Severity.WARNING, 0.20: Severity.ERROR}
"""Share of a mask outside of the body from which on it is told, and how bad it is."""
_OUTSIDE_LIVER = {0.20: Severity.WARNING, 0.50: Severity.ERROR}
"""The same of a tumour and the liver. Tumours bulge, and a liver outlined by a program often leaves the tumour out."""
_TOUCHING = 0.30
"""A tumour of whose surroundings this share is liver was left out of the liver, and lies in its place."""
_SHELL = 2
_LUNG_HU = -300.0
_LUNG_SHARE = 0.20
_LEAST_DICE = 0.5
_LISTED = 5


def mask_remarks(scan: Scan, modality: Modality) -> Iterator[Remark]:
    """What is odd about every mask of a patient.

    Empty masks (342), masks of several parts with their volumes (361), masks that touch the edge of their image (367)
    or lie outside of the body (360), tumours outside of the liver (360), and readers who overlap little (369).
    """
    bodies: dict[str, sitk.Image | None] = {}
    for key, mask in scan.masks.items():
        region, _, phase = key
        box = cropped(mask)
        if box is None:
            yield Remark(342, Severity.ERROR, key, "no voxel is set")
            continue
        yield from _parts(key, box)
        yield from _edges(key, mask)
        if phase in scan.images:
            image = scan.images[phase].image
            if phase not in bodies:
                bodies[phase] = _body(image, modality)
            yield from _outside_body(key, box, bodies[phase])
            if modality == "ct" and region == "tumour":
                yield from _in_air(key, box, image)
        liver = scan.mask("liver", phase)
        if region == "tumour" and liver is not None:
            yield from _outside_liver(key, mask, liver)
        if key[1] > 1:
            yield from _readers(key, mask, scan.mask(region, phase))


def dice(one: sitk.Image, other: sitk.Image) -> float:
    """Overlap of two masks on one grid: twice the shared voxels over the sum (Dice, Ecology 1945; 26: 297)."""
    a, b = (sitk.GetArrayViewFromImage(mask) != 0 for mask in (one, other))
    both = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / both if both else 1.0


def _parts(key: MaskKey, box: sitk.Image) -> Iterator[Remark]:
    """Parts are joined where voxels share at least a corner."""
    labels, count = ndimage.label(sitk.GetArrayViewFromImage(box), np.ones((3, 3, 3)))
    if count < 2:
        return
    sizes = sorted(np.bincount(labels.ravel())[1:], reverse=True)
    listed = ", ".join(f"{millilitres(box, int(size)):.2g}" for size in sizes[:_LISTED])
    more = f" and {count - _LISTED} smaller ones" if count > _LISTED else ""
    yield Remark(361, Severity.NOTE, key, f"{count} parts of {listed}{more} mL")


def _edges(key: MaskKey, mask: sitk.Image) -> Iterator[Remark]:
    voxels = sitk.GetArrayViewFromImage(mask)
    names = (("first slice", "last slice"), ("first row", "last row"), ("first column", "last column"))
    touched = [
        name
        for axis, pair in enumerate(names)
        for name, at in zip(pair, (0, -1), strict=True)
        if voxels.shape[axis] > 1 and np.any(np.take(voxels, at, axis))
    ]
    if touched:
        severity = Severity.WARNING if key[0] == "tumour" else Severity.NOTE
        yield Remark(367, severity, key, f"it touches the {', '.join(touched)}")


def _body(image: sitk.Image, modality: Modality) -> sitk.Image | None:
    """The body on coarse voxels; None where the image shows none, which others tell."""
    try:
        return body_mask(coarse_image(image, _BODY_MM), modality)
    except FedmviError:
        return None


def _outside_body(key: MaskKey, box: sitk.Image, body: sitk.Image | None) -> Iterator[Remark]:
    if body is None:
        return
    inside = seen_at(body, box)[sitk.GetArrayViewFromImage(box) != 0]
    share = 1 - float(inside.mean())
    severity = _severity(share, _OUTSIDE_BODY)
    if severity:
        yield Remark(360, severity, key, f"{100 * share:.0f} % of it is outside of the body")


def _in_air(key: MaskKey, box: sitk.Image, image: sitk.Image) -> Iterator[Remark]:
    values = seen_at(image, box)[sitk.GetArrayViewFromImage(box) != 0]
    share = float((values < _LUNG_HU).mean())
    if share > _LUNG_SHARE:
        yield Remark(360, Severity.WARNING, key, f"{100 * share:.0f} % of it is lung or gas, below {_LUNG_HU:.0f} HU")


def _outside_liver(key: MaskKey, mask: sitk.Image, liver: sitk.Image) -> Iterator[Remark]:
    if not sitk.GetArrayViewFromImage(liver).any():
        return
    near = box_around(sitk.GetArrayViewFromImage(mask), _SHELL)
    tumour = sitk.GetArrayViewFromImage(mask)[near] != 0
    inside = sitk.GetArrayViewFromImage(liver)[near] != 0
    share = float((tumour & ~inside).sum() / tumour.sum())
    severity = _severity(share, _OUTSIDE_LIVER)
    if not severity:
        return
    shell = ndimage.binary_dilation(tumour, iterations=_SHELL) & ~tumour
    touching = float((shell & inside).sum() / max(int(shell.sum()), 1))
    if touching >= _TOUCHING:
        text = f"{100 * share:.0f} % of it is not in the liver's mask, which goes around it"
        yield Remark(360, Severity.WARNING, key, text)
    else:
        yield Remark(360, severity, key, f"{100 * share:.0f} % of it is outside of the liver")


def _readers(key: MaskKey, mask: sitk.Image, first: sitk.Image | None) -> Iterator[Remark]:
    if first is None or cropped(first) is None:
        return
    overlap = dice(mask, first)
    if overlap < _LEAST_DICE:
        yield Remark(369, Severity.WARNING, key, f"Dice {overlap:.2f} with reader 1")


def _severity(share: float, steps: dict[float, Severity]) -> Severity | None:
    return max((severity for least, severity in steps.items() if share > least), default=None)
