"""tests: a small consortium with images of which nothing is read: what scanners did stands in the hospitals' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from client.cohort.site import Site
from client.preparation import images
from client.preparation.images import PreparedImages
from client.preparation.patient import Outcome
from common.study.preparation import Preparation
from tests.disclosure.consortium import POLICY, STUDY, Change, Consortium, Row, make

PREPARATION = """
[preparation]
modality = "ct"
phases = ["plain", "arterial", "portal"]
reference = "portal"

[preparation.radiomics]
regions = ["tumour"]
classes = ["firstorder"]
"""
HEAD = STUDY.partition("[[models]]")[0]
WITH_IMAGES = HEAD + PREPARATION

VENDORS = {"a": "Siemens", "b": "GE", "c": "Philips", "d": "GE", "e": "GE", "f": "Siemens"}
"""Of most patients of a hospital; three patients of c were scanned by Siemens, and of some nothing is known."""
FEW, UNKNOWN_EVERY = 3, 10
VOLTAGES = ("up to 90 kV", "over 90 to 110 kV", "over 110 to 130 kV")


def scanned(rows: list[Row]) -> None:
    """What scanners did, in the hospital's own table."""
    site = rows[0]["patient_id"][0]
    for i, row in enumerate(rows):
        vendor = "Siemens" if site == "c" and i < FEW else VENDORS[site]
        row["scanner_vendor"] = "" if i % UNKNOWN_EVERY == 9 else vendor
        row["tube_voltage"] = VOLTAGES[i % 3]


def _unread(site: Site, preparation: Preparation, patients: Sequence[str], *_: Any, **__: Any) -> PreparedImages:
    return PreparedImages(preparation, tuple(Outcome(patient) for patient in patients))


def consortium(
    folder: Path,
    change: Mapping[str, Change] | None = None,
    *,
    study: str = WITH_IMAGES,
    policies: Mapping[str, str] | None = None,
    masked: bool = True,
) -> Consortium:
    """The six hospitals, prepared; `policies` are those of hospitals that have another one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(images, "prepare_images", _unread)
        made = make(folder, dict.fromkeys("abcdef", scanned) if change is None else change, study=study, masked=masked)
    for site, policy in (policies or {}).items():
        path = made.folders[site] / "site.toml"
        text = path.read_text(encoding="utf-8")
        assert POLICY in text
        path.write_text(text.replace(POLICY, policy), encoding="utf-8")
    return made
