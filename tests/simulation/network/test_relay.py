"""simulation/network: the relay passes every byte on, counts it, and ends with its owner."""

from __future__ import annotations

import socket
import threading

import pytest

from simulation.network.relay import Relay


@pytest.fixture
def echo():
    """A server that sends back what it gets, twice, until the other side has finished."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data + data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_what_goes_up_and_what_comes_down_is_passed_on_and_counted(echo: int):
    sent = bytes(range(256)) * 2000
    with Relay(echo) as relay:
        with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as connection:
            threading.Thread(target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))).start()
            got = b"".join(iter(lambda: connection.recv(65536), b""))
        assert len(got) == 2 * len(sent)
        assert (relay.up, relay.down) == (len(sent), 2 * len(sent))


def test_open_connections_end_with_the_relay(echo: int):
    with Relay(echo) as relay:
        connection = socket.create_connection(("127.0.0.1", relay.port), timeout=10)
        connection.sendall(b"x")
        assert connection.recv(2, socket.MSG_WAITALL) == b"xx"
    assert connection.recv(1) == b""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", relay.port), timeout=2)
    connection.close()
