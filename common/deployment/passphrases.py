"""common/deployment: how a command gets the passphrase of a kit: from a file, or typed unseen; never as an option."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from common.errors import FedmviError

_MAX_BYTES = 1_000_000


def ask_passphrase(kit: Path, file: Path | None) -> str:
    """The passphrase for a kit: of a file with nothing else, of the kit's line in a file of several, or typed.

    It may be written with spaces, as one that is typed may: they do not matter to the kit.

    Raises
    ------
    FedmviError
        733 the file cannot be read, or has none for this kit.
    """
    if file is None:
        return str(typer.prompt(f"Passphrase of {kit.name}", hide_input=True, err=True))
    try:
        with file.open("rb") as handle:
            text = handle.read(_MAX_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(733, f"{file}: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line.removeprefix(kit.name).strip() for line in lines if re.match(rf"{re.escape(kit.name)}\s", line)]
    if named:
        return named[-1]
    # A name of a kit has a dot, which no passphrase has: a line for another kit is no passphrase with spaces in it.
    if len(lines) == 1 and "." not in lines[0]:
        return lines[0]
    raise FedmviError(733, f"{file} has no passphrase for {kit.name}")
