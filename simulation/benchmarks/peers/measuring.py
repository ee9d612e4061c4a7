"""simulation: benchmarks: peers: runs every contender on the same rows, and sets them beside the pooled fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from simulation.benchmarks.measuring import machine, versions
from simulation.benchmarks.peers.contenders import ENVIRONMENTS, Contender, Fit, installed_by
from simulation.benchmarks.peers.environments import UnavailableError, refuse_foreign
from simulation.benchmarks.peers.field import CONTENDERS
from simulation.benchmarks.peers.question import Question
from simulation.benchmarks.peers.rows import Rows, rows_of


@dataclass(frozen=True)
class Row:
    """One contender.

    Attributes
    ----------
    apart
        The largest distance from the reference: of a coefficient, per SD of its predictor, or of survival at an event
        time; None without a reference.
    """

    contender: Contender
    fit: Fit | None
    apart: float | None
    skipped: str = ""

    def words(self) -> str:
        """In a line."""
        if self.fit is None:
            return f"skipped: {self.skipped}"
        rounds = "" if self.fit.rounds is None else f", {self.fit.rounds} rounds"
        sent = "" if self.fit.message_bytes is None else f", {self.fit.message_bytes} bytes"
        parts = "".join(f"; {step} {seconds:.1f}" for step, seconds in self.fit.parts.items())
        apart = "no distance without the reference" if self.apart is None else f"distance {self.apart:.1e}"
        return f"{apart}{rounds}, {self.fit.seconds:.1f} seconds{sent}{parts}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        one = self.contender
        told: dict[str, Any] = {
            "question": one.question.value,
            "name": one.name,
            "about": one.about,
            "leaves_the_site": one.leaves,
            "skipped": self.skipped,
        }
        if self.fit is not None:
            told |= {
                "program": self.fit.program,
                "command": self.fit.command,
                "found": self.fit.found.tolist(),
                "distance": self.apart,
                "rounds": self.fit.rounds,
                "seconds": self.fit.seconds,
                "seconds_of": dict(self.fit.parts),
                "message_bytes": self.fit.message_bytes,
                "bytes_are": one.bytes_are,
            }
        return told


def compare(
    cache: Path, progress: Callable[[str], None], contenders: Sequence[Contender] = CONTENDERS
) -> Iterator[Row]:
    """Every contender, each as it is known; the first of a question is its reference.

    One that cannot be run is skipped with its reason.

    Without the reference nobody's distance is known.

    Parameters
    ----------
    cache
        Folder for the peers' environments; what is there already is used again.

    Raises
    ------
    Absent
        The public data are not there.
    FedmviError
        213 a folder of an environment's name holds something else.
    """
    for name in ENVIRONMENTS:
        refuse_foreign(cache / name)
    rows: dict[Question, Rows] = {}
    references: dict[Question, Fit | None] = {}
    for contender in contenders:
        progress(f"{contender.question}: {contender.name}")
        asked = contender.question
        if asked not in rows:
            rows[asked] = rows_of(asked)
        fit, why = _fitted(contender, rows[asked], cache)
        reference = references.setdefault(asked, fit)
        apart = None
        if fit is not None and reference is not None:
            apart = float(np.max(np.abs(fit.found - reference.found)))
        found = Row(contender, fit, apart, why)
        progress(f"  {found.words()}")
        yield found


def _fitted(contender: Contender, rows: Rows, cache: Path) -> tuple[Fit | None, str]:
    with TemporaryDirectory(prefix="fedmvi-peers-") as name:
        try:
            return contender.fit(rows, Path(name) / "work", cache), ""
        except UnavailableError as error:
            return None, str(error)


def report(rows: Sequence[Row]) -> dict[str, Any]:
    """For programs."""
    return {
        "name": "peers",
        "machine": machine(),
        "versions": versions("flwr", "ray", "numpy", "scipy"),
        "installed": {name: installed_by(name) for name in ENVIRONMENTS},
        "rows": [r.as_json() for r in rows],
    }
