"""client/images: all images and masks of a patient, read, or everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Collection

import SimpleITK as sitk  # noqa: N813

from client.images.case import Case, MaskKey, ReadImage, Scan
from client.images.masks.masks import read_mask
from client.images.reading.read import read_image
from common.errors import FedmviError


class CaseError(FedmviError):
    """A patient whose files cannot be read; bears the worst problem's number and text.

    Attributes
    ----------
    problems
        Every problem, worst first, else in the order in which they were met.
    """

    def __init__(self, problems: Collection[FedmviError]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: -problem.severity))
        worst = self.problems[0]
        super().__init__(worst.number, worst.local, severity=worst.severity, **worst.facts)


def load_case(case: Case, phases: Collection[str] | None = None) -> Scan:
    """Read a patient's images, and each mask on the image of the phase that it was drawn on.

    Parameters
    ----------
    case
        Which files.
    phases
        The phases that are read, with their masks; all without it.

    Returns
    -------
    Scan
        All images and masks of these phases.

    Raises
    ------
    CaseError
        With the problem of every file: 33x and 377 of images, 34x of masks. Masks of an image that cannot be read are
        not read.
    """
    scan, problems = read_case(case, phases)
    if problems:
        raise CaseError(problems)
    return scan


def read_case(case: Case, phases: Collection[str] | None = None) -> tuple[Scan, list[FedmviError]]:
    """What of a patient's files can be read, and why the rest cannot; else as `load_case`."""
    problems: list[FedmviError] = []
    images: dict[str, ReadImage] = {}
    for phase, source in case.images.items():
        if phases is None or phase in phases:
            try:
                images[phase] = read_image(source, case.patient)
            except FedmviError as problem:
                problems.append(problem)
    masks: dict[MaskKey, sitk.Image] = {}
    for drawn in case.masks:
        if phases is not None and drawn.phase not in phases:
            continue
        if drawn.phase not in case.images:
            local = f"{case.patient}: {drawn.path}: it was drawn on '{drawn.phase}', of which there is no image"
            problems.append(FedmviError(341, local))
        elif drawn.phase in images:
            try:
                masks[drawn.region, drawn.reader, drawn.phase] = read_mask(drawn, images[drawn.phase], case.patient)
            except FedmviError as problem:
                problems.append(problem)
    return Scan(case.patient, images, masks), problems
