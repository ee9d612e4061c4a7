"""common/flower: what a process of Flower sees of its surroundings."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

from common.errors import FedmviError

FLOWER_VERSION = "1.41.0"
"""The one version of Flower whose private parts are known to us; `pyproject.toml` pins the same."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def flower_environment(home: Path, **extra: str) -> dict[str, str]:
    """The environment of a process of Flower with its own home, which is made if it is absent.

    Telemetry and update checks are off, no setting of Flower or FedMVI is inherited, and the machine's own address is
    never asked through a hospital's HTTP proxy. The commands of this installation are found first.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "FEDMVI_"))}
    for name in ("no_proxy", "NO_PROXY"):
        inherited[name] = ",".join(filter(None, [inherited.get(name, ""), *_LOOPBACK]))
    return inherited | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home.resolve()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        **extra,
    }


def refuse_other_version() -> None:
    """Error 721 unless the installed Flower is the one that this program was made for; loads nothing of it."""
    found = metadata.version("flwr")
    if found != FLOWER_VERSION:
        raise FedmviError(721, found=found, wanted=FLOWER_VERSION)
