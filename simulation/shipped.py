"""simulation: what comes with the program: consortium files and study protocols, by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from common.errors import FedmviError


def shipped_study(name: Path) -> Path:
    """The protocol that a person means: a file, or a shipped one by its name with or without `.toml`."""
    if name.is_file():
        return name
    shipped = Path(str(resources.files("studies"))) / f"{name.name.removesuffix('.toml')}.toml"
    if shipped.exists():
        return shipped
    raise FedmviError(101, f"{name}: there is no such file, and no shipped study of that name")


def shipped_consortia() -> tuple[str, ...]:
    """Names of the consortia that come with the program."""
    folder = resources.files("simulation") / "consortia"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))
