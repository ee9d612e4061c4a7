"""client/learning: what tasks of a run made and left at the site: folders that are whole or absent.

facts.json     what the task was, as far as later questions are held against it
arrays.npz     what queries read
local.npz      what the next round, or a scoring, goes on from: optimiser, site-local normalisation, control variate

The daemon's process lives for one message: what must be remembered between two is here and nowhere else.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from client.cohort.site import Site
from common.errors import FedmviError
from common.federation.codec import from_bytes, pack, to_bytes, unpack
from common.files import make_private, sync_folder, write_whole
from common.study.fingerprint import canonical_json, digest

Arrays = Mapping[str, NDArray[Any]]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MB = 1 << 20
_SPARE = 64 * _MB
"""Left free on the disk, for the ledger, replies and pictures."""
_FACTS, _ARRAYS, _LOCAL, _NEW = "facts.json", "arrays.npz", "local.npz", ".new"


def work_folder(site: Site, run_id: str) -> Path:
    """Where a site keeps what the tasks of a run make."""
    return site.store / "work" / run_id


class Works:
    """The finished tasks of one run at one site.

    Parameters
    ----------
    folder
        `<store>/work/<run_id>`; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def done(self, task: str) -> bool:
        """Whether the task with this digest is finished."""
        return self._path(task).exists()

    def facts(self, task: str) -> dict[str, Any]:
        """What the task was; error 511 if it was not done here in this run."""
        try:
            facts: dict[str, Any] = json.loads((self._path(task) / _FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise FedmviError(511, f"no task {task}") from error
        return facts

    def arrays(self, task: str) -> dict[str, NDArray[Any]]:
        """What the task made for queries; error 511 if there is none, or no longer."""
        return self._read(task, _ARRAYS)

    def local(self, task: str) -> dict[str, NDArray[Any]]:
        """What the task left for later ones; error 511 if there is none, or no longer."""
        return self._read(task, _LOCAL)

    def keep(
        self,
        task: str,
        facts: Mapping[str, Any],
        arrays: Arrays,
        local: Arrays | None = None,
        add: Callable[[Path], None] | None = None,
    ) -> None:
        """Keep what a task made; on return it is on disk as a whole, and before that there is nothing.

        `add` puts further files, such as pictures, into the new folder. Error 394 without room for twice as much.
        """
        make_private(self._folder)
        needed = _SPARE + 2 * sum(array.nbytes for part in (arrays, local or {}) for array in part.values())
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise FedmviError(394, f"{self._folder}: {free} bytes free, {needed} needed", megabytes=-(-needed // _MB))
        for leftover in self._folder.glob(f".*{_NEW}"):
            shutil.rmtree(leftover)
        new = self._folder / f".{task}{_NEW}"
        new.mkdir(mode=0o700)
        if add is not None:
            add(new)
        write_whole(new / _ARRAYS, to_bytes(pack(dict(arrays))))
        if local is not None:
            write_whole(new / _LOCAL, to_bytes(pack(dict(local))))
        write_whole(new / _FACTS, canonical_json(dict(facts)).encode())
        new.rename(self._path(task))
        sync_folder(self._folder)

    def strip(self, task: str, *, but_local: bool = False) -> None:
        """Remove what a finished task made; that it was done stays known. `but_local` leaves what it left for later."""
        if not _DIGEST.fullmatch(task):
            return
        for name in (_ARRAYS,) if but_local else (_ARRAYS, _LOCAL):
            (self._path(task) / name).unlink(missing_ok=True)

    def claim(self, key: str, value: str) -> str:
        """The value of a key, which is the first that anybody claims; on return it is on disk."""
        known = self.claimed(key)
        if not known:
            path = self._claim(key)
            make_private(path.parent)
            write_whole(path, value.encode("ascii"))
        return known or value

    def claimed(self, key: str) -> str:
        """The value of a key; "" before any was claimed."""
        path = self._claim(key)
        return path.read_text(encoding="ascii") if path.exists() else ""

    def _claim(self, key: str) -> Path:
        return self._folder / "claims" / digest(key)

    def _path(self, task: str) -> Path:
        # The name came over the wire: nothing but a digest may become part of a path.
        if not _DIGEST.fullmatch(task):
            raise FedmviError(511, "no digest of a task")
        return self._folder / task

    def _read(self, task: str, name: str) -> dict[str, NDArray[Any]]:
        try:
            return unpack(from_bytes((self._path(task) / name).read_bytes()), dict)
        except FileNotFoundError as error:
            raise FedmviError(511, f"{name} of task {task}") from error
