"""client/preparation: what has been done for a patient already: one folder a step, named by all that it depends on.

    <store>/steps/<patient>/<step>/<digest>/        the step's files, whole or absent

The digest covers the contents of the step's input files, its settings, the digests of the steps before it, the code of
the rooms that compute it and the versions of their libraries. A changed setting therefore finds nothing for the steps
that depend on it, and everything for the others; a killed run goes on where it was; and two studies that agree on a
step share it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from common.errors import FedmviError, Severity
from common.files import make_private, sync_folder, write_whole
from common.study.fingerprint import canonical_json, digest

STEPS = "steps"
_UNWRITABLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.ENOTDIR, errno.EEXIST}
)
RESULT, SEALS = "result.json", "digests.json"
_ROOMS = Path(__file__).resolve().parents[1]
_SHARED = ("acquisition", "features", "preparation")
"""Modules of common/study by which steps compute."""
_WITH_FILTERS = ("features", "regions")
"""Steps that work on voxels which the room of radiomics lays out."""
_LIBRARIES = ("SimpleITK", "numpy", "scipy", "pydicom", "python-gdcm", "nibabel", "highdicom", "pillow")
_FEATURES = ("pyradiomics-cuda", "pywavelets")
_FIELDS = ("convexadam", "torch")


@contextlib.contextmanager
def writable(folder: Path, whose: str = "") -> Iterator[None]:
    """A folder to be written in, made where it is missing; error 377 where it, or what is in it, cannot be written."""
    try:
        make_private(folder)
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        about = f"{error.filename or folder}: {error.strerror}"
        raise FedmviError(377, f"{whose}: {about}" if whose else about) from error


class Steps:
    """The finished steps of one patient.

    Parameters
    ----------
    store
        The site's store.
    patient
        Id.
    """

    def __init__(self, store: Path, patient: str) -> None:
        self._root = store / STEPS / patient
        self._patient = patient

    def sweep(self) -> None:
        """Remove what an ended process left half written; nobody else may be at work on this patient."""
        for leftover in self._root.rglob(".*") if self._root.is_dir() else ():
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)

    def find(self, step: str, name: str) -> Path | None:
        """The folder of a finished step, if there is one and it is as it was made."""
        folder = self.folder(step, name)
        try:
            seals = json.loads((folder / SEALS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return folder if seals == files_in(folder) else None

    def folder(self, step: str, name: str) -> Path:
        """Where a step is, or would be."""
        return self._root / step.replace(":", ".") / name

    @contextlib.contextmanager
    def make(self, step: str, name: str) -> Iterator[Path]:
        """A new folder to be filled; it gets its name when all is in it.

        Raises
        ------
        FedmviError
            377 where the store cannot be written.
        """
        final = self.folder(step, name)
        new = final.with_name(f".{name}.{os.getpid()}")
        with writable(final.parent, self._patient):
            try:
                new.mkdir(mode=0o700)
                yield new
                write_whole(new / SEALS, (json.dumps(files_in(new), sort_keys=True) + "\n").encode())
                for file in sorted(new.iterdir()):
                    with file.open("rb") as handle:
                        os.fsync(handle.fileno())
                if final.exists():
                    shutil.rmtree(final)
                new.rename(final)
                sync_folder(final.parent)
            finally:
                shutil.rmtree(new, ignore_errors=True)


def files_in(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a finished step, by name, but for the file that holds them."""
    return {path.name: digest(path.read_bytes()) for path in sorted(folder.iterdir()) if path.name != SEALS}


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write a step's result; the same result gives the same bytes."""
    write_whole(folder / RESULT, (json.dumps(result, indent=1, sort_keys=True) + "\n").encode())


def read_result(folder: Path) -> dict[str, Any]:
    """What `write_result` wrote."""
    result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return result


def problem_as_json(problem: FedmviError) -> list[Any]:
    """A problem as a step's result keeps it."""
    return [problem.number, int(problem.severity), problem.local, problem.facts]


def problem_from_json(kept: Sequence[Any]) -> FedmviError:
    """What `problem_as_json` made."""
    number, severity, local, facts = kept
    return FedmviError(number, local, severity=Severity(severity), **facts)


def step_digest(step: str, inputs: Mapping[str, str], settings: Any, parents: Sequence[str] = ()) -> str:
    """Names a step by all that it depends on.

    Parameters
    ----------
    step
        Its name; what stands before a colon says which code and which libraries it needs.
    inputs
        Digests of the contents of the files that it reads, by what they are.
    settings
        JSON values.
    parents
        Digests of the steps whose results it uses.
    """
    kind = step.partition(":")[0]
    parts = {
        "step": step,
        "inputs": dict(inputs),
        "settings": settings,
        "parents": list(parents),
        "code": code_of(kind),
        "libraries": versions_of(kind),
    }
    return digest(canonical_json(parts))


@functools.cache
def code_of(kind: str) -> str:
    """SHA-256 of the source that a kind of step runs: a change of the program is a change of its results."""
    total = hashlib.sha256()
    for path in code_files(kind):
        total.update(path.relative_to(_ROOMS.parent).as_posix().encode() + b"\0")
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()


def code_files(kind: str) -> list[Path]:
    """The modules whose source a kind of step runs."""
    rooms = ["images", "imaging", "preparation", *(["radiomics"] if kind in _WITH_FILTERS else [])]
    shared = [_ROOMS.parent / "common" / "study" / f"{name}.py" for name in _SHARED]
    return sorted([*shared, *(path for room in rooms for path in (_ROOMS / room).rglob("*.py"))])


@functools.cache
def versions_of(kind: str) -> dict[str, str]:
    """Versions of the libraries that can change what a kind of step gives."""
    extra = {"features": _FEATURES, "register": _FIELDS}.get(kind, ())
    return {name: metadata.version(name) for name in (*_LIBRARIES, *extra)}


def image_libraries() -> dict[str, str]:
    """Versions of all libraries that prepare images."""
    return {name: metadata.version(name) for name in sorted({*_LIBRARIES, *_FEATURES, *_FIELDS})}
