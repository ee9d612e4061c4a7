"""client: the Flower ClientApp: one action that answers an envelope for the site that this machine serves."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

import common.statistics  # noqa: F401 - registers every query
from client.cohort.site import load_site
from client.node.enrolment import is_enrolled
from client.node.folder import SITES_VARIABLE
from client.receiving import receive
from common.errors import FedmviError
from common.errors.unforeseen import unforeseen
from common.federation.envelope import failure, write_answers
from common.federation.records import MESSAGE_TYPE, NAME_TYPE, to_records

__all__ = ["SITES_VARIABLE", "answer", "app", "name", "site_folder"]

_LOG = logging.getLogger("fedmvi.site")

app = ClientApp()


def site_folder(context: Context) -> Path:
    """The folder of the site that this node stands for.

    A machine may serve several sites; the node's own configuration (`partition-id`, from its command line) says
    which. Nothing of it comes over the wire.
    """
    folders = os.environ.get(SITES_VARIABLE, "").split(os.pathsep)
    position = int(context.node_config.get("partition-id", 0))
    if not folders[0] or not 0 <= position < len(folders):
        raise FedmviError(201, f"{SITES_VARIABLE} names no site {position}")
    return Path(folders[position])


@app.query(NAME_TYPE.removeprefix("query."))
def name(message: Message, context: Context) -> Message:
    """Say which site this node stands for, where nodes are not registered by name; an enrolled site is, and refuses."""
    try:
        site = load_site(site_folder(context))
        if is_enrolled(site):
            raise FedmviError(425)
        told = ConfigRecord({"site": site.name})
    except FedmviError as error:
        told = ConfigRecord({"error": error.number})
    except Exception as error:  # noqa: BLE001 - Flower would send the text of the exception to the server
        _LOG.exception("unforeseen error")
        told = ConfigRecord({"error": unforeseen(error).number})
    return Message(RecordDict({"name": told}), reply_to=message)


@app.query(MESSAGE_TYPE.removeprefix("query."))
def answer(message: Message, context: Context) -> Message:
    """Answer one envelope."""
    try:
        records = receive(site_folder(context), message.content)
    except FedmviError as error:
        records = to_records(write_answers("", [failure("", error)]))
    except Exception as error:  # noqa: BLE001 - Flower would send the text of the exception to the server
        _LOG.exception("unforeseen error")
        records = to_records(write_answers("", [failure("", unforeseen(error))]))
    return Message(records, reply_to=message)
