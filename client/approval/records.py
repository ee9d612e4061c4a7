"""client/approval: who approved which study here, and when: one record a study, with the protocol as it was read.

`<store>/approvals/<fingerprint>.json` is the hospital's own file. What counts for the gate is `approved_studies` in
site.toml, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from client.cohort.site import Site
from common.files import make_private, sync_folder, write_whole
from common.study.declarations import as_tuples
from common.study.fingerprint import study_fingerprint
from common.study.protocol import Study

FOLDER = "approvals"
Decision = Literal["approved", "withdrawn"]


@dataclass(frozen=True)
class Record:
    """The record of one study.

    Attributes
    ----------
    fingerprint, name
        Of the study.
    decisions
        What was decided, when and by whom, oldest first.
    """

    fingerprint: str
    name: str
    decisions: tuple[dict[str, Any], ...]


def _folder(site: Site) -> Path:
    return site.store / FOLDER


def write_record(site: Site, study: Study, decision: Decision, by: str, protocol: bytes | None) -> Path:
    """Add a decision to a study's record; returns the record.

    Parameters
    ----------
    protocol
        The study's file, of which a copy is kept beside; None where there is none at hand.
    """
    fingerprint = study_fingerprint(study)
    path = _folder(site) / f"{fingerprint}.json"
    make_private(path.parent)
    sync_folder(site.store)
    known = read_record(site, fingerprint)
    taken = {
        "decision": decision,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": by,
        "policy": site.policy.model_dump(mode="json", exclude={"approved_studies"}),
    }
    content = {
        "fingerprint": fingerprint,
        "study": study.model_dump(mode="json"),
        "decisions": [*(known.decisions if known else ()), taken],
    }
    if protocol is not None:
        write_whole(path.with_suffix(".toml"), protocol)
    write_whole(path, (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
    return path


def read_record(site: Site, fingerprint: str) -> Record | None:
    """The record of a study, if there is a whole one."""
    try:
        content = json.loads((_folder(site) / f"{fingerprint}.json").read_text(encoding="utf-8"))
        return Record(fingerprint, str(content["study"]["study"]["name"]), tuple(content["decisions"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def recorded_study(site: Site, fingerprint: str) -> Study | None:
    """The protocol of a record, if it is whole and has that fingerprint."""
    try:
        content = json.loads((_folder(site) / f"{fingerprint}.json").read_text(encoding="utf-8"))
        study = Study.model_validate(as_tuples(content["study"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return study if study_fingerprint(study) == fingerprint else None


def approved_protocols(site: Site) -> Iterator[Study]:
    """The protocols of all records, whatever was decided last."""
    for path in sorted(_folder(site).glob("*.json")):
        study = recorded_study(site, path.stem)
        if study is not None:
            yield study
