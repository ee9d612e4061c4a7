"""client/cohort: problems of a hospital's data for people at a terminal: a few of each kind, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from common.errors import FedmviError, Severity
from common.terminal import out

SHOWN_ALIKE = 5
_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "blue"}


def print_problems(problems: Sequence[FedmviError]) -> None:
    """Print what is wrong, where, and what to do."""
    alike: dict[tuple[int, str], int] = {}
    for problem in problems:
        colour = _COLOURS[problem.severity]
        kind = (problem.number, problem.what)
        alike[kind] = alike.get(kind, 0) + 1
        if alike[kind] > SHOWN_ALIKE:
            continue
        out.print(f"[{colour}]{problem.severity.name.lower()}[/] [bold]{problem.code}[/] {escape(problem.what)}")
        if problem.local:
            out.print(f"    {escape(problem.local)}")
        out.print(f"    What to do: {escape(problem.do)}")
    for (number, what), count in alike.items():
        if count > SHOWN_ALIKE:
            out.print(f"... and {count - SHOWN_ALIKE} more of FEDMVI-{number} {escape(what)} (`--json` lists all)")
    counts = {kind: sum(problem.severity is kind for problem in problems) for kind in reversed(Severity)}
    words = ", ".join(f"{count} {kind.name.lower()}(s)" for kind, count in counts.items() if count)
    out.print(words if words else "No problems found.")
