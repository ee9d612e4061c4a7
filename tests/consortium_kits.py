"""A small consortium with its kits, for tests of provisioning, enrolment and what builds on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from client.cohort.site import Site, load_site
from client.cohort.template import init_site
from client.node.enrolling import enrol
from client.node.enrolment import Enrolment
from common.deployment.kit import read_kit
from server.hub.folder import Hub
from server.provision.consortium import Consortium, load_consortium
from server.provision.installing import install
from server.provision.provisioning import Handover, provision

SITES = ("hospital-a", "hospital-b", "hospital-c")


def declared(folder: Path, sites: tuple[str, ...] = SITES, **changes: object) -> Consortium:
    """A consortium on the loopback address, written to a file and read."""
    head = {"name": "Test consortium", "contact": "Dr Li, +86 10 1", "host": "127.0.0.1", "port": 9443} | changes
    text = "[consortium]\n" + "".join(f"{key} = {value!r}\n" for key, value in head.items())
    text += "".join(f'\n[[sites]]\nname = "{name}"\ncontact = "it@{name}.example"\n' for name in sites)
    path = folder / "consortium.toml"
    path.write_text(text, encoding="utf-8")
    return load_consortium(path)


@dataclass
class Kits:
    """A folder of kits, and the passphrases that were told."""

    folder: Path
    passphrases: dict[str, str] = field(default_factory=dict)

    def __call__(self, made: Handover) -> None:
        self.passphrases[made.recipient] = made.passphrase

    def kit(self, recipient: str) -> Path:
        return self.folder / f"{recipient}.kit"

    def files(self, recipient: str) -> dict[str, bytes]:
        return read_kit(self.kit(recipient).read_bytes(), self.passphrases[recipient])

    def install(self, hub: Path) -> Hub:
        return install(self.kit("hub"), self.passphrases["hub"], hub)

    def enrol(self, site: Site) -> Enrolment:
        return enrol(site, self.kit(site.name), self.passphrases[site.name])


def provisioned(folder: Path, sites: tuple[str, ...] = SITES, **changes: object) -> Kits:
    """Kits of a consortium of these sites below the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    kits = Kits(folder / "kits")
    provision(declared(folder, sites, **changes), kits.folder, kits)
    return kits


def site_at(folder: Path, name: str) -> Site:
    """A new site's folder."""
    init_site(folder, name)
    return load_site(folder)
