"""tests: the steps of a Dockerfile: comments left out, continued lines joined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One instruction."""

    word: str
    text: str


def steps(text: str) -> list[Step]:
    """The instructions in their order."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = " ".join(line.strip().removesuffix("\\") if line.endswith("\\") else line.strip() + "\n" for line in lines)
    split = [step.strip().partition(" ") for step in whole.split("\n") if step.strip()]
    return [Step(word.upper(), " ".join(rest.split())) for word, _, rest in split]
