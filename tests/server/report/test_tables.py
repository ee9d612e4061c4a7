"""tests: the CSV tables hold every number of the results, digit for digit, and no hidden count."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args

from common.published.results import Count, CrossTable, Results, Statistic
from server.report.tables import ALL_SITES, COUNTED, FILES, tables, write_tables
from tests.server.report.conftest import Make


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(cell: str) -> float | None:
    return float(cell) if cell else None


def test_every_estimate_is_in_a_table_and_equal(results: Results, tmp_path: Path) -> None:
    write_tables(results, tmp_path)
    compared = 0
    for result in results.results:
        if result.statistic in COUNTED:
            continue
        rows = [row for row in read(tmp_path, FILES[result.statistic]) if row["id"] == result.id]
        assert rows
        for row, found in zip(rows, result.estimates, strict=bool(result.estimates)):
            assert (row["estimate"], row["term"]) == (found.name, found.term)
            for name in ("value", "low", "high", "std_err", "p"):
                wanted = getattr(found, name)
                if wanted is None and row[name].startswith("<"):
                    assert name == "value" and found.name in ("patients", "events")
                else:
                    assert number(row[name]) == wanted
                    compared += 1
    assert compared > 100


def test_every_count_is_in_a_table_and_a_hidden_one_is_words(results: Results, tmp_path: Path) -> None:
    write_tables(results, tmp_path)
    hidden = 0
    for result in results.results:
        if result.statistic not in COUNTED:
            continue
        rows = {(row["count"], row["site"]): row["patients"] for row in read(tmp_path, FILES[result.statistic])
                if row["id"] == result.id}  # fmt: skip
        for count in result.counts:
            for site, value in (*count.by_site.items(), (ALL_SITES, count.pooled)):
                assert rows[count.name, site] == ("<5 or hidden" if value is None else str(value))
                hidden += int(value is None)
    assert hidden == 11


def test_every_kind_of_result_has_its_table_whatever_it_holds(results: Results, tmp_path: Path) -> None:
    assert set(FILES) == set(get_args(Statistic)) and len(set(FILES.values())) == len(FILES)
    curve = next(result for result in results.results if result.curves)
    count = Count(name="class", by_site={"a": 6, "b": None}, pooled=11)
    table = CrossTable(name="cells", rows=["a"], columns=["b"], cells=[[7]])
    one = curve.model_copy(update={"statistic": "choice", "id": "choice.x", "counts": [count], "tables": [table]})
    write_tables(results.model_copy(update={"results": [one]}), tmp_path)
    assert len(read(tmp_path, "choice")) == len(curve.estimates) > 0
    assert len(read(tmp_path, "choice_curves")) == sum(len(each.x) for each in curve.curves) > 0
    assert [row["patients"] for row in read(tmp_path, "counts")] == ["6", "<5 or hidden", "11"]
    assert [row["patients"] for row in read(tmp_path, "network_confusion")] == ["7"]


def test_curves_are_there_and_patients_at_risk_that_are_not_told_are_empty(results: Results, tmp_path: Path) -> None:
    write_tables(results, tmp_path)
    rows = read(tmp_path, "survival_curves")
    assert len(rows) == 31 + 23
    assert [row["at_risk"] for row in rows].count("") == 1
    assert float(rows[1]["x"]) == 30.4375


def test_there_is_one_table_a_kind_even_without_rows(results: Results, tmp_path: Path) -> None:
    empty = results.model_copy(update={"results": []})
    names = {path.stem for path in write_tables(empty, tmp_path)}
    assert set(FILES.values()) <= names
    assert all(text.count("\n") == 1 for text in tables(empty).values())


def test_a_name_that_a_spreadsheet_would_run_is_quoted(make: Make, tmp_path: Path) -> None:
    write_tables(make(sites=("=1+1", "@x", "-y")), tmp_path)
    sites = {row["site"] for row in read(tmp_path, "flow")}
    assert {"'=1+1", "'@x", "'-y"} <= sites
