"""simulation: benchmarks: peers: runs every contender on the same rows, and sets them beside the pooled fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from common.errors import FedmviError
from simulation.benchmarks.measuring import machine
from simulation.benchmarks.peers.contenders import CONTENDERS, Contender, Fit
from simulation.benchmarks.peers.environments import UnavailableError
from simulation.benchmarks.peers.rows import heart_rows


@dataclass(frozen=True)
class Row:
    """One contender; `apart` is the largest distance of a coefficient from the reference's, per SD of its predictor."""

    contender: Contender
    fit: Fit | None
    apart: float | None
    skipped: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        told: dict[str, Any] = {"name": self.contender.name, "about": self.contender.about, "skipped": self.skipped}
        if self.fit is not None:
            told |= {
                "program": self.fit.program,
                "coefficients": self.fit.coefficients.tolist(),
                "distance": self.apart,
                "rounds": self.fit.rounds,
                "seconds": self.fit.seconds,
                "message_bytes": self.fit.message_bytes,
            }
        return told


def compare(cache: Path, progress: Callable[[str], None], contenders: Sequence[Contender] = CONTENDERS) -> list[Row]:
    """Every contender, the reference first; one that cannot be run is skipped with its reason.

    Parameters
    ----------
    cache
        Folder for the peers' environments; what is there already is used again.

    Raises
    ------
    Absent
        The public data are not there.
    """
    rows = heart_rows()
    found: list[Row] = []
    reference: Fit | None = None
    for contender in contenders:
        progress(contender.name)
        with TemporaryDirectory(prefix="fedmvi-peers-") as name:
            try:
                fit = contender.fit(rows, Path(name) / "work", cache)
            except (UnavailableError, FedmviError) as error:
                found.append(Row(contender, None, None, skipped=str(error)))
                continue
        reference = fit if reference is None else reference
        found.append(Row(contender, fit, float(np.max(np.abs(fit.coefficients - reference.coefficients)))))
    return found


def report(rows: Sequence[Row]) -> dict[str, Any]:
    """For programs."""
    return {
        "name": "peers",
        "data": "heart_disease_4centres",
        "machine": machine(),
        "rows": [r.as_json() for r in rows],
    }
