"""client/predicting: predicts for the hospital's own patients with a frozen model; nothing of it leaves the hospital.

A value outside what the model saw is used and flagged; one that cannot be what it seems is refused, and with it the
whole table, so that no file is ever silently without a patient. Of a patient who withdrew his consent nothing is read
and nothing is computed, and his row of the answer says so.
"""

from __future__ import annotations

from pathlib import Path

from client.cohort.site import ENROLMENT, Site, SiteHead
from client.node.enrolment import Enrolment, is_enrolled, read_enrolment
from client.predicting.patients import read_known
from client.predicting.prediction import Predicted, predictions_of
from common.errors import FedmviError
from common.models.archive import HandedOn, read_model, verify_signer
from common.models.logistic import FrozenModel


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
    return read_enrolment(site.folder / ENROLMENT) if site is not None and is_enrolled(site) else None


def vouched(handed: HandedOn, site: Site | None) -> str:
    """Who vouches for a model that `trusted_model` read, in words."""
    if handed.signed_by is None:
        return "unsigned, nobody vouches for it"
    enrolment = _enrolment(site)
    if enrolment is not None:
        return f"signed by the coordinator of {enrolment.consortium}"
    return f"signed with the key {handed.signed_by}; ask the coordinator whether it is theirs"


def predict(model: FrozenModel, patients: Path, site: Site | None, only: str = "") -> Predicted:
    """Predict for every patient of a table, or for one of them.

    Parameters
    ----------
    patients
        A CSV table with one row a patient: `patient_id` and the model's variables.
    site
        Whose [tables] and [columns] say how the table is written, and whose patients may have withdrawn their consent;
        without one it is UTF-8 with commas, and columns have the variables' own names or their known aliases, and
        their own units.
    only
        The one patient who is asked for; "": everybody.

    Raises
    ------
    UnfitDataError
        With every problem of the table, each with its row and column.
    FedmviError
        763 nobody knows who withdrew, 783 the table lacks features of images that the model needs, 786 it has no such
        patient, 787 the one who is asked for withdrew his consent, 788 an input is the score of a network.
    """
    if model.networks:
        raise FedmviError(788, ", ".join(model.networks))
    known = read_known(model, reader_of(patients, site), site, model.variables, only)
    found = predictions_of(model, known.table, known.patients, known.refused, {})
    return Predicted(found, known.warnings)


def reader_of(patients: Path, site: Site | None) -> Site:
    """The site, or one that declares nothing, with this table as its table of patients."""
    reader = Site(site=SiteHead(name="none")) if site is None else site
    tables = reader.tables.model_copy(update={"patients": str(patients.resolve())})
    return reader.model_copy(update={"tables": tables})
