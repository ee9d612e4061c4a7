"""tests: a consortium whose sites are enrolled, and their coordinator's side of the wire."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import RecordDict

from client.node.enrolment import FILES
from client.receiving import receive
from common.deployment.fields import today
from common.federation.codec import unpack
from common.federation.envelope import Answer, read_answers
from common.federation.query import Ask
from common.federation.records import from_records, read_ledger, signed_records, to_wire
from common.federation.signatures import Head, Signer
from tests.disclosure.consortium import Consortium


def signer(seed: int = 1) -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def enrol(site: Path, coordinator: str, name: str | None = None) -> None:
    """What `fedmvi-site enrol` leaves, as far as messages need it."""
    folder = site / "enrolment"
    folder.mkdir()
    for file in FILES:
        (folder / file).write_text("")
    facts = {
        "consortium": "test", "site": name or site.name, "host": "hub.example.org", "contact": "Ann, +1 555 0100",
        "coordinator": coordinator, "serial": "1f",
    }  # fmt: skip
    lines = [f'{key} = "{value}"\n' for key, value in facts.items()]
    lines += [f"port = 9443\nissued = {today()}\nexpires = {today() + timedelta(days=365)}\n"]
    (folder / "enrolment.toml").write_text("".join(lines))


def records(made: Consortium, site: str, *asks: Ask, by: Signer | None = None, last: Head | None = None) -> RecordDict:
    """A message as the coordinator sends it."""
    return signed_records(to_wire(made.message(*asks)), site, by or signer(), last)


def numbers(reply: RecordDict) -> list[int]:
    """The numbers of the errors of a reply, 0 for an answer."""
    return [answer["error"] for answer in unpack(from_records(reply), dict)["answers"]]


def answers(made: Consortium, site: str, reply: RecordDict, *asks: Ask) -> list[Answer]:
    return read_answers(from_records(reply), made.ticket, asks, site)


def head(reply: RecordDict) -> Head:
    told = read_ledger(reply)
    assert told is not None
    return told.head


def put(made: Consortium, site: str, *asks: Ask, last: Head | None = None) -> RecordDict:
    """The site's reply to a signed message."""
    return receive(made.folders[site], records(made, site, *asks, last=last))
