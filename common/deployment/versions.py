"""common/deployment: what a hub tells of its software with every answer of its proxy, and how a site reads it.

Flower's Fleet API does not tell its version. So the proxy adds a header: `fedmvi=0.1.0 flower=1.41.0 code=5f1c...e0`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from common.study.fingerprint import code_fingerprint

HEADER = "FedMVI-Versions"
_HEADER = re.compile(r"fedmvi=([\w.+-]{1,40}) flower=([\w.+-]{1,40}) code=([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class Versions:
    """What a party runs: FedMVI, Flower, and the fingerprint of the code that both sides must share."""

    fedmvi: str
    flower: str
    code: str

    def header(self) -> str:
        """As the value of the header."""
        return f"fedmvi={self.fedmvi} flower={self.flower} code={self.code}"


def installed_versions() -> Versions:
    """What is installed here."""
    return Versions(metadata.version("fedmvi"), metadata.version("flwr"), code_fingerprint())


def read_versions(header: str) -> Versions | None:
    """What a header says; nothing if it is not one of ours."""
    found = _HEADER.fullmatch(header.strip())
    return Versions(*found.groups()) if found else None
