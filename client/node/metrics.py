"""client/node: what a hospital's monitoring program can know of the node: how it answers, and what must be renewed.

Counted are messages, bytes and days. Patients are not: how many a hospital has is for its own gate to tell.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from client.cohort.site import ENROLMENT, Site
from client.node.folder import NodeFolder
from client.node.hearing import connection
from client.release.ledger import ledger_file
from common.observing.metrics import Kind, Measure, expiry, gauge, moment

_REFUSED = re.compile(r"refused \((\d{3})\): ")
"""How the ledger's words of a refusal begin, with the number of the error."""

_TIMES = (
    ("started", "node_started_seconds", "When the node was started"),
    ("heard", "hub_heard_seconds", "When the hub answered last"),
    ("last_message", "last_message_seconds", "When the last message came"),
)
"""A field of `store/node.json`, the metric's name, and what it is."""


class SiteMetrics:
    """The numbers of one site, read from its ledger, its node's state and its certificates.

    Parameters
    ----------
    site
        Read anew at each look are its files, not `site.toml`.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ledger = _LedgerCounts(ledger_file(site))

    def __call__(self) -> Iterator[Measure]:
        """All metrics now."""
        self._ledger.read_on()
        yield from self._ledger.measures()
        health = NodeFolder(self._site).health()
        connected = None if health is None else float(connection(health)[0])
        yield gauge("node_ready", "1 while the node is connected to the hub, as far as it knows.", connected)
        times = {} if health is None else asdict(health)
        for key, name, words in _TIMES:
            yield gauge(name, f"{words}, since 1970.", moment(times.get(key)))
        ends = expiry(self._site.folder / ENROLMENT / "client.crt")
        yield gauge("certificate_expiry_seconds", "When the site's certificate ends, since 1970.", ends)


class _LedgerCounts:
    """What stands in the ledger, counted; at each look only the lines since the last are read.

    Parameters
    ----------
    path
        The ledger; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._offset, self._lines = 0, 0
        self._last: float | None = None
        self._left: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def read_on(self) -> None:
        """Count what was added since the last look; from the start if the file was replaced by a shorter one."""
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._offset:
                    self._begin_anew()
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # still being written
                    self._offset += len(line)
                    self._count(line)
        except OSError:
            return

    def _count(self, line: bytes) -> None:
        self._lines += 1
        try:
            entry: dict[str, Any] = dict(json.loads(line))
            size = int(entry.get("bytes", 0))
        except (ValueError, TypeError):
            return  # a line that a crash cut short
        self._last = moment(entry.get("time")) or self._last
        left = str(entry.get("left", "other"))
        self._left[left] += 1
        self._bytes[left] += size
        refused = _REFUSED.match(str(entry.get("words", "")))
        if refused:
            self._refused[refused[1]] += 1

    def measures(self) -> Iterator[Measure]:
        """The metrics of the ledger."""
        yield _counter("ledger_lines", "Lines of the ledger.", Counter({"": self._lines}))
        yield _counter("releases", "What left, by kind: answer, receipt or refusal.", self._left, "left")
        yield _counter("released_bytes", "Bytes that left, by kind.", self._bytes, "left")
        yield _counter("refusals", "Questions that were refused, by the error's number.", self._refused, "number")
        yield gauge("last_release_seconds", "When something left last, since 1970.", self._last)


def _counter(name: str, words: str, counts: Counter[str], *labels: str) -> Measure:
    samples = tuple(((key,) if labels else (), float(counts[key])) for key in sorted(counts))
    return Measure(name, words, Kind.COUNTER, labels, samples)
