"""common/study: facts of how images were acquired, in words of a public vocabulary: vendor, voltage, spacing, timing.

What a header says is free text and numbers, and may name a hospital, a device or a moment. A site keeps of it nothing
but one of these levels for each fact, so that nothing else can leave; what no level stands for is not known.

Bands of times are around those that are usual in the liver (late arterial phase about 35 s after injection, portal
venous phase 35 to 55 s later: Wald et al., Radiology 2013; 266: 376); bands of the slices' distance part thin slices
from those of 3 and 5 mm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.study.preparation import Preparation

UNKNOWN = "unknown"
"""Stands in tables for patients of whom a fact is not known; it is no level."""

OTHER = "other"


@dataclass(frozen=True)
class Bands:
    """A measured fact as levels.

    Attributes
    ----------
    label
        For readers.
    edges
        Upper ends of all bands but the last, each part of its band.
    levels
        One more than edges.
    least, most
        What lies outside is no such measurement, and not known.
    """

    label: str
    edges: tuple[float, ...]
    levels: tuple[str, ...]
    least: float = 0.0
    most: float = math.inf

    def level(self, value: float | None) -> str | None:
        """The band of a measurement; None where it is missing or cannot be one."""
        if value is None or not math.isfinite(value) or not self.least <= value <= self.most:
            return None
        return self.levels[sum(value > edge for edge in self.edges)]


def _bands(label: str, unit: str, edges: tuple[float, ...], least: float, most: float) -> Bands:
    """Bands in words: up to, over ... to, over."""
    between = (f"over {low:g} to {high:g} {unit}" for low, high in pairwise(edges))
    return Bands(label, edges, (f"up to {edges[0]:g} {unit}", *between, f"over {edges[-1]:g} {unit}"), least, most)


TUBE_VOLTAGE = _bands("Tube voltage", "kV", (90.0, 110.0, 130.0), 40.0, 200.0)
SLICE_SPACING = _bands("Distance of slices", "mm", (1.5, 3.0, 5.0), 0.05, 50.0)
PIXEL_SPACING = _bands("Width of pixels", "mm", (0.7, 0.85, 1.0), 0.05, 20.0)
CONTRAST_DELAY_ARTERIAL = _bands("Arterial phase after the injection", "s", (20.0, 30.0, 40.0, 60.0), 1.0, 300.0)
ARTERIAL_TO_PORTAL = _bands("From the arterial to the portal venous phase", "s", (20.0, 30.0, 40.0, 60.0), 1.0, 600.0)
PLAIN_TO_ARTERIAL = _bands("From the plain to the arterial phase", "min", (2.0, 5.0, 15.0), 0.0, 180.0)

_VENDORS = (
    ("Siemens", re.compile(r"\bsiemens\b")),
    ("GE", re.compile(r"\bge\b|\bgeneral electric\b|\bgems\b")),
    ("Philips", re.compile(r"\bphilips\b|\bmarconi\b|\bpicker\b")),
    ("Canon or Toshiba", re.compile(r"\bcanon|\btoshiba")),
    ("United Imaging", re.compile(r"\bunited imaging\b|\buih\b|\buihealthcare\b")),
    ("Fujifilm or Hitachi", re.compile(r"\bfujifilm\b|\bhitachi\b")),
)
_TESLA = (("1.5 T", 1.35, 1.65), ("3 T", 2.7, 3.3))
_PHASE_COUNTS = ("1", "2", "3", "4", "5", "6 or more")

_TIMED: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {"ct": ("plain", "arterial", "portal"), "mr": ("t1", "t1a", "t1v")}
)
"""By modality the phases that contrast timing is about: before contrast, arterial, portal venous."""

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "scanner_vendor": "Scanner's vendor",
        "field_strength": "Field strength",
        "tube_voltage": TUBE_VOLTAGE.label,
        "slice_spacing": SLICE_SPACING.label,
        "pixel_spacing": PIXEL_SPACING.label,
        "phase_count": "Phases of the examination",
        "contrast_delay_arterial": CONTRAST_DELAY_ARTERIAL.label,
        "arterial_to_portal": ARTERIAL_TO_PORTAL.label,
        "plain_to_arterial": PLAIN_TO_ARTERIAL.label,
    }
)
"""Every fact, by its name as a variable, with how reports print it."""

LEVELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "scanner_vendor": (*(name for name, _ in _VENDORS), OTHER),
        "field_strength": (*(name for name, _, _ in _TESLA), OTHER),
        "tube_voltage": TUBE_VOLTAGE.levels,
        "slice_spacing": SLICE_SPACING.levels,
        "pixel_spacing": PIXEL_SPACING.levels,
        "phase_count": _PHASE_COUNTS,
        "contrast_delay_arterial": CONTRAST_DELAY_ARTERIAL.levels,
        "arterial_to_portal": ARTERIAL_TO_PORTAL.levels,
        "plain_to_arterial": PLAIN_TO_ARTERIAL.levels,
    }
)
"""The levels of every fact: all that may ever be kept of it."""


def vendor(written: str) -> str | None:
    """The level of `scanner_vendor` of a header's Manufacturer; None where nothing is written."""
    words = re.sub(r"[\W_]+", " ", written.casefold()).strip()
    return next((name for name, pattern in _VENDORS if pattern.search(words)), OTHER) if words else None


def field_strength(tesla: float | None) -> str | None:
    """The level of `field_strength`; None where the headers do not say, or name no strength of a scanner for people."""
    if tesla is None or not 0.01 <= tesla <= 15.0:
        return None
    return next((name for name, low, high in _TESLA if low <= tesla <= high), OTHER)


def phase_count(phases: int) -> str | None:
    """The level of `phase_count`; None of a patient without images."""
    return _PHASE_COUNTS[min(phases, len(_PHASE_COUNTS)) - 1] if phases > 0 else None


def timed_phases(modality: str) -> tuple[str, str, str]:
    """The phases before contrast, arterial and portal venous, as the modality calls them."""
    return _TIMED[modality]


def acquisition_facts(preparation: Preparation | None) -> tuple[str, ...]:
    """The facts that a preparation keeps of every patient, in order; none in a study without images."""
    if preparation is None:
        return ()
    phases = set(preparation.phases)
    plain, arterial, portal = timed_phases(preparation.modality)
    there = {
        "field_strength": preparation.modality == "mr",
        "tube_voltage": preparation.modality == "ct",
        "phase_count": bool(preparation.optional),
        "contrast_delay_arterial": arterial in phases,
        "arterial_to_portal": {arterial, portal} <= phases,
        "plain_to_arterial": {plain, arterial} <= phases,
    }
    return tuple(name for name in LEVELS if there.get(name, True))
