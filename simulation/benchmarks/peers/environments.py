"""simulation: benchmarks: peers: an environment of its own for a peer, installed by pip as its user would."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

INSTALL_SECONDS = 900.0
_WORDS = 200


@dataclass(frozen=True)
class UnavailableError(Exception):
    """Why a peer could not be run."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def environment(folder: Path, requirement: str) -> Path:
    """The Python of an environment in `folder` with that requirement; one that is there already is used again.

    Raises
    ------
    UnavailableError
        pip could not install it.
    """
    python, done = folder / "bin" / "python", folder / f"installed-{requirement}"
    if done.exists():
        return python
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    said = run(command, folder, INSTALL_SECONDS)
    done.write_text(said, encoding="utf-8")
    return python


def run(command: list[str], folder: Path, seconds: float, environment: dict[str, str] | None = None) -> str:
    """What a program said that ended well.

    Raises
    ------
    UnavailableError
        It did not, or not in time; with its last words.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own programs, no shell
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{Path(command[0]).name}: {error}") from error
    if done.returncode:
        last = " ".join((done.stderr or done.stdout).split())[-_WORDS:]
        raise UnavailableError(f"{Path(command[1]).name if len(command) > 1 else command[0]} failed: {last}")
    return done.stdout


OWN = Path(sys.executable)
"""The Python of this program, for peers that are among its own libraries."""
