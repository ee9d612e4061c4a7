"""client/cohort: the prepared store: a study's table as typed arrays, whole or absent, tied to its inputs by hashes.

`<store>/prepared/<preparation fingerprint>/` holds patients.parquet and prepared.json, for a study of gene expression
expression.parquet, and for a study with images what `preparation` adds. The daemon reads nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.sheet import expression_path, table_path
from client.cohort.site import Site
from client.cohort.withdrawn import withdrawn
from common.errors import FedmviError
from common.files import sync_folder, write_whole
from common.study.expressed import GeneTable
from common.study.fingerprint import canonical_json, digest, library_versions, preparation_fingerprint
from common.study.genomics import LIBRARY, sequenced_sites
from common.study.protocol import Study
from common.study.table import Column, SiteTable

TABLE = "patients.parquet"
EXPRESSION = "expression.parquet"
"""The study's genes, a column a patient with RNA; his library is in the table."""
MANIFEST = "prepared.json"
STACKS, PIXELS = "stacks", "pixels.npy"
"""ROI stacks of a study with images: stacks/<patient>/<phase>/pixels.npy."""
_FORMAT = 2


def load_prepared(site: Site, study: Study) -> SiteTable:
    """The prepared table.

    Raises
    ------
    FedmviError
        212 not prepared, the inputs changed since, or the store is damaged; `local` says which. 766 it holds a patient
        who withdrew his consent, 763 nobody knows who did.
    """
    folder = store_folder(site, study)
    manifest = _read_manifest(folder)
    if manifest["inputs"] != table_inputs(site, study):
        raise FedmviError(212, "the tables, or [tables] or [columns] of site.toml, changed since they were prepared")
    table = _read_table(folder, study)
    if content_digest(table) != manifest["content"]:
        raise FedmviError(212, f"{folder / TABLE} is damaged: its content does not match its manifest")
    if not withdrawn(site).keys().isdisjoint(table.patients):
        # A withdrawal was cut short: what it had no time to remove is not used either.
        raise FedmviError(766, f"{folder}: run the same `fedmvi-site withdraw` again")
    return table


def store_digest(site: Site, study: Study) -> str:
    """Names the prepared data: the same for the same table, wherever, whenever and with whatever libraries made.

    Raises
    ------
    FedmviError
        212 not prepared, or a damaged manifest.
    """
    return _data_digest(_read_manifest(store_folder(site, study)))


def store_folder(site: Site, study: Study) -> Path:
    """Where the store of this study's preparation is."""
    return site.store / "prepared" / preparation_fingerprint(study)


def stored_files(folder: Path) -> Mapping[str, str]:
    """SHA-256 of every file of a store by its path, as they were when it was written; error 212 without a manifest."""
    files: Mapping[str, str] = _read_manifest(folder)["files"]
    return files


def stack_digests(folder: Path) -> dict[str, str]:
    """By patient a digest of the files of his ROI stacks, as they were when the store was written."""
    files: dict[str, list[str]] = {}
    for path, sha in sorted(stored_files(folder).items()):
        kind, _, rest = path.partition("/")
        if kind == STACKS:
            files.setdefault(rest.partition("/")[0], []).append(f"{path} {sha}")
    return {patient: digest("\n".join(lines)) for patient, lines in files.items()}


def content_digest(table: SiteTable) -> str:
    """SHA-256 of a table's names, ids, labels, levels and arrays; all NaN count as the same."""
    head = {
        "patients": table.patients,
        "labels": table.labels,
        "columns": {name: column.levels for name, column in table.columns.items()},
        "endpoints": sorted(table.endpoints),
        "failed": list(table.failed),
    }
    if table.expression is not None:
        head["genes"] = table.expression.genes
    if table.second:
        head["second"] = sorted(table.second)
    total = hashlib.sha256(canonical_json(head).encode())
    for name in sorted(table.columns):
        total.update(_real_bytes(table.columns[name].values))
        total.update(table.columns[name].censored.astype("i1").tobytes())
    for name in sorted(table.second):
        total.update(_real_bytes(table.second[name].values))
    for name in sorted(table.endpoints):
        total.update(_real_bytes(table.endpoints[name]))
    for fails in table.failed.values():
        total.update(fails.astype("u1").tobytes())
    if table.expression is not None:
        total.update(_real_bytes(table.expression.library))
        total.update(_real_bytes(table.expression.values))
    return total.hexdigest()


