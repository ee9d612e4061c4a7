"""server/hub: the running hub's warning, once a day, of certificates that expire soon."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

from common.deployment.fields import today
from common.errors import FedmviError
from server.hub.folder import load_hub
from server.provision.expiry import expiring

_LOG = logging.getLogger("fedmvi.hub")


class ExpiryWarning:
    """Writes into the log what `fedmvi-server expiring` lists; at the first call, then once a day.

    Parameters
    ----------
    folder
        The hub's; read anew each time, as a new kit may have been installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._warned: date | None = None

    def __call__(self) -> None:
        """To be called again and again."""
        if self._warned == today():
            return
        self._warned = today()
        try:
            soon = expiring(load_hub(self._folder))
        except FedmviError as error:
            _LOG.error("%s", error)
            return
        for one in soon:
            _LOG.warning("%s: the certificate expires on %s (%d days): %s", one.holder, one.expires, one.days, one.do)
