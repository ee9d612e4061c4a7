"""common/study: a study's words are shown to people who approve it, so nothing in them may look like something else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def strange_text(study: dict[str, Any]) -> str | None:
    """A text of a study that cannot be printed as it is, if there is one; only its description has several lines.

    Terminals obey control characters, and a line can be forged by whoever can begin one.
    """
    head = {**study["study"], "description": study["study"]["description"].split("\n")}
    return strange_in({**study, "study": head})


def strange_in(value: object) -> str | None:
    """A text in nested tables and lists that cannot be printed as it is, if there is one."""
    return next((text for text in _texts(value) if not text.isprintable()), None)


def _texts(value: object) -> Iterator[str]:
    """Every text, names of tables and columns among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
