"""simulation: benchmarks: peers: what a contender is, how its command is run, and what it found."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from common.study.table import FloatArray
from simulation.benchmarks.peers.environments import environment, run
from simulation.benchmarks.peers.question import Question
from simulation.benchmarks.peers.rows import Rows

RUN_SECONDS = 900.0
OWN = Path(sys.executable)
"""The Python of this program."""

FLOWER = ("flwr[simulation]==1.41.0", "scikit-learn==1.9.1", "lifelines==0.30.3")
FLARE = ("nvflare==2.9.0", "lifelines==0.30.3", "tenseal==0.3.18")
TNO = ("tno.fl.protocols.cox-regression==0.5.5",)
ENVIRONMENTS: Mapping[str, tuple[str, ...]] = {"flower": FLOWER, "flare": FLARE, "tno": TNO}
"""What is installed for each peer, into an environment of that name."""


def installed_by(name: str) -> str:
    """The command that installs a peer into its environment."""
    return shlex.join([f"{name}/bin/python", "-m", "pip", "install", *ENVIRONMENTS[name]])


@dataclass(frozen=True)
class Fit:
    """What a contender found.

    Attributes
    ----------
    found
        (p + 1,) coefficients of the standardised predictors, the intercept first; (p,) of a Cox regression, which has
        none; or (t,) survival at the pooled rows' event times.
    rounds
        Exchanges with all sites; None where nothing is exchanged.
    seconds
        From the start of the process to its end.
    command
        What was run, in a folder with the rows.
    program
        Name and version.
    message_bytes
        Of all messages, in both directions; None where nothing is exchanged.
    parts
        Seconds of the steps that the program tells of, in their order.
    """

    found: FloatArray
    rounds: int | None
    seconds: float
    command: str
    program: str
    message_bytes: int | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """Who answers which question, and what leaves a site for it.

    Attributes
    ----------
    fit
        Is given the rows, a folder that is not there yet, and the folder of the peers' environments.
    bytes_are
        What is counted.
    """

    name: str
    about: str
    question: Question
    leaves: str
    fit: Callable[[Rows, Path, Path], Fit]
    bytes_are: str = ""


def program(peer: str, library: str, script: str, *options: str) -> Callable[[Rows, Path, Path], Fit]:
    """A contender that is one of our programs in a peer's environment (`own`: in that of this program)."""

    def fit(rows: Rows, work: Path, cache: Path) -> Fit:
        python = OWN if peer == "own" else environment(cache / peer, ENVIRONMENTS[peer])
        folder = Path(str(resources.files("simulation.benchmarks.peers.programs")))
        arguments = ("--data", "rows", "--out", "found.json", *options)
        seconds = timed([str(python), str(folder / script), *arguments], rows, work)
        shown = "python" if peer == "own" else f"{peer}/bin/python"
        return told(rows, work, seconds, " ".join((shown, script, *arguments)), version_in(python, library))

    return fit


def timed(
    command: list[str], rows: Rows, work: Path, tell: Callable[[float, str], None] = lambda _seconds, _line: None
) -> float:
    """Seconds from the start of a command to its end, in a new folder `work` with the rows in it.

    `tell` gets the lines that it prints, with the seconds at which they came.
    """
    work.mkdir(parents=True, exist_ok=True)
    rows.write(work / "rows")
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    given = {key: value for key, value in os.environ.items() if not key.startswith("NVFLARE_")} | quiet
    # Without compiled modules every start takes twice as long.
    given.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.monotonic()
    run(command, work, RUN_SECONDS, given, lambda line: tell(time.monotonic() - begun, line))
    return time.monotonic() - begun


def told(rows: Rows, work: Path, seconds: float, command: str, name: str) -> Fit:
    """What a program wrote to `found.json`."""
    wrote = json.loads((work / "found.json").read_text(encoding="utf-8"))
    found = np.array(wrote["coefficients"]) if "coefficients" in wrote else at_events(rows, wrote)
    return Fit(found, wrote.get("rounds"), seconds, command, name, wrote.get("bytes"))


def at_events(rows: Rows, curve: Mapping[str, Any]) -> FloatArray:
    """(t,) survival at the pooled rows' event times, of a curve's `times` and the `survival` just after them."""
    times, survival = np.array(curve["times"]), np.array([1.0, *curve["survival"]])
    values: FloatArray = survival[np.searchsorted(times, rows.event_times, side="right")]
    return values


def version_in(python: Path, library: str) -> str:
    """A library of an environment, with its version."""
    asked = f"from importlib.metadata import version; print(version({library!r}))"
    return f"{library} {run([str(python), '-c', asked], python.parent, RUN_SECONDS).strip()}"
