"""client/release: the ledger: one line for everything that left the hospital, chained by hashes, never rewritten.

Each line is JSON; its `hash` covers the line without it, and `previous` is the hash of the line before. Changing,
removing or inserting a line anywhere breaks the chain there. A line is on disk before its answer leaves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.study.fingerprint import canonical_json, digest

GENESIS = "0" * 64


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
        line = {**entry, "time": datetime.now(UTC).isoformat(timespec="seconds"), "previous": self._head()}
        line["hash"] = digest(canonical_json(line))
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            file.write(canonical_json(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries, oldest first; a line that a crash cut short is passed over."""
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def verify(self) -> LedgerState:
        """Walk the chain."""
        previous, number = GENESIS, 0
        if not self._path.exists():
            return LedgerState(0, previous, 0)
        for number, raw in enumerate(self._path.read_bytes().splitlines(), start=1):
            try:
                line = json.loads(raw)
                claimed = line.pop("hash")
                whole = line["previous"] == previous and digest(canonical_json(line)) == claimed
            except (ValueError, KeyError, AttributeError):
                whole = False
            if not whole:
                return LedgerState(number - 1, previous, number)
            previous = claimed
        return LedgerState(number, previous, 0)

    def _head(self) -> str:
        """The hash of the last line, read from the file's end."""
        if not self._path.exists():
            return GENESIS
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65536))
            lines = file.read().splitlines()
        if not lines:
            return GENESIS
        try:
            return str(json.loads(lines[-1])["hash"])
        except (ValueError, KeyError):
            # A crash cut the last line short: the chain goes on from it, and `verify` will name the line.
            return digest(lines[-1])
