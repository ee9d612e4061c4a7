"""client/node: the site's enrolment: who it is to the hub, where the hub is, and by which keys they know each other."""

from __future__ import annotations

import ssl
from datetime import date
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from client.cohort.site import ENROLMENT, Site
from common.deployment.fields import ConsortiumName, Declared, HexKey, Host, Line, Port, read_declared, today
from common.errors import FedmviError
from common.study.declarations import SiteName

SECRETS = ("node.key", "client.key")
FILES = ("enrolment.toml", "ca.crt", "node.key", "node.pub", "client.crt", "client.key")
"""What a kit brings; beside it the site makes its own files for people: README.md, systemd unit, compose file."""


class Enrolment(Declared):
    """A validated `enrolment.toml` and the folder that it is in."""

    consortium: ConsortiumName = Field(description="The consortium's name.")
    site: SiteName = Field(description="The site's name in the consortium.")
    host: Host = Field(description="The hub's host name, as hospitals reach it.")
    port: Port = Field(description="The hub's port.")
    issued: date = Field(description="When the keys were made.")
    expires: date = Field(description="From this day on the hub admits them no more.")
    contact: Line = Field(description="Whom to call at the consortium.")
    coordinator: HexKey = Field(description="The public key by which the coordinator signs messages.")
    serial: str = Field(pattern=r"^[0-9a-f]{1,40}$", description="The serial number of the site's certificate.")
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def ca(self) -> Path:
        """The certificate of the consortium's authority."""
        return self.folder / "ca.crt"

    @property
    def node_key(self) -> Path:
        """The private key of the SuperNode (OpenSSH, EC P-384)."""
        return self.folder / "node.key"

    @property
    def node_public_key(self) -> Path:
        """The public key that the hub has registered under the site's name."""
        return self.folder / "node.pub"

    @property
    def client_certificate(self) -> Path:
        """The TLS certificate that the hub's proxy asks for."""
        return self.folder / "client.crt"

    @property
    def client_key(self) -> Path:
        """The private key of that certificate."""
        return self.folder / "client.key"

    @property
    def coordinator_key(self) -> Ed25519PublicKey:
        """The key that must have signed every message."""
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.coordinator))

    def tls(self) -> ssl.SSLContext:
        """What the site's side of every connection trusts and shows: only the consortium's authority, and itself."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cafile=str(self.ca))
        context.load_cert_chain(self.client_certificate, self.client_key)
        return context


def is_enrolled(site: Site) -> bool:
    """Whether the site has been enrolled, validly or not: then it answers that hub and nobody else."""
    return (site.folder / ENROLMENT).exists()


def load_enrolment(site: Site) -> Enrolment:
    """Read the site's enrolment. Cheap: keys and certificates are not opened, see `verify_enrolment`.

    Raises
    ------
    FedmviError
        730 the site is not enrolled, 731 a file is missing or damaged, 732 it has expired, 735 it is another site's.
    """
    folder = site.folder / ENROLMENT
    if not folder.exists():
        raise FedmviError(730, str(folder), site=site.name)
    enrolment = read_enrolment(folder)
    if enrolment.site != site.name:
        raise FedmviError(735, str(folder), given=enrolment.site, wanted=site.name)
    if enrolment.expires <= today():
        raise FedmviError(732, f"{folder}; {enrolment.contact}", site=site.name, date=enrolment.expires.isoformat())
    return enrolment


def read_enrolment(folder: Path) -> Enrolment:
    """Read a folder of an enrolment, whosesoever and however old; error 731 if it is damaged."""
    for name in FILES:
        try:
            there = (folder / name).is_file()
        except PermissionError as error:  # somebody else's, such as root's
            raise FedmviError(731, f"{folder / name}: {error.strerror}") from error
        if not there:
            raise FedmviError(731, f"{folder / name} is missing")
    path = folder / "enrolment.toml"
    try:
        enrolment, problems = read_declared(Enrolment, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(731, f"{path}: {error}") from error
    if enrolment is None:
        raise FedmviError(731, f"{path}: " + "; ".join(problems))
    return enrolment.model_copy(update={"folder": folder.resolve()})
