"""tests/client/cohort: assigned patient ids lose nothing and never change their meaning."""

from __future__ import annotations

import csv
import stat
from pathlib import Path
from typing import Any

import pytest

from client.cohort.check import check_site
from client.cohort.ids import KEY_FILE, assign_ids
from common.errors import FedmviError

TABLE = '\ufeffpatient_id,"note, free"\r\nMüller 1,"a\r\nb"\r\nP0001,\r\n,x\r\nMüller 2,"1,2"\r\nok,-\r\n'.encode()


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(keepends=True)))


def test_ids_are_replaced_and_nothing_else(make_site: Any) -> None:
    folder = make_site().folder
    table = folder / "patients.csv"
    table.write_bytes(TABLE)
    done = assign_ids(folder)
    assert done.replaced == 2 and done.before is not None and done.before.read_bytes() == TABLE
    assert table.read_bytes() == TABLE.replace("Müller 1".encode(), b"P0002").replace("Müller 2".encode(), b"P0003")
    assert rows(done.key) == [["original", "assigned"], ["Müller 1", "P0002"], ["Müller 2", "P0003"]]
    assert stat.S_IMODE(done.key.stat().st_mode) == 0o600
    assert [p.number for p in check_site(folder, None)] == [302]  # the empty id stays an error
    assert assign_ids(folder).replaced == 0


def test_a_later_export_gets_the_same_ids_and_the_key_only_grows(make_site: Any) -> None:
    folder = make_site().folder
    table = folder / "patients.csv"
    table.write_text("patient_id\nÄ 1\nÄ 2\n")
    assign_ids(folder)
    table.write_text("patient_id\nÄ 3\nÄ 2\n")
    assert assign_ids(folder).before == folder / "patients.csv.before-ids.2"
    assert rows(table) == [["patient_id"], ["P0003"], ["P0002"]]
    assert rows(folder / KEY_FILE)[1:] == [["Ä 1", "P0001"], ["Ä 2", "P0002"], ["Ä 3", "P0003"]]


@pytest.mark.parametrize("key", ["a,b\nx,P0001\n", "original,assigned\nx,P1\ny,P1\n", "original,assigned\nx\n"])
def test_a_key_that_says_something_else_is_left_alone(key: str, make_site: Any) -> None:
    folder = make_site().folder
    (folder / "patients.csv").write_text("patient_id\nÄ 1\n")
    (folder / KEY_FILE).write_text(key)
    with pytest.raises(FedmviError, match="321"):
        assign_ids(folder)
    assert (folder / KEY_FILE).read_text() == key
    assert (folder / "patients.csv").read_text() == "patient_id\nÄ 1\n"
