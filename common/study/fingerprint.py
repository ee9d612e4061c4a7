"""common/study: fingerprints: SHA-256 names of a study, of its preparation, and of the code that runs it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from common.study.genomics import sequenced_sites
from common.study.protocol import Study

CODE_ROOMS = ("common", "client")
"""The packages whose code both sides must share."""

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, shortest float text; NaN and infinity are refused."""
    return _JSON.encode(value)


def digest(text: str | bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def study_fingerprint(study: Study) -> str:
    """Names a study by all that it says; comments and layout of its file do not count."""
    return digest(canonical_json(study.model_dump(mode="json")))


def preparation_fingerprint(study: Study) -> str:
    """Names what a site prepares for a study: its variables, endpoints, eligibility, image settings, and genes.

    Studies that agree on these share one prepared store.
    """
    parts = {
        "variables": [study.variable(name).model_dump(mode="json") for name in study.variable_names()],
        "endpoints": [e.model_dump(mode="json") for e in study.endpoints],
        "eligibility": [[name, rule.model_dump(mode="json")] for name, rule in study.eligibility.rules()],
        "preparation": study.preparation.model_dump(mode="json") if study.preparation else {},
    }
    if study.read_twice():
        parts["read_twice"] = study.read_twice()
    if study.traits_read_twice():
        parts["traits_read_twice"] = study.traits_read_twice()
    if study.genomics is not None:
        parts["genomics"] = [study.genomics.genes, study.genomics.scale, sorted(sequenced_sites(study))]
    return digest(canonical_json(parts))


def code_fingerprint(root: Path | None = None) -> str:
    """Names the code that both sides must share: every `*.py` of common/ and client/.

    Line endings are normalised, so that a checkout on another system has the same fingerprint.
    """
    root = root or Path(__file__).resolve().parents[2]
    return _fingerprint_of_files(root, tuple(entry for room in CODE_ROOMS for entry in _files_of_code(root / room)))


def _files_of_code(folder: Path | str) -> Iterator[tuple[str, int, int, int]]:
    """Every file of the code: path, and what changes whenever the file does: the time of its last change, which no
    program can set, size and inode."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_of_code(entry.path)
            elif entry.name.endswith(".py"):
                stat = entry.stat()
                yield entry.path, stat.st_ctime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=2)
def _fingerprint_of_files(root: Path, files: tuple[tuple[str, int, int, int], ...]) -> str:
    """Remembered for as long as no file changes: a process that answers many messages reads the code once."""
    paths = (Path(file[0]) for file in files)
    return fingerprint_of_code((path.relative_to(root).as_posix(), path.read_bytes()) for path in paths)


def fingerprint_of_code(files: Iterable[tuple[str, bytes]]) -> str:
    """The code fingerprint of these files, given as name below the root and content, in any order."""
    total = hashlib.sha256()
    for name, content in sorted(files, key=lambda file: file[0].split("/")):
        lines = content.replace(b"\r\n", b"\n")
        total.update(f"{name}\0{len(lines)}\0".encode())
        total.update(lines)
    return total.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change a number, as far as they are installed; looked up once a process."""
    return dict(_library_versions())


@lru_cache(maxsize=1)
def _library_versions() -> dict[str, str]:
    wanted = ("flwr", "numpy", "pyarrow", "scipy")
    installed = {distribution.name for name in wanted for distribution in metadata.distributions(name=name)}
    return {name: metadata.version(name) for name in wanted if name in installed}
