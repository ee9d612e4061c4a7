"""server/provision: the folder `authority/`: the key that certifies everybody, and the register of what was issued.

It is needed to provision, rotate, revoke and renew, and for nothing else: keep it offline. It also keeps the hub's own
keys, so that a lost hub can be installed again; it never keeps a site's.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import Certificate
from pydantic import Field, ValidationError

from common.deployment.certificates import expiry, load_certificate
from common.deployment.fields import Declared, today
from common.errors import FedmviError
from common.files import sync_folder, write_whole
from common.study.declarations import SiteName
from server.provision.certificates import (
    Issuer,
    authority_certificate,
    key_pem,
    load_key,
    new_coordinator_key,
    new_key,
    node_key_pem,
    node_public_key,
)
from server.provision.consortium import Consortium, ConsortiumHead, Validity

FOLDER = "authority"


class Issued(Declared):
    """One certificate that the authority signed."""

    kind: Literal["server", "site"]
    name: str
    serial: str
    fingerprint: str
    issued: date
    expires: date
    revoked: date | None = None
    node_key: str = ""


class Register(Declared):
    """`issued.json`: everything that the authority ever signed, oldest first."""

    consortium: ConsortiumHead
    validity: Validity
    issue: int = Field(default=1, ge=1)
    handed_over: int = Field(default=0, ge=0, description="The issue in the last hub.kit that was written.")
    sites: tuple[SiteName, ...] = ()
    certificates: tuple[Issued, ...] = ()

    def of_site(self, name: str) -> Issued | None:
        """The site's certificate that is not revoked."""
        return next((c for c in self.certificates if c.kind == "site" and c.name == name and not c.revoked), None)


class Authority:
    """An authority at `kits/authority`; use `opened`, which lets one process at a time change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.certificate = load_certificate((folder / "ca.crt").read_bytes())
            self._issuer = Issuer(load_key((folder / "ca.key").read_bytes()), self.certificate)
            self.register = Register.model_validate_json((folder / "issued.json").read_bytes())
            coordinator = load_pem_private_key(self.coordinator_pem, password=None)
            if not isinstance(coordinator, Ed25519PrivateKey):
                raise ValueError("coordinator.key is no Ed25519 key")
            self._coordinator = coordinator
        except (OSError, ValueError, TypeError, ValidationError) as error:
            raise FedmviError(737, f"{folder}: {error}") from error

    @classmethod
    def create(cls, kits: Path, consortium: Consortium) -> Authority:
        """Make an authority and the hub's keys; error 213 if the folder holds something else."""
        kits.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path for path in kits.iterdir() if not path.name.startswith(f".{FOLDER}.")):
            raise FedmviError(213, str(kits))
        for left in kits.glob(f".{FOLDER}.*"):
            shutil.rmtree(left)  # of a first time that was killed
        folder = Path(mkdtemp(prefix=f".{FOLDER}.", dir=kits))
        key, head = new_key(), consortium.consortium
        certificate = authority_certificate(
            key, head.name, today() + timedelta(days=consortium.validity.authority_days)
        )
        write_whole(folder / "ca.key", key_pem(key))
        write_whole(folder / "ca.crt", certificate.public_bytes(Encoding.PEM), 0o644)
        write_whole(folder / "coordinator.key", key_pem(new_coordinator_key()))
        first = Register(consortium=head, validity=consortium.validity)
        write_whole(folder / "issued.json", first.model_dump_json(indent=1).encode())
        authority = cls(folder)
        authority.certify_hub()
        authority.save()
        place = kits / FOLDER
        folder.rename(place)
        sync_folder(kits)
        return cls(place)

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate."""
        return (self.folder / "ca.crt").read_bytes()

    @property
    def server_pem(self) -> tuple[bytes, bytes]:
        """The hub's certificate and its private key, in one file so that they change together."""
        content = (self.folder / "server.pem").read_bytes()
        end = content.index(b"-----END CERTIFICATE-----\n") + len(b"-----END CERTIFICATE-----\n")
        return content[:end], content[end:]

    @property
    def coordinator_pem(self) -> bytes:
        """The private key by which the coordinator signs messages."""
        return (self.folder / "coordinator.key").read_bytes()

    @property
    def coordinator(self) -> str:
        """The public half of it, in hexadecimal: what sites know."""
        return self._coordinator.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @property
    def server(self) -> Issued:
        """The hub's certificate in the register."""
        return next(c for c in reversed(self.register.certificates) if c.kind == "server")

    def revocations(self) -> bytes:
        """The list of revoked certificates as of the present issue (PEM)."""
        revoked = [(int(c.serial, 16), c.revoked) for c in self.register.certificates if c.revoked]
        return self._issuer.revocations(revoked, self.register.issue)

    def certify_hub(self) -> None:
        """A new key and certificate for the hub, under the names that the register has."""
        head, key, expires = self.register.consortium, new_key(), self._end()
        certificate = self._issuer.server(key.public_key(), head.name, [head.host, *head.names], expires)
        write_whole(self.folder / "server.pem", certificate.public_bytes(Encoding.PEM) + key_pem(key))
        self._add(_issued("server", head.host, certificate))

    def certify_site(self, name: str) -> dict[str, bytes]:
        """New keys and a certificate for a site, as files of its kit; an earlier one of it is revoked."""
        self.withdraw_site(name)
        node, client = new_key(), new_key()
        certificate = self._issuer.client(client.public_key(), self.register.consortium.name, name, self._end())
        self._add(_issued("site", name, certificate, node_public_key(node).decode()))
        if name not in self.register.sites:
            self._update(sites=(*self.register.sites, name))
        return {
            "ca.crt": self.ca_pem,
            "node.key": node_key_pem(node),
            "node.pub": node_public_key(node),
            "client.crt": certificate.public_bytes(Encoding.PEM),
            "client.key": key_pem(client),
        }

    def withdraw_site(self, name: str) -> None:
        """Revoke whatever the site has."""
        current, ended = self.register.of_site(name), {"revoked": today()}
        certificates = self.register.certificates
        self._update(certificates=tuple(c.model_copy(update=ended) if c is current else c for c in certificates))

    def declare(self, consortium: Consortium) -> None:
        """Take over what may change: contact, further names, validity."""
        self._update(consortium=consortium.consortium, validity=consortium.validity)

    def next_issue(self) -> None:
        """Count a change that the hub has to know."""
        self._update(issue=self.register.issue + 1)

    def handed_over(self) -> None:
        """Remember that a hub.kit of this issue was written."""
        self._update(handed_over=self.register.issue)
        self.save()

    def save(self) -> None:
        """Write the register."""
        write_whole(self.folder / "issued.json", self.register.model_dump_json(indent=1).encode())

    def _end(self) -> date:
        """When certificates of today end: never after the authority's own."""
        return min(today() + timedelta(days=self.register.validity.days), expiry(self.certificate))

    def _add(self, issued: Issued) -> None:
        self._update(certificates=(*self.register.certificates, issued))

    def _update(self, **changes: object) -> None:
        self.register = self.register.model_copy(update=changes)


def _issued(kind: Literal["server", "site"], name: str, certificate: Certificate, node_key: str = "") -> Issued:
    return Issued(
        kind=kind,
        name=name,
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(SHA256()).hex(),
        issued=today(),
        expires=expiry(certificate),
        node_key=node_key,
    )


@contextmanager
def opened(kits: Path) -> Iterator[Authority]:
    """The authority of a folder of kits, for this process alone; error 737 if there is none."""
    folder = kits / FOLDER
    try:
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise FedmviError(737, f"{folder}: {error}") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield Authority(folder)
