"""simulation: how far federated statistics are from the same statistics on the pooled rows.

Each case runs conclusions over at least three uneven, unlike sites, plain and masked, and holds the results against
an independent library on all rows together, or against what R gave for them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.federation.ports import Meter, SitesPort
from common.federation.runner import Conclusion, conclude
from common.study.table import FloatArray
from simulation.views import federation_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Difference:
    """The largest difference of one statistic from its oracle, and how much it may be."""

    statistic: str
    oracle: str
    difference: float
    tolerance: float


@dataclass(frozen=True)
class Table:
    """A pooled table and the (n,) site of each row.

    Attributes
    ----------
    key
        What `--data` calls it.
    title
        What reports call it.
    columns, endpoints
        (n,) float64 by name, NaN where missing; an endpoint `y`, or `os.time` and `os.event`.
    """

    key: str
    title: str
    columns: Mapping[str, FloatArray]
    endpoints: Mapping[str, FloatArray]
    site: NDArray[np.int64]

    def matrix(self, names: Sequence[str]) -> FloatArray:
        """(n, p) of the named columns."""
        return np.column_stack([self.columns[name] for name in names])

    def rows(self, chosen: NDArray[np.bool_]) -> Table:
        """A part of the rows."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        endpoints = {name: values[chosen] for name, values in self.endpoints.items()}
        return dataclasses.replace(self, columns=columns, endpoints=endpoints, site=self.site[chosen])


@dataclass(frozen=True)
class Case:
    """Conclusions over one table, and how their results are held against an oracle."""

    table: Table
    conclusions: Callable[[], list[Conclusion[Any]]]
    differences: Callable[[list[Any]], list[Difference]]


class Absent(Exception):  # noqa: N818 - not an error: the case is not run, and the reason is shown
    """What a case needs is not on this machine."""


@dataclass(frozen=True)
class Row:
    """One line of the exactness table."""

    statistic: str
    data: str
    oracle: str
    difference: float
    tolerance: float
    masked_equal: bool
    rounds: int
    kib_per_site: float
    seconds: float

    @property
    def passed(self) -> bool:
        """Within tolerance, and masked and plain equal bit for bit."""
        return self.difference <= self.tolerance and self.masked_equal


@dataclass
class Measured:
    """All rows, and why some cases were not run."""

    rows: list[Row] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def measure(makers: Iterable[Callable[[], Case]], data: str | None = None) -> Measured:
    """Run the cases, plain and masked; only those over the table `data`, if given."""
    done = Measured()
    for maker in makers:
        try:
            case = maker()
        except Absent as why:
            done.absent.append(str(why))
            continue
        if data in (None, case.table.key):
            done.rows += _measure_one(case)
    done.absent = sorted(set(done.absent))
    return done


def _measure_one(case: Case) -> list[Row]:
    plain, meter, seconds = _run(case, masked=False)
    masked, _, _ = _run(case, masked=True)
    equal = all(same(a, b) for a, b in zip(plain, masked, strict=True))
    kib = meter.bytes_from_sites / 1024 / len(np.unique(case.table.site))
    return [
        Row(
            d.statistic, case.table.title, d.oracle, float(d.difference), d.tolerance, equal, meter.rounds, kib, seconds
        )
        for d in case.differences(plain)
    ]


def _run(case: Case, *, masked: bool) -> tuple[list[Any], Meter, float]:
    port = federation_of(case.table.columns, case.table.endpoints, case.table.site, masked=masked)
    meter = Meter(port.transport)
    begun = time.perf_counter()
    results = conclude(SitesPort(meter, port.ticket), case.conclusions())
    return results, meter, time.perf_counter() - begun


def same(first: Any, second: Any) -> bool:
    """Whether two results are equal bit for bit."""
    if dataclasses.is_dataclass(first):
        return all(same(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first))
    if isinstance(first, np.ndarray):
        return bool(first.tobytes() == second.tobytes())
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, float):
        return np.float64(first).tobytes() == np.float64(second).tobytes()
    return bool(first == second)


def largest(ours: Any, theirs: Any) -> float:
    """The largest absolute difference; infinite where one has a NaN that the other has not, or shapes differ."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | np.isnan(a), 0.0, np.abs(a - b))
    return float(np.max(apart, initial=0.0))


def relative(ours: Any, theirs: Any) -> float:
    """The largest difference relative to the oracle's value (absolute where that is zero)."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    scale = np.where((b == 0) | ~np.isfinite(b), 1.0, np.abs(b))
    return largest(a / scale, b / scale)


def library(name: str) -> str:
    """Name and version of an installed library."""
    return f"{name} {metadata.version(name)}"


def public_data(folder: str) -> Path:
    """A folder of the public test data, under `FEDMVI_DATA` or beside the source tree; `Absent` without it."""
    base = Path(os.environ.get("FEDMVI_DATA", ROOT.parent / "shared" / "data"))
    if not (base / folder).is_dir():
        raise Absent(f"the public data folder {base / folder} is absent; set FEDMVI_DATA to where it is")
    return base / folder


@cache
def golden(name: str) -> Mapping[str, Any]:
    """What R gave, as frozen in the source tree by `tests/golden/make.py`; `Absent` without a source tree."""
    path = ROOT / "tests" / "golden" / f"{name}.json"
    if not path.is_file():
        raise Absent(f"{path} is absent: the golden files of R come with the source tree, not with the package")
    frozen: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return frozen


def as_markdown(measured: Measured) -> str:
    """The table as a page."""
    text = f"# Exactness\n\n{_verdict(measured.rows)}\n\n"
    text += (
        "Largest difference between each federated statistic and the same one on the pooled rows, measured by "
        "`fedmvi-simulate exactness`. Every case ran twice, plain and under masks.\n\n"
        f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"
    )
    for row in measured.rows:
        verdict, equal = ("yes" if fine else "**no**" for fine in (row.passed, row.masked_equal))
        size = f"{row.difference:.1e} | {row.tolerance:.0e} | {verdict} | {equal} | {row.rounds}"
        cost = f"{row.kib_per_site:.1f} | {row.seconds:.2f}"
        text += f"| {row.statistic} | {row.data} | {row.oracle} | {size} | {cost} |\n"
    return text + "".join(f"\nNot run: {why}\n" for why in measured.absent)


COLUMNS = (
    "statistic", "data", "oracle", "difference", "tolerance", "pass", "masked = plain", "rounds", "KiB per site",
    "seconds",
)  # fmt: skip


def _verdict(rows: Sequence[Row]) -> str:
    passed, equal = sum(row.passed for row in rows), sum(row.masked_equal for row in rows)
    bits = "all with equal bits" if equal == len(rows) else f"{len(rows) - equal} **without** equal bits"
    return f"{passed} of {len(rows)} rows passed: within their tolerance, and masked as plain; {bits}."