def _real_bytes(values: NDArray[np.float64]) -> bytes:
    return np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes()


def table_inputs(site: Site, study: Study) -> dict[str, str]:
    """Hashes of what the store is made from; [policy] is not among them: changing it changes no data."""
    settings = site.model_dump(mode="json", include={"tables", "columns"})
    file = settings["tables"].pop("expression")
    inputs = {"patients": _file_digest(table_path(site)), "site": digest(canonical_json(settings))}
    if site.name in sequenced_sites(study):
        inputs["expression"] = digest(f"{file} {_file_digest(expression_path(site))}")
    return inputs


def _file_digest(path: Path) -> str:
    """Nothing of a file that cannot be read: the check says 204, and no store was ever made from nothing."""
    try:
        return digest(path.read_bytes())
    except OSError:
        return ""


def new_manifest(
    study: Study, table: SiteTable, inputs: Mapping[str, str], images: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What prepared.json says of a table made from these inputs.

    Parameters
    ----------
    study
        The protocol.
    table
        With the features that the study uses.
    inputs
        See `table_inputs`.
    images
        What `preparation` says of images: at least `content`, a digest of all that it adds; None without images.
    """
    return {
        "format": _FORMAT,
        "preparation": preparation_fingerprint(study),
        "settings": study.preparation.model_dump(mode="json") if study.preparation else {},
        "inputs": dict(inputs),
        "libraries": library_versions(),
        "patients": table.n,
        "excluded": {name: int(np.count_nonzero(fails)) for name, fails in table.failed.items()},
        "content": content_digest(table),
        "images": dict(images) if images is not None else None,
    }


def _data_digest(manifest: Mapping[str, Any]) -> str:
    parts = {key: manifest[key] for key in ("format", "preparation", "content")}
    if manifest["images"] is not None:
        parts["images"] = manifest["images"]["content"]
    return digest(canonical_json(parts))


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FedmviError(212, f"{path} is missing") from error
    except (OSError, ValueError) as error:
        raise FedmviError(212, f"{path} is damaged: {error}") from error
    wanted = {"format", "preparation", "inputs", "content", "images", "files"}
    if not isinstance(manifest, dict) or not wanted <= set(manifest) or manifest["format"] != _FORMAT:
        raise FedmviError(212, f"{path} is damaged, or was written by another version")
    return manifest


def is_current(site: Site, study: Study, manifest: Mapping[str, Any]) -> bool:
    """Whether the store holds, undamaged, what a manifest of this moment says."""
    try:
        load_prepared(site, study)
        folder = store_folder(site, study)
        stored = _read_manifest(folder)
        whole = stored["files"] == _files_in(folder)
    except (FedmviError, OSError):
        return False
    return whole and _data_digest(stored) == _data_digest(manifest) and stored["images"] == manifest["images"]


@contextlib.contextmanager
def locked(parent: Path) -> Iterator[None]:
    """One preparation at a time; the lock ends with the process, however it ends."""
    with (parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in (*parent.glob(".*.new"), *parent.glob(".*.old")):
            shutil.rmtree(leftover)
        yield


def replace_store(
    folder: Path, table: SiteTable, manifest: Mapping[str, Any], add: Callable[[Path], None] | None = None
) -> None:
    """Write a store in one rename; until then there is the old one or none, never a part of one.

    `add` puts further files into the new folder.
    """
    new = folder.with_name(f".{folder.name}.new")
    new.mkdir(mode=0o700)
    _write_table(new / TABLE, table)
    if table.expression is not None:
        _write_expression(new / EXPRESSION, table.patients, table.expression)
    if add is not None:
        add(new)
    manifest = {**manifest, "files": _files_in(new)}
    write_whole(new / MANIFEST, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    sync_folder(folder.parent)
    if old.exists():
        shutil.rmtree(old)


def _files_in(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a store, by its path, but for prepared.json."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return {str(path.relative_to(folder)): digest(path.read_bytes()) for path in paths}


def _write_table(path: Path, table: SiteTable) -> None:
    arrays = {"patient_id": _texts(table.patients), "label": _texts(table.labels)}
    for name, column in table.columns.items():
        arrays[f"value:{name}"] = _numbers(column.values, np.float64)
        arrays[f"censored:{name}"] = _numbers(column.censored, np.int8)
    arrays |= {f"second:{name}": _numbers(column.values, np.float64) for name, column in table.second.items()}
    arrays |= {f"endpoint:{key}": _numbers(values, np.float64) for key, values in table.endpoints.items()}
    arrays |= {f"failed:{name}": _numbers(fails, np.int8) for name, fails in table.failed.items()}
    if table.expression is not None:
        arrays[LIBRARY] = _numbers(table.expression.library, np.float64)
    _write_parquet(path, arrays)


def _write_expression(path: Path, patients: Sequence[str], expression: GeneTable) -> None:
    arrays = {"gene": _texts(expression.genes)}
    for row in np.flatnonzero(~np.isnan(expression.library)).tolist():
        arrays[f"patient:{patients[row]}"] = _numbers(expression.values[row], np.float64)
    _write_parquet(path, arrays)


def _numbers(values: NDArray[Any], kind: type[np.float64 | np.int8]) -> Any:
    """One column without nulls; not by `pyarrow.array`, which loads pandas wherever that is installed."""
    # Imported here and wherever it is used: whoever only asks for a digest does not wait for it.
    import pyarrow as pa

    row = np.ascontiguousarray(values, dtype=kind)
    return pa.Array.from_buffers(pa.from_numpy_dtype(row.dtype), row.size, [None, pa.py_buffer(row)])


def _texts(texts: Sequence[str]) -> Any:
    """The same of words: their bytes one after another, and where each begins."""
    import pyarrow as pa

    words = [text.encode() for text in texts]
    begins = np.cumsum([0, *map(len, words)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(words), pa.py_buffer(begins), pa.py_buffer(b"".join(words)))


def _write_parquet(path: Path, arrays: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays), sink)
    write_whole(path, sink.getvalue().to_pybytes())


def _read_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # One thread and no memory map: a message is answered from a short-lived process beside the hospital's work.
    return pq.ParquetFile(pa.BufferReader(path.read_bytes())).read(use_threads=False)


def _read_table(folder: Path, study: Study) -> SiteTable:
    import pyarrow as pa

    expression = None
    path = folder / TABLE
    try:
        stored = _read_parquet(path)
        columns, failed = {}, {}
        endpoints: dict[str, NDArray[np.float64]] = {}
        for name in study.variable_names():
            values, censored = _numpy(stored, f"value:{name}"), _numpy(stored, f"censored:{name}")
            columns[name] = Column(values, study.variable(name).level_names, censored)
        second = {}
        for name in (*study.read_twice(), *study.traits_read_twice()):
            values = _numpy(stored, f"second:{name}")
            second[name] = Column(values, study.variable(name).level_names, np.zeros(values.size, np.int8))
        for endpoint in study.endpoints:
            endpoints |= {k: _numpy(stored, f"endpoint:{k}") for k in endpoint.keys}
        for name in study.exclusions():
            failed[name] = _numpy(stored, f"failed:{name}").astype(np.bool_)
        patients, labels = (tuple(stored[name].to_pylist()) for name in ("patient_id", "label"))
        if LIBRARY in stored.column_names:
            library = _numpy(stored, LIBRARY)
            path = folder / EXPRESSION
            expression = _read_expression(path, patients, library)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise FedmviError(212, f"{path} is damaged: {error}") from error
    return SiteTable(patients, columns, endpoints, failed, labels, expression=expression, second=second)


def _read_expression(path: Path, patients: Sequence[str], library: NDArray[np.float64]) -> GeneTable:
    """KeyError and errors of reading where the file is not whole."""
    stored = _read_parquet(path)
    values = np.full((len(patients), stored.num_rows), np.nan)
    for row in np.flatnonzero(~np.isnan(library)).tolist():
        values[row] = _numpy(stored, f"patient:{patients[row]}")
    return GeneTable(tuple(stored["gene"].to_pylist()), values, library)


def _numpy(stored: Any, name: str) -> NDArray[Any]:
    """One column without nulls; not by pyarrow's `to_numpy`, which loads pandas wherever that is installed."""
    return np.array(np.from_dlpack(stored[name].combine_chunks()))
