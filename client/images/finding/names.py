"""client/images/finding: names of files by the convention: `<phase>.nii.gz`, `[<phase>.]<region>[.reader2].nii.gz`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from client.images.finding.manifest import KNOWN_PHASES

ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".dcm")
"""Endings of files that are images or masks; `.seg.nrrd` is 3D Slicer's."""

_READER = re.compile(r"reader([1-9][0-9]?)")


class MaskName(NamedTuple):
    """What the name of a mask says; no phase means the study's reference."""

    region: str
    reader: int
    phase: str


def stem(path: Path) -> str:
    """The name in small letters without its ending; "" where the ending is not one of images."""
    name = path.name.lower()
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), "")


def mask_named(path: Path) -> MaskName | None:
    """What a mask's name says; None where it is not one of the convention."""
    parts = stem(path).split(".")
    reader = _READER.fullmatch(parts[-1]) if len(parts) > 1 else None
    if reader:
        parts.pop()
    phase = parts.pop(0) if len(parts) > 1 else ""
    if len(parts) != 1 or not parts[0] or (phase and phase not in KNOWN_PHASES):
        return None
    return MaskName(parts[0], int(reader[1]) if reader else 1, phase)
