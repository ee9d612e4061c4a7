"""server/hub: the hub's folder: what it was provisioned with, its runs, and the state of its processes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pydantic import Field

from common.deployment.fields import ConsortiumName, Declared, Host, Line, Port, read_declared
from common.errors import FedmviError
from common.study.declarations import SiteName

SECRETS = ("tls/server.key", "keys/coordinator.key")
FILES = ("hub.toml", "tls/ca.crt", "tls/server.crt", "tls/server.key", "tls/crl.pem", "keys/coordinator.key")


class Hub(Declared):
    """A validated `hub.toml` and the folder that it is in."""

    consortium: ConsortiumName = Field(description="The consortium's name.")
    host: Host = Field(description="The hub's host name, as hospitals reach it.")
    port: Port = Field(default=9443, description="The port of the proxy, which hospitals reach.")
    superlink_port: Port = Field(default=8000, description="The port of the SuperLink, on the loopback address only.")
    contact: Line = Field(description="Whom hospitals call.")
    issued: date = Field(description="When the server's certificate was made.")
    expires: date = Field(description="From this day on hospitals trust it no more.")
    issue: int = Field(ge=1, description="Counts the changes of keys and certificates; an older kit is not installed.")
    sites: tuple[SiteName, ...] = Field(description="All sites of the consortium, revoked ones too.")
    site_certificates: dict[SiteName, date] = Field(
        default_factory=dict, description="When the certificate of each site expires."
    )
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def tls(self) -> Path:
        """The folder of certificates."""
        return self.folder / "tls"

    @property
    def ca(self) -> Path:
        """The certificate of the consortium's authority."""
        return self.tls / "ca.crt"

    @property
    def server_certificate(self) -> Path:
        """The certificate of proxy and SuperLink; it also names `localhost` and 127.0.0.1."""
        return self.tls / "server.crt"

    @property
    def server_key(self) -> Path:
        """The private key of that certificate."""
        return self.tls / "server.key"

    @property
    def revocations(self) -> Path:
        """The authority's list of certificates that are admitted no more (PEM)."""
        return self.tls / "crl.pem"

    @property
    def coordinator_key(self) -> Path:
        """The Ed25519 private key that signs messages to sites (PEM)."""
        return self.folder / "keys" / "coordinator.key"

    @property
    def site_keys(self) -> dict[str, Path]:
        """The public keys of the SuperNodes that are admitted, by site; a revoked site has none."""
        paths = {name: self.folder / "sites" / f"{name}.pub" for name in self.sites}
        return {name: path for name, path in paths.items() if path.is_file()}

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.folder / "runs"

    @property
    def state(self) -> Path:
        """What the running hub keeps: database, Flower's home, logs, lock."""
        return self.folder / "state"


def load_hub(folder: Path) -> Hub:
    """Read the folder of a hub.

    Raises
    ------
    FedmviError
        739 the folder is none, or a file of it is missing or damaged.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise FedmviError(739, f"{folder / name} is missing")
    path = folder / "hub.toml"
    try:
        hub, problems = read_declared(Hub, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(739, f"{path}: {error}") from error
    if hub is None:
        raise FedmviError(739, f"{path}: " + "; ".join(problems))
    return hub.model_copy(update={"folder": folder.resolve()})
