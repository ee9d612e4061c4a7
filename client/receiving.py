"""client: what stands between a network and an answer: the coordinator's signature, and what goes back of the ledger.

A site that is enrolled reads nothing that the coordinator has not signed for it, so that whoever reaches its node by
another way learns a number and no more. A site of simulated patients may be asked without enrolment (simulations have
no coordinator's key); any other that is not enrolled answers nothing that comes over Flower's wire. Functions of one
process (`answer_message`) are not a network.
"""

from __future__ import annotations

import logging
from pathlib import Path

from flwr.app import RecordDict

from client.answering import answer_message
from client.cohort.site import Site, alone, load_site
from client.node.enrolment import is_enrolled, load_enrolment
from client.release.countersigned import countersign, current_head
from common.errors import FedmviError
from common.errors.unforeseen import unforeseen
from common.federation.envelope import failure, write_answers
from common.federation.records import (
    Proof,
    ToldLedger,
    Wire,
    from_wire,
    read_proof,
    read_round,
    read_wire,
    to_records,
)
from common.federation.signatures import head_is_signed, message_is_signed
from common.observing.context import bound

_LOG = logging.getLogger("fedmvi.site")


def receive(folder: Path, records: RecordDict) -> RecordDict:
    """Answer a message that came over Flower's wire for the site in `folder`.

    Never raises: what goes wrong leaves as a number with public facts; the detail stays in the local log.
    """
    try:
        with bound(round_number=read_round(records)):
            return _receive(folder, records)
    except FedmviError as error:
        _LOG.error("%s", error)
        return to_records(write_answers("", [failure("", error)]))
    except Exception as error:  # noqa: BLE001
        # The text of an unforeseen error may hold patients' data, so only its number leaves.
        _LOG.exception("unforeseen error")
        return to_records(write_answers("", [failure("", unforeseen(error))]))


def _receive(folder: Path, records: RecordDict) -> RecordDict:
    site = load_site(folder)
    coordinator = _coordinator(site)
    wire, proof = read_wire(records), read_proof(records)
    if coordinator is None:
        return to_records(answer_message(folder, from_wire(wire)))
    _refuse_unsigned(site, coordinator, wire, proof)
    agrees = True
    if proof.countersigned is not None:
        with alone(site):
            agrees = countersign(site, coordinator, proof.countersigned).place is not None
    answer = answer_message(folder, from_wire(wire))
    return to_records(answer, ToldLedger(current_head(site), agrees))


def _coordinator(site: Site) -> str | None:
    """The key of the coordinator of an enrolled site; None for a simulated one that is not enrolled; else error 426."""
    if is_enrolled(site):
        return load_enrolment(site).coordinator
    if not site.site.simulated:
        raise FedmviError(426)
    return None


def _refuse_unsigned(site: Site, coordinator: str, wire: Wire, proof: Proof) -> None:
    """Error 425 unless the coordinator signed this message for this site, and what it says of the site's ledger."""
    if not message_is_signed(coordinator, site.name, wire.digest, proof.signature):
        raise FedmviError(425)
    if proof.countersigned is not None and not head_is_signed(coordinator, site.name, proof.countersigned):
        raise FedmviError(425, "the head of the ledger")
