"""common/observing: metrics are read anew at each look, on the loopback address alone."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from urllib.request import ProxyHandler, build_opener

import pytest

from common.deployment.ports import free_port
from common.errors import FedmviError
from common.observing.metrics import Kind, Measure, gauge, moment, serve

OPENER = build_opener(ProxyHandler({}))


def read(port: int) -> str:
    with OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@contextlib.contextmanager
def serving(measured) -> Iterator[int]:
    port = free_port()
    server = serve(measured, port)
    try:
        yield port
    finally:
        server.shutdown()


def test_each_look_reads_the_numbers_anew() -> None:
    seen = [0.0]

    def measured() -> Iterator[Measure]:
        seen[0] += 1
        yield gauge("looks", "How often somebody looked.", seen[0])
        yield gauge("unknown", "Not known yet.", None)
        yield Measure("refusals", "By number.", Kind.COUNTER, ("number",), ((("412",), 3.0),))

    with serving(measured) as port:
        assert "fedmvi_looks 1.0" in read(port)
        text = read(port)
    assert "fedmvi_looks 2.0" in text
    assert 'fedmvi_refusals_total{number="412"} 3.0' in text
    assert "\nfedmvi_unknown " not in text


def test_nobody_but_this_machine_can_read_them() -> None:
    with serving(list) as port, socket.socket() as other:
        # Another address of the same machine is free: the server has not taken it.
        other.bind(("127.0.0.2", port))


def test_a_look_that_fails_leaves_the_daemon_answering() -> None:
    fails = [True]

    def measured() -> Iterator[Measure]:
        if fails[0]:
            raise OSError("a disk is away")
        yield gauge("fine", "Fine.", 1.0)

    with serving(measured) as port:
        assert "fedmvi" not in read(port)
        fails[0] = False
        assert "fedmvi_fine 1.0" in read(port)


def test_a_port_that_is_taken_is_an_error_with_a_number() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(FedmviError) as caught:
            serve(list, taken.getsockname()[1])
    assert caught.value.number == 826


def test_a_time_without_a_zone_is_universal() -> None:
    assert moment("2026-01-02T03:04:05") == moment("2026-01-02T04:04:05+01:00") == 1767323045.0
    assert moment("yesterday") is None
