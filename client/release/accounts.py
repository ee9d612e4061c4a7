"""client/release: what a study and a run were given so far, as the ledger says, without reading all of it every time.

The ledger is the truth. What was counted up to one of its lines is kept beside the run, and counting goes on from that
line; where the ledger no longer has the line there, or nothing sound is kept, everything is counted again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.cohort.site import Site
from client.release.ledger import GENESIS, Ledger, Place, hash_of, ledger_file
from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.learning import RoundUpdate
from common.federation.signatures import Head
from common.files import write_whole
from common.study.fingerprint import canonical_json, digest

ANSWER = "answer"
"""What `left` says in the lines that count."""

EVERY = 200
"""After how many lines what was counted is kept."""

_BEGIN = Place(Head(0, GENESIS), 0)


@dataclass
class Account:
    """What was given.

    Attributes
    ----------
    answers, update_bytes
        Answers to the study in all its runs, and bytes of networks' updates; repeats count once. A run that is opened
        anew resets neither.
    given
        Names of the questions, with their rosters, that were answered in the run (`question_key`).
    place
        The line from which counting goes on next time.
    """

    answers: int = 0
    update_bytes: int = 0
    given: set[str] = field(default_factory=set)
    place: Place = _BEGIN

    def add(self, entry: dict[str, Any], run_id: str) -> None:
        """Count a line of the study."""
        if entry.get("left") != ANSWER:
            return
        if not entry["repeat"]:
            self.answers += 1
            self.update_bytes += entry["bytes"] if entry["query"] == RoundUpdate.name else 0
        if entry["run_id"] == run_id:
            self.given.add(question_key(entry["question"], entry["roster"]))


def question_key(question: str, roster: Sequence[str]) -> str:
    """Names a question, by its digest, put to these sites."""
    return digest(canonical_json([question, list(roster)]))


def account(site: Site, ticket: Ticket, run: Path) -> Account:
    """What the ticket's study, and its run, were given so far; `run` is the run's folder."""
    ledger, path = Ledger(ledger_file(site)), run / "account.json"
    kept = _read(path, ticket)
    found = kept if kept is not None and ledger.has(kept.place) else Account()
    counted, last, end = 0, b"", 0
    mark = ticket.study.encode()
    for last, end in ledger.since(found.place):  # noqa: B007 - the last line is the next place
        counted += 1
        entry = _entry(last) if mark in last else None  # lines of other studies are not even parsed
        if entry is not None and entry.get("study") == ticket.study:
            found.add(entry, ticket.run_id)
    if counted >= EVERY:
        found.place = Place(Head(found.place.head.lines + counted, hash_of(last)), end)
        _write(path, ticket, found)
    return found


def _entry(raw: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(raw)
    except ValueError:
        return None  # a line that a crash cut short
    return entry if isinstance(entry, dict) else None


def _write(path: Path, ticket: Ticket, found: Account) -> None:
    content = {
        "study": ticket.study,
        "run_id": ticket.run_id,
        "answers": found.answers,
        "update_bytes": found.update_bytes,
        "given": sorted(found.given),
        "lines": found.place.head.lines,
        "hash": found.place.head.hash,
        "end": found.place.end,
    }
    write_whole(path, canonical_json(content).encode())


def _read(path: Path, ticket: Ticket) -> Account | None:
    """What was kept; None for anything else than this run's."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if (told["study"], told["run_id"]) != (ticket.study, ticket.run_id):
            return None
        place = Place(Head(told["lines"], told["hash"]), int(told["end"]))
        return Account(int(told["answers"]), int(told["update_bytes"]), set(told["given"]), place)
    except (OSError, ValueError, KeyError, TypeError, FedmviError):
        return None
