"""server/provision: what is in a kit: keys and certificates, and, in the hub's, the files for people."""

from __future__ import annotations

from common.deployment.fields import TomlValue, as_toml, today
from common.deployment.papers import HUB_PAPERS, README, SITE_PAPERS, papers
from server.provision.authority import Authority

_UNPRIVILEGED = 1024
"""From this port on anybody may listen."""


def site_files(authority: Authority, name: str) -> tuple[dict[str, bytes], bytes]:
    """The files of a site's kit, with new keys; and the page that goes with the kit and holds no secret."""
    keys, head = authority.certify_site(name), authority.register.consortium
    issued = authority.register.of_site(name)
    if issued is None:
        raise LookupError(name)
    enrolment: dict[str, TomlValue] = {
        "consortium": head.name,
        "site": name,
        "host": head.host,
        "port": head.port,
        "issued": issued.issued,
        "expires": issued.expires,
        "contact": head.contact,
        "coordinator": authority.coordinator,
        "serial": issued.serial,
    }
    page = papers({README: SITE_PAPERS[README]}, enrolment)[README]
    return keys | {"enrolment.toml": as_toml(enrolment).encode()}, page


def hub_files(authority: Authority) -> dict[str, bytes]:
    """The files of the hub's kit as of the present issue."""
    register, head = authority.register, authority.register.consortium
    admitted = {name: issued for name in register.sites if (issued := register.of_site(name)) is not None}
    certificate, key = authority.server_pem
    hub: dict[str, TomlValue] = {
        "consortium": head.name,
        "host": head.host,
        "port": head.port,
        "superlink_port": head.superlink_port,
        "contact": head.contact,
        "issued": authority.server.issued,
        "expires": authority.server.expires,
        "issue": register.issue,
        "sites": list(register.sites),
        "site_certificates": {name: issued.expires for name, issued in admitted.items()},
    }
    ports = {"capabilities": "CAP_NET_BIND_SERVICE" if head.port < _UNPRIVILEGED else ""}
    return {
        "hub.toml": as_toml(hub).encode(),
        "tls/ca.crt": authority.ca_pem,
        "tls/server.crt": certificate,
        "tls/server.key": key,
        "tls/crl.pem": authority.revocations(),
        "keys/coordinator.key": authority.coordinator_pem,
        **{f"sites/{name}.pub": issued.node_key.encode() for name, issued in admitted.items()},
        **papers(HUB_PAPERS, hub | ports | {"made": today()}),
    }
