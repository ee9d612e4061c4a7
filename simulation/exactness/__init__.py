"""simulation: measures how far every federated statistic is from the same statistic on the pooled rows."""

from simulation.exactness import basic
from simulation.exactness.measuring import (
    Absent,
    Case,
    Difference,
    Measured,
    Row,
    Table,
    as_markdown,
    golden,
    largest,
    library,
    measure,
    relative,
)

CASES = (*basic.CASES,)
"""Every case there is; one that needs data or golden files says so when it is made."""

__all__ = [
    "CASES",
    "Absent",
    "Case",
    "Difference",
    "Measured",
    "Row",
    "Table",
    "as_markdown",
    "golden",
    "largest",
    "library",
    "measure",
    "relative",
]
