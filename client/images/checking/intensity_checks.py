"""client/images/checking: intensities: HU of air, body and liver, and contrast from phase to phase.

Limits are wide: they find exports without a rescale, subtractions taken for images, and phases with each other's
names, not diseases. Without contrast medium a liver has about 50 to 65 HU, below 40 where it is fatty (in severe cases
near 0 or below) and up to about 130 where it holds iron (Boll & Merkle, RadioGraphics 2009; 29: 1591); in the portal
venous phase it should enhance by 50 HU (Bae, Radiology 2010; 256: 32).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import SimpleITK as sitk  # noqa: N813

from client.images.case import Scan
from client.images.checking.coarse import Floats, coarse_image, covered_by, cropped, seen_at
from client.images.checking.remark import Remark
from common.errors import Severity
from common.study.preparation import Preparation

LIVER_HU: Mapping[str, tuple[float, float]] = {
    "plain": (-20.0, 140.0),
    "arterial": (-10.0, 180.0),
    "portal": (20.0, 230.0),
    "delayed": (10.0, 210.0),
}
"""Limits of the liver's median by phase."""
AIR_HU = -500.0
"""Some part of nearly every CT is air, in the lungs or around the body; it has about -1000 HU."""
FAT_HU = -20.0
"""Some part of every CT, however cropped, is air or fat: what has neither is not in HU."""
SOFT_HU = (-150.0, 200.0)
"""Limits of the median of what is neither air nor lung."""

_COARSE_MM = 3.0
_NOT_AIR_HU = -300.0
_LEAST_RISE_HU = -10.0
_SATURATED = 0.01
_NEGATIVE = 0.05
_OVERSHOOT = 0.02
_RISING_CT = (("plain", "arterial"), ("plain", "portal"), ("plain", "delayed"), ("arterial", "portal"))
"""Pairs of phases of which the later shows a brighter liver: it is fed by the portal vein, and blood comes late."""
_RISING_MR = (("t1", "t1v"), ("t1", "t1d"))


def intensity_remarks(scan: Scan, preparation: Preparation) -> Iterator[Remark]:
    """What is odd about the intensities of every phase (362)."""
    ct = preparation.modality == "ct"
    livers: dict[str, float] = {}
    liver = _liver(scan, preparation.reference)
    for phase, read in scan.images.items():
        coarse = coarse_image(read.image, _COARSE_MM)
        values = sitk.GetArrayFromImage(coarse)
        where = scan.mask("liver", phase) or liver
        at = None if where is None else _median_in(coarse, where)
        if at is not None:
            livers[phase] = at
        yield from _ct(phase, values, at) if ct else _mr(phase, read.image)
    for before, after in _RISING_CT if ct else _RISING_MR:
        if before in livers and after in livers:
            yield from _rises(before, after, livers, ct)


def _liver(scan: Scan, reference: str) -> sitk.Image | None:
    """The liver, less the tumour where there is one: on the reference phase, for phases without a mask too."""
    liver = scan.mask("liver", reference)
    if liver is None:
        return None
    tumour = scan.mask("tumour", reference)
    return liver if tumour is None else sitk.And(liver, sitk.Not(sitk.Cast(tumour > 0, sitk.sitkUInt8)))


def _median_in(image: sitk.Image, mask: sitk.Image) -> float | None:
    box = cropped(mask)
    if box is None:
        return None
    inside = (sitk.GetArrayViewFromImage(box) != 0) & covered_by(image, box)
    return float(np.median(seen_at(image, box)[inside])) if inside.any() else None


def _ct(phase: str, values: Floats, liver: float | None) -> Iterator[Remark]:
    lowest = float(values.min())
    if lowest > FAT_HU:
        text = f"there is no air and no fat: the lowest value is {lowest:.0f}, which cannot be HU"
        yield Remark(362, Severity.ERROR, phase, text)
    elif lowest > AIR_HU:
        yield Remark(362, Severity.WARNING, phase, f"there is no air: the lowest value is {lowest:.0f} HU")
    tissue = values[values > _NOT_AIR_HU]
    if tissue.size:
        middle = float(np.median(tissue))
        yield from _within(phase, "the median of what is not air", middle, SOFT_HU, Severity.ERROR)
    if liver is not None and phase in LIVER_HU:
        yield from _within(phase, "the liver's median", liver, LIVER_HU[phase], Severity.WARNING)


def _within(phase: str, what: str, value: float, limits: tuple[float, float], severity: Severity) -> Iterator[Remark]:
    if not limits[0] <= value <= limits[1]:
        yield Remark(362, severity, phase, f"{what} is {value:.0f} HU, not {limits[0]:.0f} to {limits[1]:.0f}")


def _mr(phase: str, image: sitk.Image) -> Iterator[Remark]:
    """MR has no unit: what can be told is a scale that was cut off, and a difference that passes for an image."""
    values = sitk.GetArrayViewFromImage(image)
    top = values.max()
    lit = int((values != 0).sum())
    at_top = int((values == top).sum()) / max(lit, 1)
    if at_top > _SATURATED:
        text = f"{100 * at_top:.1f} % of what is not 0 has the highest value, {float(top):g}: it was cut off"
        yield Remark(362, Severity.WARNING, phase, text)
    # Interpolation leaves small negative values beside bright edges.
    below = int((values < -_OVERSHOOT * float(top)).sum()) / max(lit, 1)
    if below > _NEGATIVE and phase != "adc":
        text = f"{100 * below:.0f} % of what is not 0 is negative, as in a subtraction or a phase map"
        yield Remark(362, Severity.WARNING, phase, text)


def _rises(before: str, after: str, livers: Mapping[str, float], ct: bool) -> Iterator[Remark]:
    rise = livers[after] - livers[before]
    # Signals of MR are compared as shares: they have no unit, but phases of one series share their scale.
    least = _LEAST_RISE_HU if ct else -0.1 * abs(livers[before])
    # Late in the arterial phase the liver has begun to enhance; that it is darker later has no good cause.
    least = 0.0 if ct and before == "arterial" else least
    if rise < least:
        unit = " HU" if ct else ""
        text = (
            f"the liver is darker than on {before}: {livers[after]:.0f}, not {livers[before]:.0f}{unit}; do the two "
            "have each other's names?"
        )
        yield Remark(362, Severity.WARNING, after, text)
