"""server/provision: which certificates of a consortium expire soon, and what to do about each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from common.deployment.certificates import expiry, expiry_of
from common.deployment.fields import today
from common.errors import FedmviError
from server.hub.folder import Hub, load_hub
from server.provision import SOON_DAYS
from server.provision.authority import FOLDER, Authority


@dataclass(frozen=True)
class Expiry:
    """A certificate and how long it is still valid.

    Parameters
    ----------
    holder
        `authority`, `hub`, or the name of a site.
    days
        Days that are left; 0 or less if it has expired.
    """

    holder: str
    expires: date
    days: int

    @property
    def do(self) -> str:
        """What renews it."""
        commands = {"authority": "provision into a new folder", "hub": "fedmvi-server renew KITS"}
        return commands.get(self.holder, f"fedmvi-server rotate KITS {self.holder}")


def expiring(hub: Hub, days: int = SOON_DAYS) -> list[Expiry]:
    """What of a hub's certificates expires within so many days, soonest first; revoked sites do not count.

    Raises
    ------
    FedmviError
        739 a certificate of the hub cannot be read.
    """
    try:
        own = [("authority", expiry_of(hub.ca)), ("hub", expiry_of(hub.server_certificate))]
    except (OSError, ValueError) as error:
        raise FedmviError(739, f"{hub.folder}: {error}") from error
    return _soon([*own, *((name, hub.site_certificates[name]) for name in hub.site_certificates)], days)


def expiring_in(folder: Path, days: int = SOON_DAYS) -> list[Expiry]:
    """The same of a folder of kits, or of a hub's; errors 737 and 739."""
    if (folder / "hub.toml").exists():
        return expiring(load_hub(folder), days)
    authority = Authority(folder / FOLDER)
    register = authority.register
    sites = [(name, issued.expires) for name in register.sites if (issued := register.of_site(name))]
    return _soon([("authority", expiry(authority.certificate)), ("hub", authority.server.expires), *sites], days)


def _soon(holders: Iterable[tuple[str, date]], days: int) -> list[Expiry]:
    found = [Expiry(holder, expires, (expires - today()).days) for holder, expires in holders]
    return sorted((e for e in found if e.days <= days), key=lambda e: (e.days, e.holder))
