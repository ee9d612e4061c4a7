"""server/provision: `consortium.toml`, the one file in which a coordinator declares who takes part."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from common.deployment.fields import ConsortiumName, Declared, Host, Line, Port, read_declared
from common.errors import FedmviError
from common.study.declarations import SiteName

_RESERVED = ("hub", "authority", "server")


class ConsortiumHead(Declared):
    """`[consortium]`: its name, and where its hub is."""

    name: ConsortiumName = Field(description="The consortium's name; it is in every certificate.")
    contact: Line = Field(description="Whom hospitals call.")
    host: Host = Field(description="The hub's host name (or IPv4 address), as hospitals reach it.")
    names: tuple[Host, ...] = Field(
        default=(), max_length=20, description="Further names and addresses for the hub's certificate."
    )
    port: Port = Field(default=9443, description="The port that hospitals reach.")
    superlink_port: Port = Field(default=8000, description="A port of the hub's loopback address, for the SuperLink.")

    @model_validator(mode="after")
    def _coherent(self) -> ConsortiumHead:
        if self.port == self.superlink_port:
            raise ValueError("`port` and `superlink_port` must differ")
        return self


class Validity(Declared):
    """`[validity]`: for how many days keys and certificates are valid."""

    authority_days: int = Field(default=3650, ge=30, le=7300, description="The authority; then all kits are new.")
    days: int = Field(default=365, ge=1, le=825, description="The hub's certificate, and those of the sites.")


class DeclaredSite(Declared):
    """`[[sites]]`: one hospital."""

    name: SiteName = Field(description="The site's name, as studies write it.")
    contact: Line = Field(description="Who receives the kit.")

    @field_validator("name")
    @classmethod
    def _free(cls, name: str) -> str:
        if name.lower() in _RESERVED:
            raise ValueError(f"'{name}' is the name of something else in the folder of kits")
        return name


class Consortium(Declared):
    """A validated `consortium.toml`."""

    consortium: ConsortiumHead
    validity: Validity = Validity()
    sites: tuple[DeclaredSite, ...] = Field(min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _unique(self) -> Consortium:
        names = [site.name.lower() for site in self.sites]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"two sites are called '{double[0]}' (capitals do not count)")
        return self


def load_consortium(path: Path) -> Consortium:
    """Read `consortium.toml`; error 736 with every problem, its line and a hint in `local`."""
    try:
        consortium, problems = read_declared(Consortium, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(736, f"{path}: {error}", count=1) from error
    if consortium is None:
        raise FedmviError(736, f"{path}: " + "; ".join(problems), count=len(problems))
    return consortium
