"""client/preparation: one patient to be prepared, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.images.case import Case
from common.errors import FedmviError
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
    registrations
        A row for every phase but the reference: how it was registered, and how well, see `PairQuality`.
    regions
        A row for every reader and region: its volume, and what of a ring is lost.
    stacks
        For every phase, the folder of its ROI stack.
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
    """

    patient: str
    features: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    registrations: tuple[Mapping[str, Any], ...] = ()
    regions: tuple[Mapping[str, Any], ...] = ()
    stacks: Mapping[str, Path] = field(default_factory=dict)
    problems: tuple[FedmviError, ...] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
