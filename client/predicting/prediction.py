"""client/predicting: what is said of one patient, made from the model's inputs as they are known of him."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from client.cohort.units import Flags, out_of_range
from common.errors import FedmviError
from common.models.logistic import FrozenModel, Predictions
from common.study.dictionary import Variable
from common.study.table import Column, SiteTable

RESEARCH_USE = "research use only"
SIMULATED_USE = "research use only; learned from invented patients"


@dataclass(frozen=True)
class Prediction:
    """One patient.

    Attributes
    ----------
    probability, low, high
        Probability of the endpoint and its 95 % interval; None where an input is missing that the model does not fill,
        and the interval also where the model has none.
    group
        "high" or "low" by the model's cut-off; "" without a cut-off or a probability.
    scores
        The scores among the model's inputs, by their names; None where one could not be had.
    missing, filled
        Inputs that are missing: those for want of which there is no probability, and those that were filled.
    unusual
        Inputs outside mean and two standard deviations of the training patients.
    implausible
        Inputs outside the plausible range of the variable.
    problem
        Why nothing was computed of him: his images cannot be prepared, or he withdrew his consent. "" for nobody else.
    remarks
        What a person should look at in his images.
    use
        What it may be used for.
    """

    patient_id: str
    probability: float | None = None
    low: float | None = None
    high: float | None = None
    group: str = ""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    unusual: tuple[str, ...] = ()
    implausible: tuple[str, ...] = ()
    problem: str = ""
    remarks: tuple[str, ...] = ()
    use: str = ""


@dataclass(frozen=True)
class Predicted:
    """The predictions for a table, in its order, and warnings that do not stand in their way."""

    predictions: tuple[Prediction, ...]
    warnings: tuple[FedmviError, ...]

    @property
    def counted(self) -> str:
        """How many there are, in words."""
        refused = sum(bool(p.problem) for p in self.predictions)
        without = sum(p.probability is None for p in self.predictions) - refused
        flagged = sum(bool(p.unusual or p.implausible) for p in self.predictions)
        words = f"{len(self.predictions)} patient(s), {flagged} with a flagged input"
        words += f", {without} without a probability for want of an input" if without else ""
        return words + (f", {refused} of whom nothing was computed" if refused else "")


def predictions_of(
    model: FrozenModel,
    table: SiteTable,
    patients: Sequence[str],
    refused: Mapping[str, str],
    remarks: Mapping[str, tuple[str, ...]],
) -> tuple[Prediction, ...]:
    """One prediction a patient.

    Parameters
    ----------
    table
        Of the patients who are not refused: the model's variables, and the scores of its networks.
    patients
        Everybody, in the order of the answer.
    refused
        Why nothing is computed of a patient.
    remarks
        What a person should look at in a patient's images.
    """
    use = SIMULATED_USE if model.origin.simulated else RESEARCH_USE
    known = {prediction.patient_id: prediction for prediction in _known(model, table, remarks, use)}
    left = (patient for patient in patients if patient not in known)
    known |= {patient: Prediction(patient, problem=refused[patient], use=use) for patient in left}
    return tuple(known[patient] for patient in patients)


def _known(model: FrozenModel, table: SiteTable, remarks: Mapping[str, tuple[str, ...]], use: str) -> list[Prediction]:
    found = model.predict(table)
    inputs = dict(table.columns) | {n: Column(v, (), np.zeros(table.n, np.int8)) for n, v in found.scores.items()}
    absent = {name: np.isnan(inputs[name].values) for name in _names(model)}
    implausible = {v.name: out_of_range(v, c.values, c.censored) for v, c in _measured(model, table)}
    unusual = {i.variable.name: _outside(i.usual, inputs[i.variable.name]) for i in model.all_inputs if i.usual}
    predictions = []
    for row, patient in enumerate(table.patients):
        gaps, without = _named(absent, row), math.isnan(found.probability[row])
        predictions.append(
            Prediction(
                patient_id=patient,
                probability=_number(found.probability[row]),
                low=_number(found.low[row]),
                high=_number(found.high[row]),
                group=_group(found, row),
                scores={name: _number(values[row]) for name, values in found.scores.items()},
                missing=tuple(name for name in gaps if name not in model.filled) if without else (),
                filled=() if without else gaps,
                unusual=_named(unusual, row),
                implausible=_named(implausible, row),
                remarks=remarks.get(patient, ()),
                use=use,
            )
        )
    return predictions


def _names(model: FrozenModel) -> tuple[str, ...]:
    return tuple(dict.fromkeys(i.variable.name for i in model.all_inputs))


def _named(flags: Mapping[str, Flags], row: int) -> tuple[str, ...]:
    return tuple(name for name, flagged in flags.items() if flagged[row])


def _measured(model: FrozenModel, table: SiteTable) -> list[tuple[Variable, Column]]:
    return [(v, table.columns[v.name]) for v in model.variables if not v.level_names]


def _outside(usual: tuple[float, float], column: Column) -> Flags:
    with np.errstate(invalid="ignore"):
        outside: Flags = (column.values < usual[0]) | (column.values > usual[1])
    return outside


def _group(found: Predictions, row: int) -> str:
    if found.above is None or math.isnan(found.probability[row]):
        return ""
    return "high" if found.above[row] else "low"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
