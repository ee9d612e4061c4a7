"""client/node: `fedmvi-site start`: keeps the node and the executor of a site alive, in the foreground."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from client.cohort.site import Site, alone, load_site, refuse_root_at
from client.node.enrolment import load_enrolment
from client.node.folder import SITES_VARIABLE, Health, NodeFolder, NodeState, now
from client.node.renewal import Renewal
from common.errors import FedmviError
from common.files import write_whole
from common.flower.environment import flower_environment, refuse_other_version
from common.flower.supervisor import Child, Supervisor
from common.observing.logs import LogFormat, configure
from common.observing.service import Notice, notify

SECRET_BYTES = 32
_LOG = logging.getLogger("fedmvi.site")


def start(folder: Path, style: LogFormat | None = None) -> None:
    """Answer the hub for the site in `folder` until SIGTERM or SIGINT; nothing is left running then.

    The log is written as `style` says, or else `site.toml`.

    Raises
    ------
    FedmviError
        201-203 no sound `site.toml`, 721 another version of Flower, 722 a node runs already, 727 not Linux, 728 root
        in another user's folder, 730-735 no valid enrolment.
    """
    if sys.platform != "linux":
        raise FedmviError(727)
    site = load_site(folder)
    refuse_root_at(site)
    enrolment = load_enrolment(site)
    # The private names are checked by the processes that use them; this one stays small.
    refuse_other_version()
    style = style or LogFormat(site.node.log_format)
    with alone(site):
        node = NodeFolder(site)
        node.make()
    with node.locked():
        configure(style, node.local_log, part="supervisor", site=site.name)
        write_whole(node.secret, secrets.token_bytes(SECRET_BYTES))
        node.address.unlink(missing_ok=True)
        health = Health(NodeState.STARTING, os.getpid(), 0, now())
        node.tell(health)
        try:
            watch = _Watch(node, Renewal(site, enrolment))
            Supervisor(_children(site, node, style), watch=watch).run()
        finally:
            notify(Notice.STOPPING)
            node.tell(Health(NodeState.STOPPED, 0, 0, health.started))
        _LOG.info("stopped")


def _children(site: Site, node: NodeFolder, style: LogFormat) -> list[Child]:
    environment = flower_environment(node.flower, **{SITES_VARIABLE: str(site.folder)})

    def command(module: str) -> list[str]:
        # -P: the working directory is no place to look for code.
        return [sys.executable, "-P", "-m", module, str(site.folder), style.value]

    return [
        Child("node", command("client.node.launcher"), environment),
        Child("executor", command("client.node.executor"), environment),
    ]


class _Watch:
    """Says so when the node is connected, once a start of it, to people and to systemd; and keeps its keys new."""

    def __init__(self, node: NodeFolder, renewal: Renewal) -> None:
        self._node, self._renewal = node, renewal
        self._known = 0

    def __call__(self, pids: Mapping[str, int]) -> None:
        """What the supervisor calls again and again."""
        self._renewal(pids)
        pid = pids.get("node", 0)
        if pid == self._known:
            return
        health = self._node.health()
        if pid and health and health.state is NodeState.READY and health.node == pid:
            self._known = pid
            _LOG.info("ready: connected to %s:%d", self._renewal.enrolment.host, self._renewal.enrolment.port)
            notify(Notice.READY)
