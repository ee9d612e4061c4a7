"""client/release: the reply store: the exact bytes that answered a question, so that a repeat gets the same.

A resumed server, or one that asks twice, can then never receive two different answers to one question, which
together would tell more than either (and would break any mask that hides them).

The answers of one message are one file, a bundle: a line of JSON that says by key where each answer begins, how long
it is and its SHA-256, and behind it the answers. Answers of a series (rounds of a network's training) are files of
their own, because old rounds are removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from common.errors import FedmviError
from common.federation.codec import Packed, from_bytes, to_bytes
from common.federation.query import Query, Task
from common.files import make_private, write_whole
from common.study.fingerprint import canonical_json, digest

ROUNDS_KEPT = 2
"""Of what is asked round after round, the rounds whose answers are kept: the last, and the one before."""

BUNDLE = ".bundle"

MAX_BUNDLE = 64 * 1024 * 1024
"""Bytes of answers after which the rest of a message goes into a further bundle, so that memory holds no more twice."""

_SHA = 64

Place = tuple[int, int, str]
"""Where an answer is in its bundle: first byte, length in bytes, SHA-256."""


class ReplyStore:
    """Released answers of one run, by key and by the series of the question, if it is one of a series."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: dict[Path, dict[str, Packed]] = {}

    def get(self, key: str, question: Query | Task) -> Packed | None:
        """The answer already given to this question, if any; error 501 if it, or a bundle's index, is damaged."""
        path = self._place(question) / f"{key}.npz"
        if path.exists():
            return from_bytes(path.read_bytes())
        if key not in self._bundled:
            return None
        bundle, place = self._bundled[key]
        return from_bytes(_cut_out(bundle, place))

    def put(self, key: str, question: Query | Task, answer: Packed) -> None:
        """Take an answer, which must not leave before `write` has kept it."""
        self._waiting.setdefault(self._place(question), {})[key] = answer

    def write(self) -> None:
        """Keep what was put, and of each series no round but the last two; on return it is on disk."""
        for place, answers in self._waiting.items():
            make_private(place)
            if place == self._folder:
                for part in _parts(answers):
                    write_whole(place / f"{digest(canonical_json(sorted(part)))}{BUNDLE}", bundle_of(part))
                continue
            for key, answer in answers.items():
                write_whole(place / f"{key}.npz", to_bytes(answer))
            rounds = sorted(place.parent.iterdir(), key=lambda path: int(path.name))
            for old in rounds[:-ROUNDS_KEPT]:
                shutil.rmtree(old)
        self._waiting = {}
        self.__dict__.pop("_bundled", None)

    def count(self) -> int:
        """How many answers are kept."""
        return len(self._bundled) + sum(1 for _ in self._folder.rglob("*.npz"))

    @cached_property
    def _bundled(self) -> dict[str, tuple[Path, Place]]:
        """By key, the bundle of an answer and its place there; the first line of every bundle is all that is read."""
        paths = sorted(self._folder.glob(f"*{BUNDLE}"))
        return {key: (path, place) for path in paths for key, place in _index(path).items()}

    def _place(self, question: Query | Task) -> Path:
        series = question.series if isinstance(question, Query) else None
        if series is None:
            return self._folder
        name, number = series
        return self._folder / digest(name) / str(number)


def bundle_of(answers: Mapping[str, Packed]) -> bytes:
    """The content of a bundle."""
    index, contents, end = {}, [], 0
    for key, answer in answers.items():
        content = to_bytes(answer)
        index[key] = (end, len(content), digest(content))
        contents.append(content)
        end += len(content)
    return b"".join([canonical_json(index).encode(), b"\n", *contents])


def _parts(answers: Mapping[str, Packed]) -> Iterator[dict[str, Packed]]:
    """The answers in their order, cut where a bundle is full."""
    part: dict[str, Packed] = {}
    size = 0
    for key, answer in answers.items():
        if part and size + answer.nbytes > MAX_BUNDLE:
            yield part
            part, size = {}, 0
        part[key] = answer
        size += answer.nbytes
    if part:
        yield part


def _index(path: Path) -> dict[str, Place]:
    """A bundle's places, counted from the file's beginning; error 501 for a first line that is no index."""
    with path.open("rb") as file:
        line = file.readline()
    try:
        if not line.endswith(b"\n"):
            raise ValueError("the index is cut short")
        told = json.loads(line)
        found = {str(key): (len(line) + int(at), int(size), str(sha)) for key, (at, size, sha) in told.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FedmviError(501, f"{path}: {error}") from error
    if not all(at >= len(line) and size >= 0 and len(sha) == _SHA for at, size, sha in found.values()):
        raise FedmviError(501, str(path))
    return found


def _cut_out(path: Path, place: Place) -> bytes:
    at, size, sha = place
    with path.open("rb") as file:
        file.seek(at)
        content = file.read(size)
    if digest(content) != sha:
        raise FedmviError(501, f"{path} is damaged from byte {at} on")
    return content
