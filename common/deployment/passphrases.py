"""common/deployment: how a command gets the passphrase of a kit: from a file, or typed unseen; never as an option."""

from __future__ import annotations

from pathlib import Path

import typer

from common.errors import FedmviError

_MAX_BYTES = 1_000_000


def ask_passphrase(kit: Path, file: Path | None) -> str:
    """The passphrase for a kit: of a file with nothing else, of the kit's line in a file of several, or typed.

    Raises
    ------
    FedmviError
        733 the file cannot be read, or has none for this kit.
    """
    if file is None:
        return str(typer.prompt(f"Passphrase of {kit.name}", hide_input=True, err=True))
    try:
        with file.open("rb") as handle:
            text = handle.read(_MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(733, f"{file}: {error}") from error
    lines = [line.split() for line in text.splitlines() if line.strip()]
    named = [words[1] for words in lines if len(words) == 2 and words[0] == kit.name]
    if named:
        return named[-1]
    if len(lines) == 1 and len(lines[0]) == 1:
        return lines[0][0]
    raise FedmviError(733, f"{file} has no passphrase for {kit.name}")
