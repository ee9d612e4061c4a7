"""client/preparation: digests of a patient's image files, without reading again what has not changed.

A file whose size and time of change are as they were keeps the digest that it had: a second run over a hospital's
images takes seconds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from client.images.case import Case
from client.images.reading.series import files_under
from client.preparation.steps import STEPS, writable
from common.errors import FedmviError
from common.files import write_whole
from common.study.fingerprint import canonical_json, digest

_CHUNK = 1 << 22


class Digests:
    """Digests of files, remembered in one file of the store for each patient."""

    def __init__(self, store: Path, patient: str) -> None:
        self._file = store / STEPS / patient / "inputs.json"
        self._patient = patient
        self._known: dict[str, list[object]] = self._load()
        self._used: dict[str, list[object]] = {}

    def of(self, path: Path) -> str:
        """SHA-256 of a file, or of a folder's files and their names.

        Raises
        ------
        FedmviError
            330 a file that cannot be read.
        """
        try:
            if path.is_dir():
                files = sorted(file for file in files_under(path, self._patient) if file.is_file())
                return digest(canonical_json([[str(f.relative_to(path)), self._file_digest(f)] for f in files]))
            return self._file_digest(path)
        except OSError as error:
            raise FedmviError(330, f"{self._patient}: {error.filename or path}: {error.strerror}") from error

    def save(self) -> None:
        """Remember the digests that were asked for."""
        if not self._used.items() <= self._known.items():
            with writable(self._file.parent, self._patient):
                write_whole(self._file, (json.dumps(self._known | self._used, sort_keys=True) + "\n").encode())

    def _file_digest(self, path: Path) -> str:
        about = path.stat()
        state: list[object] = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        known = self._known.get(str(path))
        if known is None or known[:-1] != state:
            known = [*state, _digest(path)]
        self._used[str(path)] = known
        return str(known[-1])

    def _load(self) -> dict[str, list[object]]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # Nothing is remembered, or what was is damaged: every file is read again.
            return {}
        return known if isinstance(known, dict) else {}


def input_digests(case: Case, store: Path) -> dict[str, str]:
    """The digest of every image and mask of a case, by what it is: content, and what the manifest says of it."""
    digests = Digests(store, case.patient)
    found = {}
    for phase, image in case.images.items():
        parts = [digests.of(image.path), image.series, image.volume]
        found[f"image:{phase}"] = digest(canonical_json(parts))
    for mask in case.masks:
        parts = [digests.of(mask.path), mask.segment, mask.phase]
        found[f"mask:{mask.region}:{mask.reader}:{mask.phase}"] = digest(canonical_json(parts))
    digests.save()
    return found


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()
