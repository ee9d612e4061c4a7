"""client/images/checking: do the phases of a patient belong together: what they cover, how fine they are, motion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.images.case import Scan
from client.images.checking.coarse import coarse_image, covered_by, cropped
from client.images.checking.motion import FARTHEST_MM, shift_between
from client.images.checking.remark import Remark
from common.errors import Severity
from common.study.preparation import Preparation

MOVED_MM = 20.0
"""Shift of the liver between phases from which on it is told: more than breath-holds usually differ by."""
_TOLD_APART = 0.3
"""Correlation of edges below which no shift makes two phases look alike."""
_UNCOVERED = 0.05
_COARSER = 2.0
_TILTED = 0.05
_MARGIN_MM = 40.0
"""Where no liver is outlined, the tumour and this much around it is what is followed."""


def phase_remarks(scan: Scan, preparation: Preparation) -> Iterator[Remark]:
    """What is odd about every phase beside the reference phase.

    The tumour is not in its field of view (368), its slices are much thicker or tilted (368), or the patient moved
    (363). All of it is measured before registration, in the scanner's coordinates.
    """
    if preparation.reference not in scan.images:
        return
    reference = scan.images[preparation.reference].image
    tumour = scan.mask("tumour", preparation.reference)
    box = None if tumour is None else cropped(tumour)
    region = scan.mask("liver", preparation.reference)
    if (region is None or cropped(region) is None) and box is not None:
        region = _widened(box)
    for phase, read in scan.images.items():
        if phase == preparation.reference:
            continue
        yield from _fineness(phase, read.image, reference)
        if box is not None:
            yield from _coverage(phase, read.image, box, max(preparation.rings_mm, default=0.0))
        if region is not None and cropped(region) is not None:
            yield from _motion(phase, reference, read.image, region, preparation.modality == "ct")


def _fineness(phase: str, image: sitk.Image, reference: sitk.Image) -> Iterator[Remark]:
    thick, usual = max(image.GetSpacing()), max(reference.GetSpacing())
    if max(thick / usual, usual / thick) > _COARSER:
        yield Remark(368, Severity.NOTE, phase, f"slices {thick:.1f} mm apart, those of the reference {usual:.1f} mm")
    axes = np.abs(np.array(image.GetDirection()).reshape(3, 3).T @ np.array(reference.GetDirection()).reshape(3, 3))
    if np.any(np.minimum(axes, 1 - axes) > _TILTED):
        yield Remark(368, Severity.NOTE, phase, "slices are tilted against those of the reference")


def _coverage(phase: str, image: sitk.Image, box: sitk.Image, ring_mm: float) -> Iterator[Remark]:
    tumour = sitk.GetArrayViewFromImage(box) != 0
    lost = 1 - float(covered_by(image, box)[tumour].mean())
    if lost > _UNCOVERED:
        text = f"{100 * lost:.0f} % of the tumour is outside of its field of view"
        yield Remark(368, Severity.ERROR, phase, text)
        return
    pad = [int(np.ceil(ring_mm / spacing)) for spacing in box.GetSpacing()]
    around = sitk.ConstantPad(box, pad, pad)
    near = 1 - float(covered_by(image, around).mean())
    if lost or near:
        text = f"the tumour, or the {ring_mm:g} mm around it, reaches beyond its field of view"
        yield Remark(368, Severity.WARNING, phase, text)


def _widened(box: sitk.Image) -> sitk.Image:
    """The box of the tumour and what is around it, filled."""
    coarse = coarse_image(box, 5.0)
    pad = [int(np.ceil(_MARGIN_MM / spacing)) for spacing in coarse.GetSpacing()]
    padded = sitk.ConstantPad(coarse, pad, pad)
    filled: sitk.Image = sitk.Cast(padded * 0 + 1, sitk.sitkUInt8)
    return filled


def _motion(phase: str, reference: sitk.Image, image: sitk.Image, region: sitk.Image, ct: bool) -> Iterator[Remark]:
    shift = shift_between(reference, image, region, ct)
    if shift is None:
        return
    if shift.correlation < _TOLD_APART:
        reach = " x ".join(f"{mm:.0f}" for mm in FARTHEST_MM)
        text = (
            f"no shift up to {reach} mm makes it look like the reference phase (correlation of edges "
            f"{shift.correlation:.2f}): another patient, or another place?"
        )
        yield Remark(363, Severity.WARNING, phase, text)
    elif shift.length_mm > MOVED_MM:
        x, y, z = shift.mm
        where = f"left {x:+.0f}, back {y:+.0f}, head {z:+.0f}"
        text = f"it lies about {shift.length_mm:.0f} mm from the reference phase ({where})"
        yield Remark(363, Severity.WARNING, phase, text)
