"""simulation: measures how far every federated statistic is from the same statistic on the pooled rows."""

from simulation.exactness import (
    basic,
    description,
    deseq,
    enrichment,
    evaluation,
    expression,
    filters,
    harmonisation,
    hazards,
    penalised,
    penalised_hazards,
    predicted_risks,
    regression,
    survival_predictions,
    survival_times,
    updating,
)
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
from simulation.exactness.tables import KEYS

CASES = (
    *basic.CASES,
    *description.CASES,
    *evaluation.CASES,
    *predicted_risks.CASES,
    *updating.CASES,
    *filters.CASES,
    *harmonisation.CASES,
    *regression.CASES,
    *survival_times.CASES,
    *survival_predictions.CASES,
    *penalised.CASES,
    *hazards.CASES,
    *penalised_hazards.CASES,
    *expression.CASES,
    *deseq.CASES,
    *enrichment.CASES,
)
"""Every case there is; one that needs data or golden files says so when it is made."""

__all__ = [
    "CASES",
    "KEYS",
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
