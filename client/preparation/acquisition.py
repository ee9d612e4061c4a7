"""client/preparation: how a patient's images were acquired, as levels of the public vocabulary and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from client.images.case import Scan
from client.images.reading.slices import read_moment
from common.study.acquisition import (
    ARTERIAL_TO_PORTAL,
    CONTRAST_DELAY_ARTERIAL,
    PIXEL_SPACING,
    PLAIN_TO_ARTERIAL,
    SLICE_SPACING,
    TUBE_VOLTAGE,
    acquisition_facts,
    field_strength,
    phase_count,
    timed_phases,
    vendor,
)
from common.study.preparation import Preparation

Acquired = Mapping[str, str]
"""A level for each fact that is known, by the fact's name."""


def acquired(scan: Scan, preparation: Preparation) -> Acquired:
    """What images and headers tell of the facts that the study keeps; a fact that they do not tell is absent.

    Device and spacing are the reference phase's.
    """
    plain, arterial, portal = timed_phases(preparation.modality)
    known = {
        "phase_count": phase_count(sum(phase in scan.images for phase in preparation.phases)),
        "contrast_delay_arterial": CONTRAST_DELAY_ARTERIAL.level(_delay(scan, arterial)),
        "arterial_to_portal": ARTERIAL_TO_PORTAL.level(_between(scan, arterial, portal)),
        "plain_to_arterial": PLAIN_TO_ARTERIAL.level(_minutes(_between(scan, plain, arterial))),
    }
    reference = scan.images.get(preparation.reference)
    if reference is not None:
        about, (across, along, between) = reference.about, reference.image.GetSpacing()
        known |= {
            "scanner_vendor": vendor(about.manufacturer),
            "tube_voltage": TUBE_VOLTAGE.level(about.kilovolt),
            "field_strength": field_strength(about.tesla),
            "pixel_spacing": PIXEL_SPACING.level(max(across, along)),
            "slice_spacing": SLICE_SPACING.level(between),
        }
    return {name: level for name in acquisition_facts(preparation) if (level := known[name]) is not None}


def _delay(scan: Scan, phase: str) -> float | None:
    return scan.images[phase].about.seconds if phase in scan.images else None


def _between(scan: Scan, first: str, second: str) -> float | None:
    """Seconds from one phase to another, where the headers of both say when they were acquired.

    Of two studies, or with a date that only one of them has, it is no plausible time, and no level is its.
    """
    if first not in scan.images or second not in scan.images:
        return None
    earlier, later = (read_moment(scan.images[phase].about.acquired) for phase in (first, second))
    return (later - earlier).total_seconds() if earlier is not None and later is not None else None


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60.0
