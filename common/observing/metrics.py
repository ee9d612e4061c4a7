"""common/observing: numbers about a daemon for a monitoring program, on the loopback address only.

The daemons' work is done in processes that live for one message or one run, so nothing is counted in memory: each time
somebody looks, the numbers are read anew from what those processes left on disk.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from common.errors import FedmviError
from common.terminal import need

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

LOOPBACK = "127.0.0.1"
"""Where metrics can be read; to collect them from elsewhere, somebody on this machine must pass them on."""

METRICS_PORT = 9464
"""The port where nobody names one."""

_LOG = logging.getLogger("fedmvi.metrics")


class Kind(StrEnum):
    """Whether a number only grows."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True)
class Measure:
    """One metric with its samples now.

    Attributes
    ----------
    name
        Without `fedmvi_` and, for counters, without `_total`.
    words
        What it is, for whoever meets it in a list.
    labels
        Names of what tells samples apart: states, numbers of errors, names of sites. Never anything of a patient.
    samples
        The labels' values, and the number.
    """

    name: str
    words: str
    kind: Kind
    labels: tuple[str, ...] = ()
    samples: tuple[tuple[tuple[str, ...], float], ...] = ()


def gauge(name: str, words: str, value: float | None) -> Measure:
    """A metric that is one number now; without a sample where it is not known."""
    return Measure(name, words, Kind.GAUGE, samples=() if value is None else (((), value),))


def expiry(path: Path) -> float | None:
    """When a certificate ends, in seconds since 1970; None if it cannot be read."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def moment(text: object) -> float | None:
    """A time as the files write it, in seconds since 1970; None if it is none."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


class Server(Protocol):
    """What answers a monitoring program, until it is told to stop."""

    def shutdown(self) -> None:
        """Stop answering."""


def serve(measured: Callable[[], Iterable[Measure]], port: int) -> Server:
    """Answer monitoring programs at http://127.0.0.1:PORT/metrics, from a thread of this process.

    Raises
    ------
    FedmviError
        804 the optional part is not installed, 826 the port is taken.
    """
    need("metrics", "prometheus_client")
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.registry import Collector

    class Collected(Collector):
        def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
            try:
                yield from map(_family, measured())
            except Exception:  # noqa: BLE001 - a file that cannot be read now must not end the daemon's thread
                _LOG.exception("the metrics cannot be read")

    registry = CollectorRegistry()
    registry.register(Collected())
    try:
        server, _ = start_http_server(port, addr=LOOPBACK, registry=registry)
    except OSError as error:
        raise FedmviError(826, str(error), port=port) from error
    return server


def serve_until_ended(measured: Callable[[], Iterable[Measure]], port: int) -> None:
    """Answer monitoring programs until SIGTERM or SIGINT; raises as `serve` does.

    In a process of its own: a daemon that starts processes has no thread beside that.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ended.set())
    server = serve(measured, port)
    _LOG.info("metrics at http://%s:%d/metrics", LOOPBACK, port)
    ended.wait()
    server.shutdown()


def _family(measure: Measure) -> GaugeMetricFamily | CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made = CounterMetricFamily if measure.kind is Kind.COUNTER else GaugeMetricFamily
    family = made(f"fedmvi_{measure.name}", measure.words, labels=measure.labels)
    for labels, value in measure.samples:
        family.add_metric(labels, value)
    return family
