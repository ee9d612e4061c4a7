"""client/release: the reply store: the exact bytes that answered a question, so that a repeat gets the same.

A resumed server, or one that asks twice, can then never receive two different answers to one question, which
together would tell more than either (and would break any mask that hides them).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from common.federation.codec import Packed, from_bytes, to_bytes
from common.federation.query import Query, Task
from common.files import make_private, write_whole
from common.study.fingerprint import digest

ROUNDS_KEPT = 2
"""Of what is asked round after round, the rounds whose answers are kept: the last, and the one before."""


class ReplyStore:
    """Released answers of one run, by key and by the series of the question, if it is one of a series."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, question: Query | Task) -> Packed | None:
        """The answer already given to this question, if any."""
        path = self._place(question) / f"{key}.npz"
        return from_bytes(path.read_bytes()) if path.exists() else None

    def put(self, key: str, question: Query | Task, answer: Packed) -> None:
        """Keep an answer, and of its series no round but the last two; on return it is on disk."""
        place = self._place(question)
        make_private(place)
        write_whole(place / f"{key}.npz", to_bytes(answer))
        if place != self._folder:
            rounds = sorted((path for path in place.parent.iterdir()), key=lambda path: int(path.name))
            for old in rounds[:-ROUNDS_KEPT]:
                shutil.rmtree(old)

    def _place(self, question: Query | Task) -> Path:
        series = question.series if isinstance(question, Query) else None
        if series is None:
            return self._folder
        name, number = series
        return self._folder / digest(name) / str(number)
