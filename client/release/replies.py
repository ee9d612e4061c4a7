"""client/release: the reply store: the exact bytes that answered a question, so that a repeat gets the same.

A resumed server, or one that asks twice, can then never receive two different answers to one question, which
together would tell more than either (and would break any mask that hides them).
"""

from __future__ import annotations

from pathlib import Path

from common.federation.codec import Packed, from_bytes, to_bytes
from common.files import write_whole


class ReplyStore:
    """Released answers of one run, by key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> Packed | None:
        """The answer already given to this question, if any."""
        path = self._folder / f"{key}.npz"
        return from_bytes(path.read_bytes()) if path.exists() else None

    def put(self, key: str, answer: Packed) -> None:
        """Keep an answer; on return it is on disk."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(self._folder / f"{key}.npz", to_bytes(answer))
