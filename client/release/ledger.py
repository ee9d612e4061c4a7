"""client/release: the ledger: one line for everything that left the hospital, chained by hashes, never rewritten.

Each line is JSON; its `hash` covers the line without it, and `previous` is the hash of the line before. Changing any
byte, or removing or inserting a line, breaks the chain there. Lines cut off the end leave no gap: they are missed by
the head that the coordinator has countersigned (`countersigned`). A line is on disk before its answer leaves.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from client.cohort.site import Site
from common.errors import FedmviError
from common.federation.signatures import Head
from common.files import make_private, sync_folder
from common.study.fingerprint import canonical_json, digest

GENESIS = "0" * 64
MAX_LINE = 1 << 20
"""Longest line in bytes; words that came over the wire are cut before they are recorded."""


def ledger_file(site: Site) -> Path:
    """Where a site's ledger is."""
    return site.store / "ledger.jsonl"


@dataclass(frozen=True)
class LedgerState:
    """What `verify` found.

    Attributes
    ----------
    lines, head
        How many lines hold together, and the last hash.
    broken_at
        The first line that does not, 0 if there is none.
    cut
        Lines that a crash or a full disk cut short; the chain went on from what was left of them.
    """

    lines: int
    head: str
    broken_at: int
    cut: tuple[int, ...] = ()


@dataclass(frozen=True)
class Place:
    """A line of a ledger: how far the ledger goes with it, and where it ends in the file, in bytes."""

    head: Head
    end: int


class Ledger:
    """The ledger of one site."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, *entries: Mapping[str, Any]) -> None:
        """Add entries, in this order, and return when all of them are on disk: they are flushed together.

        A crash before that may leave the first of them, and a part of one, which `verify` passes over.
        """
        if not entries:
            return
        make_private(self._path.parent)
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            first, cut = self._last()
            head, now = first, datetime.now(UTC).isoformat(timespec="seconds")
            # After a crash the last line may lack its end; the new one must not be glued to it.
            lines = [b"\n"] if cut else []
            for entry in entries:
                line = {**entry, "time": now, "previous": head}
                line["hash"] = head = digest(canonical_json(line))
                lines.append(canonical_json(line).encode() + b"\n")
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
            if first == GENESIS:
                sync_folder(self._path.parent)  # the file's name

    def entries(self) -> Iterator[dict[str, Any]]:
        """All entries, oldest first; a line that a crash cut short is passed over."""
        yield from _parsed(self.lines())

    def since(self, place: Place) -> Iterator[tuple[bytes, int]]:
        """The lines after a place that the ledger has, without their ends, each with where it ends in the file.

        A last line that lacks its end is none yet.
        """
        end = place.end
        with self._open(end) as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                end += len(raw)
                yield raw[:-1], end

    def verify(self) -> LedgerState:
        """Walk the chain.

        A line that was cut short holds together if the next one was made after it: a crash must not hide what was
        changed behind it.
        """
        previous, cut, number = GENESIS, [], 0
        raws = self.lines()
        for number, raw in enumerate(raws, start=1):
            line = whole_line(raw)
            if line is not None and line["previous"] == previous:
                previous = line["hash"]
            elif number < len(raws) and _was_cut(raw, raws[number]):
                cut.append(number)
                previous = digest(raw)
            else:
                return LedgerState(number - 1, previous, number, tuple(cut))
        return LedgerState(number, previous, 0, tuple(cut))

    def lines(self) -> list[bytes]:
        """The lines without their ends; a last one that a crash left without its end counts."""
        content = self._path.read_bytes() if self._path.exists() else b""
        lines = content.split(b"\n")
        return lines if lines[-1] else lines[:-1]

    def head(self, known: Place | None = None) -> Head:
        """How far the ledger goes; quicker from a line whose place is known."""
        start = known if known is not None and self.has(known) else Place(Head(0, GENESIS), 0)
        lines, cut = start.head.lines, False
        with self._open(start.end) as file:
            while chunk := file.read(MAX_LINE):
                lines, cut = lines + chunk.count(b"\n"), not chunk.endswith(b"\n")
        return Head(lines + cut, self._last()[0])

    def find(self, head: Head, known: Place | None = None) -> Place | None:
        """Where the line is with which the ledger goes as far as this head; None if it has no such line.

        The hashes are those that the lines say they have: `verify` computes them. Quicker from a line before that one
        whose place is known.
        """
        near = known is not None and known.head.lines <= head.lines and self.has(known)
        place = known if near and known is not None else Place(Head(0, GENESIS), 0)
        if place.head == head:
            return place
        number, end = place.head.lines, place.end
        with self._open(end) as file:
            for raw in file:
                number, end = number + 1, end + len(raw)
                if number == head.lines:
                    return Place(head, end) if hash_of(raw.rstrip(b"\n")) == head.hash else None
        return None

    def has(self, place: Place) -> bool:
        """Whether a line with the hash of that place ends there."""
        if not place.end:
            return place.head == Head(0, GENESIS)
        if not self._path.exists() or self._path.stat().st_size < place.end:
            return False
        with self._path.open("rb") as file:
            file.seek(max(0, place.end - MAX_LINE))
            content = file.read(place.end - file.tell())
        return content.endswith(b"\n") and hash_of(content[:-1].rsplit(b"\n", 1)[-1]) == place.head.hash

    def _open(self, start: int) -> BinaryIO:
        make_private(self._path.parent)
        file = os.fdopen(os.open(self._path, os.O_RDONLY | os.O_CREAT, 0o600), "rb")
        file.seek(start)
        return file

    def _last(self) -> tuple[str, bool]:
        """The hash of the last line, read from the file's end, and whether that line lacks its end."""
        if not self._path.exists():
            return GENESIS, False
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_LINE))
            content = file.read()
        if not content:
            return GENESIS, False
        return hash_of(content.removesuffix(b"\n").rsplit(b"\n", 1)[-1]), not content.endswith(b"\n")


def whole_line(raw: bytes) -> dict[str, Any] | None:
    """A line whose hash is that of its content; None for any other, and for other spellings of the same JSON."""
    try:
        line: dict[str, Any] = json.loads(raw)
        # Byte for byte: other spellings were not written here.
        if canonical_json(line).encode() != raw:
            return None
        content = {name: value for name, value in line.items() if name != "hash"}
        whole = digest(canonical_json(content)) == line["hash"] and isinstance(line["previous"], str)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    return line if whole else None


def _was_cut(raw: bytes, following: bytes) -> bool:
    """Whether a line is no JSON, and the next one says that it was made after just these bytes."""
    after = whole_line(following)
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return after is not None and after["previous"] == digest(raw)
    return False


def hash_of(raw: bytes) -> str:
    """What a line says is its hash; of one that a crash cut short its digest: the chain goes on from it."""
    try:
        claimed = json.loads(raw)["hash"]
        return Head(0, claimed).hash
    except (ValueError, KeyError, TypeError, RecursionError, FedmviError):
        return digest(raw)


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry
