"""client/release: the head of the ledger as the coordinator has countersigned it, as it was told with an answer.

Whoever cuts lines off the ledger's end, or writes it anew, has the hospital's own chain whole again, but not one with
the line that another party has signed for. With each message the coordinator sends the head that it was told before; it
is kept in `store/ledger.countersigned.json`, never exchanged for a shorter one, whether or not the ledger still has it.
So the last answer is countersigned with the next message, of whatever run; until then the coordinator alone has that.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client.cohort.site import Site
from client.release.ledger import Ledger, Place, ledger_file
from common.errors import FedmviError
from common.federation.signatures import Head, SignedHead, head_is_signed
from common.files import write_whole

_LOG = logging.getLogger("fedmvi.site")


@dataclass(frozen=True)
class Countersigned:
    """A head that the coordinator has signed.

    Attributes
    ----------
    coordinator
        Its public key, in hexadecimal.
    place
        Where the line was found in the ledger; None if the ledger has no such line.
    """

    signed: SignedHead
    coordinator: str
    place: Place | None


def countersigned_file(site: Site) -> Path:
    """Where the countersigned head is kept."""
    return site.store / "ledger.countersigned.json"


def read_countersigned(site: Site) -> Countersigned | None:
    """The countersigned head, None if there is none; error 429 if it is damaged or not signed for this site."""
    path = countersigned_file(site)
    if not path.exists():
        return None
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        signed = SignedHead(Head(told["lines"], told["hash"]), told["signature"])
        coordinator, end = str(told["coordinator"]), told["end"]
        sound = head_is_signed(coordinator, site.name, signed) and (end is None or type(end) is int)
    except (OSError, ValueError, KeyError, TypeError, FedmviError) as error:
        raise FedmviError(429, f"{path}: {type(error).__name__}") from error
    if not sound:
        raise FedmviError(429, f"{path}: not signed for {site.name}")
    return Countersigned(signed, coordinator, None if end is None else Place(signed.head, end))


def countersign(site: Site, coordinator: str, signed: SignedHead) -> Countersigned:
    """Keep a countersigned head, unless one that goes further is kept already; on return it is on disk.

    Gives the head that came. That the ledger does not have it is logged, and no reason to refuse: the hospital may have
    restored a copy, and nobody else's work should stand still for it. A damaged record is replaced.
    """
    known = _known(site)
    ledger = Ledger(ledger_file(site))
    place = ledger.find(signed.head, known.place if known else None)
    if place is None:
        _LOG.error("%s", FedmviError(513, str(ledger_file(site)), site=site.name, lines=signed.head.lines))
    found = Countersigned(signed, coordinator, place)
    if known is not None and known.coordinator == coordinator:
        if known.signed.head.lines > signed.head.lines:
            return found
        if known.signed == signed and known.place == place:
            return found
    content = {
        "site": site.name,
        "lines": signed.head.lines,
        "hash": signed.head.hash,
        "signature": signed.signature,
        "coordinator": coordinator,
        "end": None if place is None else place.end,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(countersigned_file(site), (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return found


def current_head(site: Site) -> Head:
    """How far the ledger goes now, read from the countersigned line on."""
    known = _known(site)
    return Ledger(ledger_file(site)).head(known.place if known else None)


def _known(site: Site) -> Countersigned | None:
    try:
        return read_countersigned(site)
    except FedmviError as error:
        _LOG.error("%s", error)
        return None
