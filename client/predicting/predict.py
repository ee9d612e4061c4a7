"""client/predicting: predicts for the hospital's own patients with a frozen model; nothing of it leaves the hospital.

The table is read as `fedmvi-site check` reads it: headers, units and codes of site.toml, the same errors with row and
column. A value outside what the model saw is used and flagged; one that cannot be what it seems is refused, and with it
the whole table, so that no file is ever silently without a patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.cohort.columns import Columns
from client.cohort.problems import Problems, worst_first
from client.cohort.reading import read_patients
from client.cohort.sheet import Sheet, read_sheet
from client.cohort.site import Site, SiteHead
from client.cohort.units import Flags, out_of_range
from client.cohort.values import check_bounds, read_variable
from client.node.enrolment import FOLDER, Enrolment, is_enrolled, read_enrolment
from client.preparation.prepare import UnfitDataError
from common.errors import FedmviError, Severity
from common.models.archive import HandedOn, read_model, verify_signer
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
        Probability of the endpoint and its 95 % interval; None where an input is missing that the model does not fill.
    group
        "high" or "low" by the model's cut-off; "" without a cut-off or a probability.
    missing, filled
        Inputs that are missing: those for want of which there is no probability, and those that were filled.
    unusual
        Inputs outside mean and two standard deviations of the training patients.
    implausible
        Inputs outside the plausible range of the variable.
    use
        What it may be used for.
    """

    patient_id: str
    probability: float | None
    low: float | None
    high: float | None
    group: str
    missing: tuple[str, ...]
    filled: tuple[str, ...]
    unusual: tuple[str, ...]
    implausible: tuple[str, ...]
    use: str


@dataclass(frozen=True)
class Predicted:
    """The predictions for a table, in its order, and warnings that do not stand in their way."""

    predictions: tuple[Prediction, ...]
    warnings: tuple[FedmviError, ...]

    @property
    def counted(self) -> str:
        """How many there are, in words."""
        without = sum(p.probability is None for p in self.predictions)
        flagged = sum(bool(p.unusual or p.implausible) for p in self.predictions)
        words = f"{len(self.predictions)} patient(s), {flagged} with a flagged input"
        return f"{words}, {without} without a probability for want of an input" if without else words


def trusted_model(path: Path, site: Site | None) -> HandedOn:
    """Read a model; at an enrolled site it must be signed by the coordinator of the consortium.

    Raises
    ------
    FedmviError
        781 the file is damaged or no model, 782 it is not signed by the coordinator, 731 the enrolment is damaged.
    """
    handed, enrolment = read_model(path), _enrolment(site)
    if enrolment is not None:
        verify_signer(handed, enrolment.coordinator)
    return handed


def _enrolment(site: Site | None) -> Enrolment | None:
    """The site's enrolment, even if it has expired: the coordinator's key is still the one that the site was given."""
    return read_enrolment(site.folder / FOLDER) if site is not None and is_enrolled(site) else None


def vouched(handed: HandedOn, site: Site | None) -> str:
    """Who vouches for a model that `trusted_model` read, in words."""
    if handed.signed_by is None:
        return "unsigned, nobody vouches for it"
    enrolment = _enrolment(site)
    if enrolment is not None:
        return f"signed by the coordinator of {enrolment.consortium}"
    return f"signed with the key {handed.signed_by}; ask the coordinator whether it is theirs"


def predict(model: FrozenModel, patients: Path, site: Site | None) -> Predicted:
    """Predict for every patient of a table.

    Parameters
    ----------
    patients
        A CSV table with one row a patient: `patient_id` and the model's variables.
    site
        Whose [tables] and [columns] say how the table is written; without one it is UTF-8 with commas, and columns
        have the variables' own names or their known aliases, and their own units.

    Raises
    ------
    UnfitDataError
        With every problem of the table, each with its row and column.
    FedmviError
        783 the table lacks features of images that the model needs.
    """
    reader = _reader(patients, site)
    problems = Problems()
    sheet = read_sheet(reader, problems) or Sheet(str(patients), (), (), ())
    columns = Columns(reader, model, sheet, problems)
    if sheet.header:
        _need_features(model, columns)
    table = _table(model, columns, sheet, problems)
    serious = [p for p in problems.found if p.severity is Severity.ERROR]
    if serious:
        raise UnfitDataError(worst_first(problems.found))
    return Predicted(_predictions(model, table), tuple(worst_first(problems.found)))


def _reader(patients: Path, site: Site | None) -> Site:
    """The site, or one that declares nothing, with this table as its table of patients."""
    reader = Site(site=SiteHead(name="none")) if site is None else site
    tables = reader.tables.model_copy(update={"patients": str(patients.resolve())})
    return reader.model_copy(update={"tables": tables})


def _need_features(model: FrozenModel, columns: Columns) -> None:
    absent = [name for name in model.features if columns.get(name, required=False) is None]
    if absent:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise FedmviError(783, shown, count=len(absent))


def _table(model: FrozenModel, columns: Columns, sheet: Sheet, problems: Problems) -> SiteTable:
    """The model's variables; implausible values are no problem here, because they are flagged one by one."""
    if not sheet.header:
        return SiteTable((), {}, {}, {}, ())
    patients = read_patients(columns, sheet, problems)
    values = {v.name: read_variable(v, len(patients), columns, problems) for v in model.variables}
    problems.found[:] = [problem for problem in problems.found if problem.number != 306]
    check_bounds(model.columns, values, columns, problems)
    _check_logarithms(model, values, columns, problems)
    return SiteTable(patients, values, {}, {}, ("",) * len(patients))


def _check_logarithms(model: FrozenModel, values: Mapping[str, Column], columns: Columns, problems: Problems) -> None:
    """Note 306 for values that have no place on the model's scale, the logarithm of 1 + value."""
    for variable in (i.variable for i in model.inputs if i.coding == "log"):
        facts = {"variable": variable.name, "low": "above -1", "high": f"{variable.high}", "unit": variable.unit}
        for row in np.flatnonzero(values[variable.name].values <= -1.0):
            source = columns.require(variable.name)
            problems.add(306, columns.place(source, int(row)), repr(source.cells[row]), **facts)


def _predictions(model: FrozenModel, table: SiteTable) -> tuple[Prediction, ...]:
    found = model.predict(table)
    absent = {name: np.isnan(column.values) for name, column in table.columns.items()}
    implausible = {v.name: out_of_range(v, c.values, c.censored) for v, c in _measured(model, table)}
    unusual = {i.variable.name: _outside(i.usual, table.columns[i.variable.name]) for i in model.inputs if i.usual}
    use = SIMULATED_USE if model.origin.simulated else RESEARCH_USE
    predictions = []
    for row, patient in enumerate(table.patients):
        gaps, without = _named(absent, row), math.isnan(found.probability[row])
        predictions.append(
            Prediction(
                patient_id=patient,
                probability=_known(found.probability[row]),
                low=_known(found.low[row]),
                high=_known(found.high[row]),
                group=_group(found, row),
                missing=gaps if without else (),
                filled=() if without else gaps,
                unusual=_named(unusual, row),
                implausible=_named(implausible, row),
                use=use,
            )
        )
    return tuple(predictions)


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


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
