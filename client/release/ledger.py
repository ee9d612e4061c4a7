"""client/release: the ledger: one line for everything that left the hospital, chained by hashes, never rewritten.

Each line is JSON; its `hash` covers the line without it, and `previous` is the hash of the line before. Changing any
byte, or removing or inserting a line, breaks the chain there; only lines cut off the end leave no gap, so whoever
must prove that none is missing keeps the last hash elsewhere. A line is on disk before its answer leaves.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.study.fingerprint import canonical_json, digest

GENESIS = "0" * 64
MAX_LINE = 1 << 20
"""Longest line in bytes; words that came over the wire are cut before they are recorded."""


@dataclass(frozen=True)
class LedgerState:
    """What `verify` found: number of whole lines, the last hash, and the first bad line (0 = none)."""

    lines: int
    head: str
    broken_at: int


class Ledger:
    """The ledger of one site."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry and return when it is on disk."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            head, cut = self._head()
            line = {**entry, "time": datetime.now(UTC).isoformat(timespec="seconds"), "previous": head}
            line["hash"] = digest(canonical_json(line))
            # After a crash the last line may lack its end; the new one must not be glued to it.
            file.write((b"\n" if cut else b"") + canonical_json(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries, oldest first; a line that a crash cut short is passed over."""
        yield from _parsed(self._lines())

    def of_study(self, study: str) -> Iterator[dict[str, Any]]:
        """The entries of all runs of one study, by its fingerprint, oldest first; others' lines are not even parsed."""
        mark = study.encode()
        for entry in _parsed(line for line in self._lines() if mark in line):
            if entry.get("study") == study:
                yield entry

    def verify(self) -> LedgerState:
        """Walk the chain."""
        previous, number = GENESIS, 0
        for number, raw in enumerate(self._lines(), start=1):
            try:
                line = json.loads(raw)
                # Byte for byte: other spellings of the same JSON were not written here.
                same = canonical_json(line).encode() == raw
                claimed = line.pop("hash")
                whole = same and line["previous"] == previous and digest(canonical_json(line)) == claimed
            except (ValueError, KeyError, AttributeError, TypeError):
                whole = False
            if not whole:
                return LedgerState(number - 1, previous, number)
            previous = claimed
        return LedgerState(number, previous, 0)

    def _lines(self) -> list[bytes]:
        """The lines without their ends; a last one that a crash left without its end counts."""
        content = self._path.read_bytes() if self._path.exists() else b""
        lines = content.split(b"\n")
        return lines if lines[-1] else lines[:-1]

    def _head(self) -> tuple[str, bool]:
        """The hash of the last line, read from the file's end, and whether that line lacks its end."""
        if not self._path.exists():
            return GENESIS, False
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_LINE))
            content = file.read()
        if not content:
            return GENESIS, False
        cut = not content.endswith(b"\n")
        last = content.removesuffix(b"\n").rsplit(b"\n", 1)[-1]
        try:
            return str(json.loads(last)["hash"]), cut
        except (ValueError, KeyError, TypeError):
            # A crash cut the last line short: the chain goes on from it, and `verify` will name the line.
            return digest(last), cut


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry
