"""client/images/checking: everything that is odd about the images and masks of one patient, as numbered errors."""

from __future__ import annotations

from collections.abc import Iterator

from client.cohort.problems import worst_first
from client.images.case import Case, Scan
from client.images.checking.header_checks import header_remarks
from client.images.checking.intensity_checks import intensity_remarks
from client.images.checking.mask_checks import mask_remarks
from client.images.checking.phase_checks import phase_remarks
from client.images.checking.remark import Remark, mask_name
from common.errors import FedmviError
from common.study.preparation import Preparation


def problems_of(scan: Scan, preparation: Preparation, case: Case | None = None) -> list[FedmviError]:
    """The problems of a patient whose files could be read, worst first; nothing is raised.

    Phases and masks that are missing are told where files are found, see `find_cases`.

    Parameters
    ----------
    scan
        Images and masks of one patient, as `load_case` reads them; those that could not be read are left out.
    preparation
        What the study asks for.
    case
        The patient's files, so that they are named.

    Returns
    -------
    list
        342 to 369; each begins its local text with the patient, and the file where `case` is given.
    """
    remarks: Iterator[Remark] = (
        remark
        for part in (
            mask_remarks(scan, preparation.modality),
            intensity_remarks(scan, preparation),
            phase_remarks(scan, preparation),
            header_remarks(scan, preparation),
        )
        for remark in part
    )
    return worst_first(
        FedmviError(r.number, f"{scan.patient}: {_place(r, case)}: {r.detail}", severity=r.severity) for r in remarks
    )


def _place(remark: Remark, case: Case | None) -> str:
    """Which file, and what is in it."""
    if isinstance(remark.subject, str):
        path = case.images[remark.subject].path if case and remark.subject in case.images else None
        return f"{path} ({remark.subject})" if path else remark.subject
    name = mask_name(remark.subject)
    path = next((m.path for m in case.masks if (m.region, m.reader, m.phase) == remark.subject), None) if case else None
    return f"{path} ({name})" if path else name
