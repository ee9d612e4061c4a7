"""client/cohort: a file of gene expression as names and numbers, before any meaning: text, Parquet or AnnData."""

from __future__ import annotations

import gzip
import math
import re
import warnings
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from client.cohort.cells import parse_number
from client.cohort.problems import Place, Problems
from client.cohort.sheet import decoded, expression_path, rows_of, table_text
from client.cohort.site import Site
from common.errors import FedmviError
from common.study.table import FloatArray
from common.terminal import need

NAMES = ("gene_id", "gene", "symbol", "gene_name", "__index_level_0__")
"""Columns that name genes; where there are several, the first of these is what a gene is called in messages."""
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".h5ad")
PACKED = ".gz"
"""Behind the suffix of a text."""
MOST_UNPACKED = 2**30
"""Bytes of a text that was packed, enough for sixty thousand genes of two thousand patients."""

_TEXTS = SUFFIXES[:3]
_PLAIN = re.compile(r"[0-9.eE+\- ]*", re.ASCII)
_TRIES = 5


@dataclass(frozen=True)
class Matrix:
    """The table of expression of a hospital.

    Attributes
    ----------
    file
        Its path as site.toml writes it.
    names
        Of each row the names of its gene; "" where a cell is empty.
    rows
        The row of each gene as a spreadsheet numbers it, the header being row 1; in .h5ad the gene's place and 1.
    samples
        Ids of the patients who were asked for and are there, in the file's order.
    values
        (genes, samples); NaN where there is no number, and then a problem was noted.
    others
        Headers of all other columns.
    """

    file: str
    names: tuple[tuple[str, ...], ...]
    rows: tuple[int, ...]
    samples: tuple[str, ...]
    values: FloatArray
    others: tuple[str, ...]

    def place(self, row: int, sample: int | None = None) -> Place:
        """The place of a gene, or of a value."""
        column = ("", 0) if sample is None else (self.samples[sample], sample + 1)
        return Place(self.file, self.rows[row], *column)

    def of(self, rows: Sequence[int]) -> Matrix:
        """A part of the genes."""
        names, numbers = tuple(self.names[row] for row in rows), tuple(self.rows[row] for row in rows)
        return Matrix(self.file, names, numbers, self.samples, self.values[list(rows)], self.others)


def read_matrix(site: Site, patients: Collection[str], problems: Problems) -> Matrix | None:
    """The values of these patients; None where the file is no table of genes, and every problem is noted.

    Cells of other columns are not looked at: a patient who withdrew is in no message.

    Raises
    ------
    FedmviError
        203, 204, 205 see `table_text`; 215 not of a kind that is known, damaged, or too large when unpacked; 804 a
        library is not installed.
    """
    path, file = expression_path(site), site.tables.expression
    if not path.is_file():
        near = [p.name for p in sorted(path.parent.glob("expression.*")) if _kind(p) in SUFFIXES and p.is_file()]
        hint = f'; there is {near[0]}: write `expression = "{near[0]}"` under [tables] in site.toml' if near else ""
        raise FedmviError(204, f"{path}{hint}")
    if path.suffix == ".parquet":
        return _from_parquet(path, file, patients, problems)
    if path.suffix == ".h5ad":
        return _from_anndata(path, file, patients, problems)
    kind, encoding = _kind(path), site.tables.encoding
    if kind not in _TEXTS:
        known = ", ".join(SUFFIXES)
        raise FedmviError(215, f"{file}: the name ends in none of {known}; texts may have {PACKED} behind it")
    packed = path.suffix == PACKED
    text = decoded(_unpacked(path, file), path, encoding) if packed else table_text(path, encoding)
    return _from_text(text, site.tables.delimiter if kind == ".csv" else "\t", file, patients, problems)


def _kind(path: Path) -> str:
    """The suffix of the table, whether it is packed or not; only texts may be."""
    inner = Path(path.name.removesuffix(PACKED)).suffix
    return inner if path.suffix != PACKED or inner in _TEXTS else PACKED


