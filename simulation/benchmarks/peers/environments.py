"""simulation: benchmarks: peers: an environment of its own for a peer, installed by pip as its user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulation.importers.folder import refuse_filled
from simulation.processes import RAY_AS_OTHERS

INSTALL_SECONDS = 900.0
MARKER = "fedmvi-environment"
"""The file that says that a folder is an environment of ours, and may be made anew."""
_DONE = "installed\n"
_WORDS = 200


@dataclass(frozen=True)
class UnavailableError(Exception):
    """Why a peer could not be run."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The Python of an environment in `folder` with these requirements; one that is there already is used again.

    One of ours with other requirements, or only half installed, is made anew.

    Raises
    ------
    UnavailableError
        pip could not install it.
    FedmviError
        213 the folder holds something that is not ours.
    """
    refuse_foreign(folder)
    python, marker, wanted = folder / "bin" / "python", folder / MARKER, "\n".join(requirements) + "\n"
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted + _DONE:
        return python
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.write_text(wanted, encoding="utf-8")  # before anything else, so that one cut short is known as ours
    venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    run(command, folder, INSTALL_SECONDS)
    marker.write_text(wanted + _DONE, encoding="utf-8")
    return python


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds anything and is no environment of ours: making one removes what is there.

    Raises
    ------
    FedmviError
        213
    """
    if folder.is_symlink() or not (folder / MARKER).is_file():
        refuse_filled(folder)


def run(
    command: list[str],
    folder: Path,
    seconds: float,
    environment: dict[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """What a program said that ended well, errors too; `tell` gets each line as it comes.

    Raises
    ------
    UnavailableError
        It did not, or not in time; with its last words.
    """
    name, said = Path(command[min(1, len(command) - 1)]).name, list[str]()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own programs, no shell
            command, cwd=folder, env={**(environment or os.environ), **RAY_AS_OTHERS}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise UnavailableError(f"{name}: {error}") from error
    late = threading.Timer(seconds, process.kill)
    late.start()
    with process:
        for line in process.stdout or ():
            said.append(line)
            tell(line)
    if not late.is_alive():
        raise UnavailableError(f"{name} was stopped after {seconds:g} seconds")
    late.cancel()
    if process.returncode:
        raise UnavailableError(f"{name} failed: {' '.join(''.join(said).split())[-_WORDS:]}")
    return "".join(said)
