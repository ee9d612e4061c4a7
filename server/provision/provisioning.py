"""server/provision: makes and changes the kits of a consortium: provision, rotate, revoke, renew.

In every one the kits are written and told first, then the register: after a kill between them the kits are made again.
Kits of sites that are not concerned are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.deployment.kit import new_passphrase, write_kit
from common.errors import FedmviError
from common.files import write_whole
from server.provision.authority import FOLDER, Authority, opened
from server.provision.consortium import Consortium, ConsortiumHead
from server.provision.contents import hub_files, site_files


@dataclass(frozen=True)
class Handover:
    """A kit that was written, and the passphrase that opens it, which is kept nowhere else."""

    recipient: str
    kit: Path
    passphrase: str


Tell = Callable[[Handover], None]
"""Called for every kit as soon as it is written."""


def provision(consortium: Consortium, kits: Path, tell: Tell = lambda _: None) -> list[Handover]:
    """Make the authority and a kit for the hub and for every site; later on, for the sites that were added since.

    Raises
    ------
    FedmviError
        213 the folder holds something else, 736 the consortium was provisioned with another name, host or port, 737
        its authority is damaged.
    """
    if not (kits / FOLDER).exists():
        Authority.create(kits, consortium)
    with opened(kits) as authority:
        before = authority.register.consortium
        _refuse_another(before, consortium.consortium)
        authority.declare(consortium)
        added = [site.name for site in consortium.sites if site.name not in authority.register.sites]
        changed = (before, authority.register.validity) != (consortium.consortium, consortium.validity)
        if added or changed:
            authority.next_issue()
        if consortium.consortium.names != before.names:
            authority.certify_hub()
        return _write(authority, kits, added, tell)


def rotate(kits: Path, site: str, tell: Tell = lambda _: None) -> list[Handover]:
    """New keys for one site; its old ones are revoked. A revoked site is admitted again.

    Raises
    ------
    FedmviError
        737 the folder has no authority, 738 no such site.
    """
    with opened(kits) as authority:
        if site not in authority.register.sites:
            raise FedmviError(738, ", ".join(authority.register.sites), site=site)
        authority.next_issue()
        return _write(authority, kits, [site], tell)


def revoke(kits: Path, site: str, tell: Tell = lambda _: None) -> list[Handover]:
    """Admit one site no more: its certificate is on the list of revoked ones, its node key is not registered.

    Raises
    ------
    FedmviError
        737 the folder has no authority, 738 no such site, or it was revoked already.
    """
    with opened(kits) as authority:
        if authority.register.of_site(site) is None:
            raise FedmviError(738, ", ".join(authority.register.sites), site=site)
        authority.withdraw_site(site)
        authority.next_issue()
        done = _write(authority, kits, [], tell)
        for suffix in ("kit", "md"):
            (kits / f"{site}.{suffix}").unlink(missing_ok=True)
        return done


def renew(kits: Path, tell: Tell = lambda _: None) -> list[Handover]:
    """A new certificate for the hub; error 737 if the folder has no authority."""
    with opened(kits) as authority:
        authority.certify_hub()
        authority.next_issue()
        return _write(authority, kits, [], tell)


def gone(consortium: Consortium, kits: Path) -> list[str]:
    """Sites that are still admitted although the consortium's file does not name them any more."""
    with opened(kits) as authority:
        named = {site.name for site in consortium.sites}
        return [name for name in authority.register.sites if name not in named and authority.register.of_site(name)]


def _write(authority: Authority, kits: Path, sites: list[str], tell: Tell) -> list[Handover]:
    """Write the kits of these sites and, if anything changed since the last one, the hub's."""
    done = []
    for name in sites:
        files, page = site_files(authority, name)
        write_whole(kits / f"{name}.md", page, 0o644)
        done.append(_hand_over(kits, name, files, tell))
    if authority.register.handed_over != authority.register.issue:
        done.append(_hand_over(kits, "hub", hub_files(authority), tell))
        authority.handed_over()
    return done


def _hand_over(kits: Path, recipient: str, files: dict[str, bytes], tell: Tell) -> Handover:
    made = Handover(recipient, kits / f"{recipient}.kit", new_passphrase())
    write_whole(made.kit, write_kit(files, made.passphrase))
    tell(made)
    return made


def _refuse_another(before: ConsortiumHead, now: ConsortiumHead) -> None:
    told = {"name": (before.name, now.name), "host": (before.host, now.host), "port": (before.port, now.port)}
    problems = [
        f"consortium.{field}: it was {old!r}, and every kit says so" for field, (old, new) in told.items() if old != new
    ]
    if problems:
        raise FedmviError(736, "; ".join([*problems, "provision into a new folder"]), count=len(problems))
