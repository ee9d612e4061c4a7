"""server/report: the colours of figures, those of Okabe & Ito, each with its own line style.

For prints in grey, and readers who do not tell the colours apart.
"""

from __future__ import annotations

from typing import Any

_STYLES = (
    ("#0072b2", "-"), ("#d55e00", (0, (5, 1.6))), ("#009e73", (0, (6, 1.5, 1.2, 1.5))), ("#cc79a7", (0, (1.2, 1.2))),
    ("#e69f00", (0, (9, 2))), ("#56b4e9", (0, (3, 1.2, 1, 1.2, 1, 1.2))), ("#000000", (0, (2.5, 2.5))),
)  # fmt: skip


def look(place: int) -> dict[str, Any]:
    """How the line at a place is drawn."""
    colour, line = _STYLES[place % len(_STYLES)]
    return {"color": colour, "linestyle": line, "linewidth": 1.6}
