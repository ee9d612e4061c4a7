"""client/node: what a running site notices of its enrolment: that a new one was installed, and that it ends soon."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import date

from client.cohort.site import ENROLMENT, Site
from client.node.enrolment import FILES, Enrolment, load_enrolment
from common.deployment.fields import today
from common.errors import FedmviError

SOON_DAYS = 30
"""From so many days before its end on, people are told that an enrolment ends."""

_LOG = logging.getLogger("fedmvi.site")


class Renewal:
    """Looks at the enrolment of a site whose node runs.

    Parameters
    ----------
    site
        The site.
    enrolment
        With which its node was started; `enrolment` is the one that it has now.
    """

    def __init__(self, site: Site, enrolment: Enrolment) -> None:
        self._site, self.enrolment = site, enrolment
        self._files = self._read_files()
        self._warned: date | None = None

    def __call__(self, pids: Mapping[str, int]) -> None:
        """End the node, which the supervisor starts again, if there are other keys; warn, once a day."""
        files = self._read_files()
        if files and files != self._files:
            self._files = files
            self._take_up(pids)
        if self._warned != today():
            self._warned = today()
            self._warn()

    def _read_files(self) -> dict[str, tuple[int, int]]:
        """When the files were changed; nothing while a new enrolment takes the old one's place, or cannot be read."""
        files = {}
        with suppress(FileNotFoundError, PermissionError):
            for name in FILES:
                status = (self._site.folder / ENROLMENT / name).stat()
                files[name] = (status.st_mtime_ns, status.st_ino)
        return files if len(files) == len(FILES) else {}

    def _take_up(self, pids: Mapping[str, int]) -> None:
        """The executor reads the enrolment at every message; the node only when it starts."""
        try:
            self.enrolment = load_enrolment(self._site)
        except FedmviError as error:
            _LOG.error("the new enrolment is not taken up: %s", error)
            return
        _LOG.info("a new enrolment was installed, valid until %s: the node starts again", self.enrolment.expires)
        if "node" in pids:
            with suppress(ProcessLookupError):
                os.kill(pids["node"], signal.SIGTERM)

    def _warn(self) -> None:
        ends = self.enrolment.expires
        days = (ends - today()).days
        if days <= 0:
            _LOG.error("%s", FedmviError(732, site=self._site.name, date=ends.isoformat()))
        elif days <= SOON_DAYS:
            _LOG.warning("the enrolment ends on %s (%d days): ask %s for a new kit", ends, days, self.enrolment.contact)
