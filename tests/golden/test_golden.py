"""Golden files belong to the tables that there are now, and each has the script that made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulation.exactness.measuring import Absent
from simulation.exactness.tables import TABLES
from tests.golden.make import digest

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.json")))
def test_a_golden_file_is_of_todays_tables_and_has_its_script(name: str):
    frozen = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    assert (HERE / f"{name}.R").is_file()
    assert frozen["r"]
    assert frozen["tables"]
    for make in TABLES:
        try:
            table = make()
        except Absent as why:
            pytest.skip(str(why))
        if table.key in frozen["tables"]:
            assert digest(table) == frozen["tables"][table.key], table.key
