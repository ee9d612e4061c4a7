"""common/deployment: free ports are free, and no two of them are one."""

from __future__ import annotations

import socket

from common.deployment.ports import free_ports, listens


def test_free_ports_differ_and_nobody_listens_on_them_until_somebody_does() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not any(map(listens, ports))
    with socket.create_server(("127.0.0.1", ports[0])):
        assert listens(ports[0])
