"""tests/docs: the rounds and messages of shipped studies, as the page on the network has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "network.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \| (\d+) \| (\d+) \|$", re.MULTILINE)


def told_rounds() -> dict[str, tuple[int, int]]:
    """Rounds and messages by study."""
    return {name: (int(rounds), int(messages)) for name, rounds, messages in _ROW.findall(PAGE.read_text("utf-8"))}


def compare_rounds(study: str, facts: Mapping[str, object]) -> None:
    """Hold what a whole run of a shipped study has taken, from its `run.json`, against the page."""
    taken = (facts["rounds"], facts["messages"])
    row = f"| `{study}` | {taken[0]} | {taken[1]} |"
    assert told_rounds()[study] == taken, f"write this row into docs/reference/network.md: {row}"
