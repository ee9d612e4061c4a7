"""client/node: what the node keeps in the site's store, and what it tells about itself there."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from client.cohort.site import Site
from common.errors import FedmviError
from common.files import make_private, write_whole

SITES_VARIABLE = "FEDMVI_SITES"
"""Environment variable with the folders of the sites that this machine serves, set by the hospital alone."""


class NodeState(StrEnum):
    """What the node is at."""

    STARTING = "starting"
    READY = "ready"
    AWAY = "away"
    """The hub does not answer, or refuses."""

    STOPPED = "stopped"


@dataclass(frozen=True)
class Health:
    """What `store/node.json` says.

    Attributes
    ----------
    state
        As it was left: after a power failure it may be wrong, and `heard` grows old.
    supervisor, node
        Process ids; of the node 0 while there is none.
    started
        When the supervisor was started. All times are ISO 8601, UTC; empty if not yet.
    heard
        When the hub answered last, within ten seconds.
    last_message
        When the last message came.
    trouble
        Why the hub refuses the node, with what to do; "" where it does not, or does not say why.
    """

    state: NodeState
    supervisor: int
    node: int
    started: str
    heard: str = ""
    last_message: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class NodeFolder:
    """`store/node/` of a site."""

    site: Site

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.site.store / "node"

    @property
    def secret(self) -> Path:
        """What the executor must know to be given messages; another one at each start."""
        return self.folder / "executor.secret"

    @property
    def address(self) -> Path:
        """Where the executor asks for messages: `host:port`, another one at each start of the node."""
        return self.folder / "runtime.address"

    @property
    def flower(self) -> Path:
        """Flower's home."""
        return self.folder / "flower"

    @property
    def connected(self) -> Path:
        """The hub's number for the node while it is connected; left behind by one that was killed."""
        return self.folder / "connected.json"

    @property
    def local_log(self) -> Path:
        """The log that may name patients."""
        return self.site.store / "log" / "local.log"

    @property
    def health_file(self) -> Path:
        """What the node tells about itself."""
        return self.site.store / "node.json"

    def make(self) -> None:
        """Make the folder, for its owner only."""
        make_private(self.folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One node a site; error 722 if there is one. The lock is the process's and ends with it."""
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise FedmviError(722, str(self.site.folder)) from error
            yield

    def health(self) -> Health | None:
        """What the node last told; None if it never did."""
        try:
            told = json.loads(self.health_file.read_text(encoding="utf-8"))
            return Health(**told | {"state": NodeState(told["state"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def tell(self, health: Health) -> None:
        """Let others know."""
        write_whole(self.health_file, json.dumps(asdict(health), indent=1).encode() + b"\n")


def now() -> str:
    """The time as `node.json` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
