"""common/observing: tells the service manager, such as systemd, how a daemon is."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from enum import StrEnum


class Notice(StrEnum):
    """What there is to tell, in the words of `sd_notify(3)`."""

    READY = "READY=1"
    STOPPING = "STOPPING=1"


def notify(notice: Notice) -> None:
    """Tell it, where it asked to be told (`NOTIFY_SOCKET`), as `sd_notify` does."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(notice.encode(), "\0" + address[1:] if address.startswith("@") else address)
