"""client/release: what runs were told, on disk: one file a run, whole or not there, and the sets of patients beside it.

Each line of `runs/<run>.txt` is a key (of a cohort or of a statistic), a space, and what the run was told of it. It
names sets of patients by their digests, and says where they are: in a file of `patients`, which holds those that one
message added. What an earlier version kept, one file a key and one a set, is read as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from common.errors import FedmviError
from common.files import make_private, write_whole
from common.study.fingerprint import canonical_json, digest

FOLDER = "differencing"
"""Of the store."""

PARTS = frozenset({"run", "roster", "patients"})
"""What an entry has at least."""

_KEY = 64

Place = tuple[str, int, int]
"""Where a set of patients is: file, first byte, length in bytes."""


class Told:
    """The record of a site as one message of a run finds it, and what the message adds."""

    def __init__(self, store: Path, run_id: str) -> None:
        self._folder, self._own = store / FOLDER, f"{run_id}.txt"
        self._new: list[tuple[str, dict[str, Any]]] = []
        self._sets: dict[str, bytes] = {}
        self._places: dict[str, Place] = {}

    def of(self, key: str) -> list[dict[str, Any]]:
        """What all runs, this one and its message included, were told of a cohort or statistic.

        Raises
        ------
        FedmviError
            422 the record is damaged.
        """
        path = self._folder / f"{key}.json"
        told = read_told(path, PARTS)
        for file, line in self._lines.get(key, ()):
            told.append(_entry(file, line))
        for entry in told:
            self._places.update(_places(entry))
        return told + [entry for own, entry in self._new if own == key]

    def add(self, key: str, entry: Mapping[str, Any], sets: Mapping[str, bytes]) -> None:
        """Take what the run is told now, with the contents of the sets that it names; it must not leave before
        `write`."""
        self._new.append((key, dict(entry)))
        self._places.update(self._own_places)
        for name, content in sets.items():
            if name not in self._places and not self._path_of(name).exists():
                self._sets[name] = content

    def content(self, name: str) -> bytes:
        """A set of patients by its digest; error 422 if it is lost or damaged."""
        if name in self._sets:
            return self._sets[name]
        file, begin, size = self._places.get(name, (name, 0, -1))
        path = self._path_of(file)
        try:
            with path.open("rb") as opened:
                opened.seek(begin)
                content = opened.read(size)
        except OSError as error:
            raise FedmviError(422, f"{path}: {error}") from error
        if digest(content) != name:
            raise FedmviError(422, str(path))
        return content

    def write(self) -> None:
        """Put on disk what was added, the sets before the lines that name them."""
        if not self._new:
            return
        self._write_sets()
        path = self._folder / "runs" / self._own
        lines = path.read_bytes() if path.exists() else b""
        for key, entry in self._new:
            kept = {name: self._places[name] for name in entry["patients"] if name in self._places}
            lines += f"{key} {canonical_json({**entry, 'kept': kept})}\n".encode()
        make_private(path.parent)
        write_whole(path, lines)
        self._new = []
        self.__dict__.pop("_lines", None)

    def _write_sets(self) -> None:
        if not self._sets:
            return
        content = b"".join(self._sets.values())
        file, begin = digest(content), 0
        make_private(self._path_of(file).parent)
        write_whole(self._path_of(file), content)
        for name, part in self._sets.items():
            self._places[name] = (file, begin, len(part))
            begin += len(part)
        self._sets = {}

    def _path_of(self, file: str) -> Path:
        return self._folder / "patients" / file

    @cached_property
    def _own_places(self) -> dict[str, Place]:
        """Where the run's sets are, of whatever key: most of its statistics are about the same patients."""
        own = ((path, line) for lines in self._lines.values() for path, line in lines if path.name == self._own)
        return {name: place for path, line in own for name, place in _places(_entry(path, line)).items()}

    @cached_property
    def _lines(self) -> dict[str, list[tuple[Path, bytes]]]:
        """By key the lines of all runs, which are parsed only where they are asked for."""
        found: dict[str, list[tuple[Path, bytes]]] = {}
        for path in sorted((self._folder / "runs").glob("*.txt")):
            lines = path.read_bytes().split(b"\n")
            if lines.pop() or not lines:
                raise FedmviError(422, f"{path} does not end with a line")
            for line in lines:
                if line[_KEY : _KEY + 1] != b" ":
                    raise FedmviError(422, f"{path}: a line without a key")
                found.setdefault(line[:_KEY].decode("ascii", "replace"), []).append((path, line[_KEY + 1 :]))
        return found


def read_told(path: Path, parts: Collection[str]) -> list[dict[str, Any]]:
    """The entries of a JSON file of what runs were told, each with these parts; error 422 if it is damaged."""
    if not path.exists():
        return []
    try:
        entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if not all(set(parts) <= set(entry) for entry in entries):
            raise ValueError("an entry lacks something")
    except (OSError, ValueError, TypeError) as error:
        raise FedmviError(422, f"{path}: {error}") from error
    return entries


def _entry(path: Path, line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict) or not set(entry) >= PARTS:
            raise ValueError("an entry lacks something")
    except (ValueError, RecursionError) as error:
        raise FedmviError(422, f"{path}: {error}") from error
    return entry


def _places(entry: Mapping[str, Any]) -> dict[str, Place]:
    """Where an entry says that its sets are; nothing in one of an earlier version, whose sets are files of their own.

    A name that is no digest would be a path of somebody's choice.
    """
    try:
        told = {name: (str(file), int(begin), int(size)) for name, (file, begin, size) in entry.get("kept", {}).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise FedmviError(422, str(error)) from error
    if not all(file.isalnum() and begin >= 0 and size >= 0 for file, begin, size in told.values()):
        raise FedmviError(422, "a place that is none")
    return told