def _unpacked(path: Path, file: str) -> bytes:
    try:
        with gzip.open(path) as stream:
            data = stream.read(MOST_UNPACKED + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FedmviError(215, f"{file}: {error}") from error
    if len(data) > MOST_UNPACKED:
        raise FedmviError(215, f"{file}: unpacked it has more than {MOST_UNPACKED / 2**30:g} GiB")
    return data


def _from_text(text: str, delimiter: str, file: str, patients: Collection[str], problems: Problems) -> Matrix | None:
    rows = rows_of(text, delimiter, file, problems)
    _, header = next(rows, (0, ()))
    first = next(rows, None)
    if first is not None and len(first[1]) == len(header) + 1:
        header = ("", *header)  # R's `write.table` has no header above the names of rows
    parts = _parts(file, header, patients, problems)
    if parts is None:
        return None
    named, chosen, others = parts
    samples = tuple(header[i] for i in chosen)
    names, numbers, values = [], [], []
    for row, cells in chain(() if first is None else (first,), rows):
        if len(cells) != len(header):
            problems.add(206, Place(file, row), f"{len(cells)} cells where the header has {len(header)}")
            continue
        names.append(tuple(cells[i] for i in named))
        numbers.append(row)
        values.append(_numbers(file, row, names[-1][0], [cells[i] for i in chosen], samples, problems))
    stacked = np.array(values, dtype=np.float64).reshape(len(values), len(samples))
    return Matrix(file, tuple(names), tuple(numbers), samples, stacked, others)


def _parts(
    file: str, header: Sequence[str], patients: Collection[str], problems: Problems
) -> tuple[list[int], list[int], tuple[str, ...]] | None:
    """Positions of names and of patients, and all other headers; None without a column of names (215)."""
    # R's `write.csv` leaves the header above the names of rows empty.
    named = [i for name in NAMES for i, head in enumerate(header) if head.casefold() == name]
    named += [0] if header and not header[0] and not named else []
    if not named:
        shown = ", ".join(repr(head[:40]) for head in header[:_TRIES])
        problems.add(215, Place(file, 1), f"no header is one of gene, gene_id, symbol, gene_name; there are {shown}")
        return None
    chosen = [i for i, head in enumerate(header) if head in patients and i not in named]
    first: dict[str, int] = {}
    for i in chosen:
        if first.setdefault(header[i], i) != i:
            problems.add(208, Place(file, 1, header[i], i + 1), f"columns {first[header[i]] + 1} and {i + 1}")
    others = tuple(head for i, head in enumerate(header) if i not in {*named, *chosen})
    return named, chosen, others


def _numbers(
    file: str, row: int, gene: str, cells: list[str], samples: Sequence[str], problems: Problems
) -> list[float]:
    """A row's numbers; NaN, and one problem (324) for the row, where some cells are none."""
    if _PLAIN.fullmatch(" ".join(cells)):
        try:
            found = list(map(float, cells))
        except ValueError:
            pass
        else:
            if math.inf not in found and -math.inf not in found:
                return found
    parsed = [parse_number(cell) for cell in cells]
    bad = [i for i, number in enumerate(parsed) if isinstance(number, int) or number.relation]
    if bad:
        more = f", and {len(bad) - 1} more in the row" if len(bad) > 1 else ""
        problems.add(324, Place(file, row, samples[bad[0]], bad[0] + 1), f"{gene}: {cells[bad[0]]!r}{more}")
    return [math.nan if isinstance(number, int) or number.relation else number.value for number in parsed]


def _from_parquet(path: Path, file: str, patients: Collection[str], problems: Problems) -> Matrix | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise FedmviError(215, f"{file}: {error}") from error
    parts = _parts(file, stored.column_names, patients, problems)
    if parts is None:
        return None
    named, chosen, others = parts
    names = zip(*(_texts(stored.column(i).to_pylist()) for i in named), strict=True)
    columns = []
    for place, i in enumerate(chosen):
        kind = stored.schema.field(i).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            problems.add(324, Place(file, 0, stored.column_names[i], place + 1), f"the column is of the type {kind}")
            columns.append(np.zeros(stored.num_rows))
            continue
        column = stored.column(i).cast(pa.float64(), safe=False).combine_chunks().fill_null(math.nan)
        columns.append(np.array(np.from_dlpack(column)))
    values = np.column_stack(columns) if columns else np.empty((stored.num_rows, 0))
    samples = tuple(stored.column_names[i] for i in chosen)
    numbers = tuple(range(2, stored.num_rows + 2))
    return _looked_at(Matrix(file, tuple(names), numbers, samples, values, others), problems)


def _from_anndata(path: Path, file: str, patients: Collection[str], problems: Problems) -> Matrix | None:
    need("genomics", "anndata")
    import anndata

    try:
        with warnings.catch_warnings():
            # Names that are not unique are our own errors, with their places.
            warnings.simplefilter("ignore", UserWarning)
            stored = anndata.read_h5ad(path)
            kind = None if stored.X is None else stored.X.dtype
            ids, genes = _texts(stored.obs_names.tolist()), _texts(stored.var_names.tolist())
            more = [_texts(stored.var[name].tolist()) for name in ("gene_ids", "gene_id") if name in stored.var]
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise FedmviError(215, f"{file}: {error}") from error
    if kind is None or kind.kind not in "iuf":
        raise FedmviError(215, f"{file}: X {'is missing' if kind is None else f'is of the type {kind}'}, not numbers")
    header = ("gene", *ids)
    parts = _parts(file, header, patients, problems)
    if parts is None:
        return None
    _, chosen, others = parts
    values = stored.X[[i - 1 for i in chosen]]
    dense: Any = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    names = tuple(zip(*more, genes, strict=True))
    samples, numbers = tuple(header[i] for i in chosen), tuple(range(2, len(genes) + 2))
    matrix = Matrix(file, names, numbers, samples, np.ascontiguousarray(dense.T, dtype=np.float64), others)
    return _looked_at(matrix, problems)


def _texts(cells: list[Any]) -> tuple[str, ...]:
    return tuple(cell.strip() if isinstance(cell, str) else _text(cell) for cell in cells)


def _text(cell: Any) -> str:
    """Nothing of a name that is missing; a number as it is written."""
    return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else str(cell)


def _looked_at(matrix: Matrix, problems: Problems) -> Matrix:
    """324 for every row with a value that is no finite number."""
    wrong = ~np.isfinite(matrix.values)
    for row in np.flatnonzero(wrong.any(axis=1)):
        bad = np.flatnonzero(wrong[row])
        more = f", and {len(bad) - 1} more in the row" if len(bad) > 1 else ""
        detail = f"{matrix.names[row][0]}: {matrix.values[row, bad[0]]:g}{more}"
        problems.add(324, matrix.place(int(row), int(bad[0])), detail)
    matrix.values[wrong] = math.nan
    return matrix
