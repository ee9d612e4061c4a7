"""client/preparation: one patient from files to features and ROI stacks, step by step; what is done is not repeated.

check               everything is read and looked at
register:<phase>    each phase is brought into the space of the reference phase
landmarks:<phase>   MR: percentiles of the body, by which intensities are standardised
features:<image>    each phase or subtraction, on the working grid, in every region
stack:<phase>       the rectangles around the tumour, before intensities are changed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.cohort.images.case import Case
from client.cohort.images.loading import CaseError
from client.preparation.steps import Steps
from common.errors import FedmviError
from common.study.preparation import Preparation

READERS = (1, 2)


@dataclass(frozen=True)
class Job:
    """One patient to be prepared.

    Attributes
    ----------
    case
        The files.
    preparation
        The settings.
    store
        The site's store.
    secret
        The site's secret, from which margins are drawn.
    """

    case: Case
    preparation: Preparation
    store: Path
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Outcome:
    """What came of one patient.

    Attributes
    ----------
    patient
        Id.
    features
        By reader, then by column; a feature that has no value is absent.
    quality
        A row for every phase: how it was registered, and how well.
    stacks
        For every phase, the folder of its ROI stack.
    problems
        What a person should know, worst first; of a failed patient the last one is why.
    steps
        Digest of every step.
    inputs
        Digest of every input.
    failed
        Whether the patient could not be prepared.
    fresh
        Steps that this run computed.
    seconds
        Seconds of each kind of step computed.
    peak_bytes
        Largest memory of the process so far.
    """

    patient: str
    features: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    quality: tuple[Mapping[str, Any], ...] = ()
    stacks: Mapping[str, Path] = field(default_factory=dict)
    problems: tuple[FedmviError, ...] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False
    fresh: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0


def prepare_patient(job: Job) -> Outcome:
    """Do every step of a patient that is not done yet; a problem of the patient is returned, not raised."""
    chain = _Chain(job)
    try:
        return chain.run()
    except CaseError as error:
        return chain.failed(*error.problems)
    except FedmviError as error:
        return chain.failed(error)
    except MemoryError:
        return chain.failed(FedmviError(378, job.case.patient))


class _Chain:
    """The steps of one patient, with what they share in memory."""

    def __init__(self, job: Job) -> None:
        self.case, self.preparation, self._secret = job.case, job.preparation, job.secret
        self._store = job.store
        self._steps = Steps(job.store, job.case.patient)
        self._digests: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._fresh = 0
        self.problems: list[FedmviError] = []

    def run(self) -> Outcome: ...
