"""client/cohort: `fedmvi-site check --assign-ids`: replaces patient ids that may not be used; the key stays here."""

from __future__ import annotations

import codecs
import csv
import io
import stat
from dataclasses import dataclass
from pathlib import Path

from client.cohort.columns import Columns
from client.cohort.problems import Problems
from client.cohort.reading import ID_COLUMN, PATIENT_ID
from client.cohort.sheet import Sheet, table_path, table_text
from client.cohort.site import Site, load_site
from common.errors import FedmviError
from common.files import write_whole

KEY_FILE = "patient_ids.key.csv"
_KEY_HEADER = ["original", "assigned"]


@dataclass(frozen=True)
class Assigned:
    """What `assign_ids` did: cells replaced, the key file, and the copy of the table before; None if nothing."""

    replaced: int
    key: Path
    before: Path | None


def assign_ids(folder: Path) -> Assigned:
    """Replace every patient id that breaks the rule (302) by P0001, P0002, ...

    All other cells and rows stay. The same original gets the same id in every run, also in a later export, because
    the key file is read first and only ever extended. Empty ids stay, and stay an error: nobody could trace them.
    The key is written before the table, so that a crash between the two loses nothing.

    Raises
    ------
    FedmviError
        Those of `load_site` and `table_text`, 206 or 207 where the table cannot be rewritten faithfully, 321 where
        the key file is damaged.
    """
    site = load_site(folder)
    path, key_path = table_path(site), site.folder / KEY_FILE
    text = table_text(path, site.tables.encoding)
    rows, position = _rows(site, text)
    key = _read_key(key_path)
    ids = [row[position].strip() for row in rows[1:] if len(row) > position]
    bad = [i for i in dict.fromkeys(ids) if i not in site.tables.missing and i and not PATIENT_ID.fullmatch(i)]
    if not bad:
        return Assigned(0, key_path, None)
    _extend(key, bad, used={*ids, *key.values()})
    replaced = 0
    for row in rows[1:]:
        if len(row) > position and row[position].strip() in key:
            row[position] = key[row[position].strip()]
            replaced += 1
    write_whole(key_path, _csv([_KEY_HEADER, *map(list, key.items())], ",", "\n").encode())
    before = _free_name(path)
    write_whole(before, path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    ending = "\r\n" if "\r\n" in text else "\n"
    content = _csv(rows, site.tables.delimiter, ending).encode(site.tables.encoding)
    marked = path.read_bytes().startswith(codecs.BOM_UTF8) and not content.startswith(codecs.BOM_UTF8)
    mode = stat.S_IMODE(path.stat().st_mode)
    write_whole(path, codecs.BOM_UTF8 + content if marked else content, mode)
    return Assigned(replaced, key_path, before)


def _rows(site: Site, text: str) -> tuple[list[list[str]], int]:
    """All rows as they are, and the position of the patient id."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=site.tables.delimiter, strict=True))
    except csv.Error as error:
        raise FedmviError(206, f"{site.tables.patients}: {error}") from error
    header = tuple(cell.strip() for cell in rows[0]) if rows else ()
    problems = Problems()
    source = Columns(site, None, Sheet(site.tables.patients, header, (), ()), problems).get(ID_COLUMN)
    if source is None:
        raise problems.found[0]
    return rows, source.position


def _read_key(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FedmviError(321, f"{path.name}: {error}") from error
    pairs = rows[1:]
    if not rows or rows[0] != _KEY_HEADER or any(len(pair) != 2 for pair in pairs):
        raise FedmviError(321, f"{path.name}: the header or a row is not `original,assigned`")
    key = {pair[0]: pair[1] for pair in pairs}
    if len(key) != len(pairs) or len(set(key.values())) != len(pairs):
        raise FedmviError(321, f"{path.name}: an id is in it twice")
    return key


def _extend(key: dict[str, str], bad: list[str], used: set[str]) -> None:
    """New ids go on after the highest; an id that the table already uses is passed over."""
    number = 0
    for original in bad:
        if original in key:
            continue
        while (assigned := f"P{(number := number + 1):04d}") in used:
            pass
        used.add(assigned)
        key[original] = assigned


def _free_name(path: Path) -> Path:
    """`<name>.before-ids`, or with a number behind where an earlier one exists."""
    name = path.with_name(f"{path.name}.before-ids")
    number = 1
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}.before-ids.{number}")
    return name


def _csv(rows: list[list[str]], delimiter: str, ending: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=ending).writerows(rows)
    return out.getvalue()
