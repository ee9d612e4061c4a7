"""client/preparation: one patient to be prepared, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.cohort.problems import worst_first
from client.images.case import Case
from client.images.checking.duplicates import Print
from common.errors import FedmviError, Severity
from common.study.preparation import Preparation


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
    complete
        Whether all is there that the study needs; else what there is is only looked at.
    """

    case: Case
    preparation: Preparation
    store: Path
    secret: bytes = field(repr=False)
    complete: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of one patient.

    Attributes
    ----------
    patient
        Id.
    features
        By reader, then by column; a feature that has no value is absent.
    registrations
        A row for every phase but the reference: how it was registered, and how well, see `PairQuality`.
    regions
        A row for every reader and region: its volume, and what of a ring is lost.
    stacks
        For every phase, the folder of its ROI stack.
    pairs
        For every phase but the reference, the folder of its registration, with a picture of the pair.
    problems
        What a person should know, worst first; of a failed patient the first one is why.
    steps, inputs
        Digest of every step, and of every file that was read.
    failed
        Whether the patient could not be prepared.
    seconds
        Seconds of each kind of step that this run computed; empty where all was done already.
    peak_bytes
        Largest memory of the process so far.
    acquisition
        How the images were acquired, as levels, see `common/study/acquisition.py`.
    prints
        Of images and masks, so that those of other patients can be compared with them.
    """

    patient: str
    features: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    registrations: tuple[Mapping[str, Any], ...] = ()
    regions: tuple[Mapping[str, Any], ...] = ()
    stacks: Mapping[str, Path] = field(default_factory=dict)
    pairs: Mapping[str, Path] = field(default_factory=dict)
    problems: tuple[FedmviError, ...] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    acquisition: Mapping[str, str] = field(default_factory=dict)
    prints: tuple[Print, ...] = ()

    def told(self, problems: Sequence[FedmviError]) -> Outcome:
        """The outcome with more problems, of which one of severity error makes it a failed one."""
        if not problems:
            return self
        together = tuple(worst_first([*self.problems, *problems]))
        if not any(problem.severity is Severity.ERROR for problem in problems):
            return replace(self, problems=together)
        nothing = Outcome(self.patient)
        made = {name: getattr(nothing, name) for name in ("features", "registrations", "regions", "stacks", "pairs")}
        return replace(self, **made, problems=together, failed=True)
