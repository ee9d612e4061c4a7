"""simulation: benchmarks: shift: what is asked of the product after shift, and by how much it is missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """One number that is asked for.

    Attributes
    ----------
    value
        What was measured; None where it has no value.
    bound
        What is asked for: at least this, or less than this where not `least`.
    low, high
        95 % limits of the value; None of a value that is a limit itself.
    """

    name: str
    value: float | None
    bound: float
    least: bool = True
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool:
        """Whether it is reached; what has no value is not."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.least else self.value < self.bound

    @property
    def missed_by(self) -> float | None:
        """How far it is off; None where it is met or has no value."""
        return None if self.met or self.value is None else abs(self.bound - self.value)

    def report(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "at_least" if self.least else "below": self.bound,
            "met": self.met,
            "missed_by": self.missed_by,
        }
