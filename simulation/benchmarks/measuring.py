"""simulation: benchmarks: times ours and the baselines in turn, and reports them in one form.

Every benchmark prints `{name, ratio, ratios, ours, baselines, machine, versions, repeats, digest_equal}`. `ratio` is
the median time of the primary (first) baseline over ours: above 1, ours is the faster one.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

Run = Callable[[], Any]


def machine() -> dict[str, Any]:
    """What figures are of; `load` is how many processes of the last minute wanted a processor, others' counted in."""
    return {
        "processor": platform.machine(),
        "model": _model(Path("/proc/cpuinfo")),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load": round(os.getloadavg()[0], 1),
        "system": platform.system(),
    }


def _model(told: Path) -> str:
    """The processor's name as Linux tells it; "" where it does not."""
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def versions(*libraries: str) -> dict[str, str]:
    """Of FedMVI, of the libraries, and of Python."""
    found = {name: metadata.version(name) for name in ("fedmvi", *libraries)}
    return found | {"python": platform.python_version()}


@dataclass(frozen=True)
class Timed:
    """Seconds of every repeat, and facts that are not times (rounds, bytes).

    Attributes
    ----------
    steps
        Median seconds by step, where the command measures its steps.
    """

    name: str
    seconds: tuple[float, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Benchmark:
    """A finished benchmark; `digest_equal` says whether all gave the same output before they were timed."""

    name: str
    ours: Timed
    baselines: tuple[Timed, ...]
    digest_equal: bool
    libraries: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        """The standard form."""
        ratios = {baseline.name: baseline.median / self.ours.median for baseline in self.baselines}
        return {
            "name": self.name,
            "ratio": ratios[self.baselines[0].name],
            "ratios": ratios,
            "ours": _as_dict(self.ours),
            "baselines": [_as_dict(baseline) for baseline in self.baselines],
            "machine": machine(),
            "versions": versions(*self.libraries),
            "repeats": len(self.ours.seconds),
            "digest_equal": self.digest_equal,
        }


def _as_dict(timed: Timed) -> dict[str, Any]:
    return {
        "name": timed.name,
        "median_s": timed.median,
        "seconds": list(timed.seconds),
        "steps_s": dict(timed.steps),
        **timed.facts,
    }


def in_turn(runs: Mapping[str, Run], repeats: int) -> dict[str, list[float]]:
    """Wall seconds of each run, one after another in every repeat, so that a busy moment meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


class Stopwatch:
    """Seconds by step of a chain, and the largest memory in MiB that the process had by the end of each."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self.peaks_mib: dict[str, float] = {}
        self._begun = time.perf_counter()

    def step(self, name: str) -> None:
        """The time since the last step belongs to this one."""
        now = time.perf_counter()
        self.steps[name] = self.steps.get(name, 0.0) + now - self._begun
        self.peaks_mib[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._begun = now


def median_steps(watches: Sequence[Stopwatch]) -> dict[str, float]:
    """Median seconds of each step over repeats."""
    return {name: statistics.median(w.steps[name] for w in watches) for name in watches[0].steps}
