"""server/provision: what is in a kit: keys, certificates, and the files for people, from the templates beside this."""

from __future__ import annotations

from importlib import metadata
from importlib.resources import files
from string import Template

from common.deployment.fields import TomlValue, as_toml, today
from server.provision.authority import Authority

_UNPRIVILEGED = 1024
"""From this port on anybody may listen."""


def site_files(authority: Authority, name: str) -> dict[str, bytes]:
    """The files of a site's kit, with new keys."""
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
    words = {name: str(value) for name, value in enrolment.items()} | {"version": metadata.version("fedmvi")}
    return keys | {
        "enrolment.toml": as_toml(enrolment).encode(),
        "README.md": render("site-readme.md", words),
        "fedmvi-site.service": render("fedmvi-site.service", words),
        "compose.yaml": render("site-compose.yaml", words),
    }


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
    words = {name: str(value) for name, value in hub.items()}
    words |= {"version": metadata.version("fedmvi"), "made": today().isoformat()}
    words["capabilities"] = "CAP_NET_BIND_SERVICE" if head.port < _UNPRIVILEGED else ""
    return {
        "hub.toml": as_toml(hub).encode(),
        "tls/ca.crt": authority.ca_pem,
        "tls/server.crt": certificate,
        "tls/server.key": key,
        "tls/crl.pem": authority.revocations(),
        "keys/coordinator.key": authority.coordinator_pem,
        **{f"sites/{name}.pub": issued.node_key.encode() for name, issued in admitted.items()},
        "README.md": render("hub-readme.md", words),
        "fedmvi-server.service": render("fedmvi-server.service", words),
        "compose.yaml": render("hub-compose.yaml", words),
    }


def render(template: str, words: dict[str, str]) -> bytes:
    """A template with its words filled in; KeyError for one that has none."""
    text = files("server.provision").joinpath("templates", template).read_text(encoding="utf-8")
    return Template(text).substitute(words).encode()
