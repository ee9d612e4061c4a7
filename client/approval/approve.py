"""client/approval: approving a study, and taking it back: the list in site.toml, a record of who did so, and the sheet.

What counts is the list: the gate reads site.toml at every message, so a study that is taken off is refused (401) from
the next question on, in runs that are open too. An answer that is being made meanwhile does not leave.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from client.approval.policy_file import approve_in_file, disapprove_in_file
from client.approval.records import read_record, recorded_study, write_record
from client.approval.sheet import write_sheet
from client.approval.telling import Told
from client.cohort.site import Site, deciding, refuse_root_at
from common.errors import FedmviError
from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study, parse_study
from common.study.protocol import Study

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_BY = 80


@dataclass(frozen=True)
class Approved:
    """What an approval wrote; `fresh` is False where the study was approved already."""

    fingerprint: str
    record: Path
    sheet: Path
    fresh: bool


def approve(site: Site, study: Study, protocol: bytes, told: Told, by: str) -> Approved:
    """Approve a study that was shown, `told`; the record and the sheet first, the list in site.toml last.

    Raises
    ------
    FedmviError
        728 root in another user's folder, 760 the list cannot be changed safely: the study is not approved then.
    """
    refuse_root_at(site)
    fingerprint = study_fingerprint(study)
    who = plain(by)
    with deciding(site):
        fresh = fingerprint not in site.policy.approved_studies
        record = write_record(site, study, "approved", who, protocol)
        sheet = record.with_suffix(".html")
        write_sheet(sheet, told, who)
        note = f"{study.study.name}, {date.today().isoformat()}" + (f", {who}" if who else "")
        approve_in_file(site, fingerprint, note)
    return Approved(fingerprint, record, sheet, fresh)


def disapprove(site: Site, named: str, by: str) -> str:
    """Take a study, named by its file or its fingerprint, off the list; returns the fingerprint.

    Raises
    ------
    FedmviError
        761 it is not on the list, 762 the site approves any study, 760 the list cannot be changed safely, 728 root in
        another user's folder; and those of `load_study`.
    """
    refuse_root_at(site)
    fingerprint = named if _FINGERPRINT.fullmatch(named) else study_fingerprint(load_study(Path(named)))
    if fingerprint not in site.policy.approved_studies and "any" in site.policy.approved_studies:
        raise FedmviError(762)
    with deciding(site):
        # First the list, which counts; then the record of it.
        disapprove_in_file(site, fingerprint)
        study = recorded_study(site, fingerprint)
        if study is not None and read_record(site, fingerprint) is not None:
            write_record(site, study, "withdrawn", plain(by), None)
    return fingerprint


def plain(by: str) -> str:
    """A person's name on one line, without what could end a comment or a record."""
    return "".join(c for c in by if c.isprintable())[:_BY].strip()


def read_protocol(path: Path) -> tuple[Study, bytes]:
    """A study and the bytes that it was read from: what is kept is what was shown.

    Raises
    ------
    FedmviError
        Those of `load_study`.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return load_study(path), b""  # which says what is wrong
    try:
        return parse_study(content.decode("utf-8"), path.name), content
    except UnicodeDecodeError:
        return load_study(path), content
