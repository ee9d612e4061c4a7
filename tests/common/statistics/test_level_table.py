"""Counts by level, of all sites and of single ones, against pandas; whose sum is asked for and whose is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import FedmviError
from common.federation.query import HIDDEN, Mode
from common.statistics.level_table import LevelTable, LevelTables, OwnLevelTable, level_tables
from common.study.recipe import Frame, Recipe

NAMES, LEVELS = ("vendor", "voltage"), (4, 2)
Rows = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]


def frame_of(columns: Rows) -> Frame:
    n = len(next(iter(columns.values())))
    return Frame(dict(columns), {}, np.arange(n, dtype=np.uint64))


def drawn(seed: int, n: int) -> Rows:
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(0, levels, n).astype(float) for name, levels in zip(NAMES, LEVELS, strict=True)}
    for values in columns.values():
        values[rng.random(n) < 0.2] = np.nan
    return columns


def oracle(columns: Rows) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(columns, 1 + most levels) by pandas."""
    found = np.zeros((2, 5), dtype=np.int64)
    for place, (name, levels) in enumerate(zip(NAMES, LEVELS, strict=True)):
        by = pd.Series(columns[name]).value_counts(dropna=False)
        found[place, 0] = by.get(np.nan, 0)
        for level in range(levels):
            found[place, level + 1] = by.get(float(level), 0)
    return found


Answer = Callable[[Any], dict[str, Any]]


def asked(sites: Mapping[str, Rows], silent: tuple[str, ...] = ()) -> tuple[LevelTables, list[Mode]]:
    """The conclusion over these sites, of which some do not tell their own; how it asked."""
    conclusion = level_tables("c", Recipe(), NAMES, LEVELS, min_cell=5, min_sites=3)
    modes: list[Mode] = []
    ask = next(conclusion)
    while True:
        modes.append(ask.mode)
        answers = {site: ask.question.answer(frame_of(rows))["counts"] for site, rows in sites.items()}
        if ask.mode is Mode.EACH:
            reply: Any = {s: FedmviError(408) if s in silent else {"counts": c} for s, c in answers.items()}
        else:
            reply = {"counts": sum(answers.values())}
        try:
            ask = conclusion.send(reply)
        except StopIteration as stop:
            return stop.value, modes


SITES = {name: drawn(seed, 30 + 40 * seed) for seed, name in enumerate("abcd")}


def test_the_counts_are_those_of_the_pooled_rows_and_of_each_site() -> None:
    told, modes = asked(SITES)
    pooled = {name: np.concatenate([rows[name] for rows in SITES.values()]) for name in NAMES}
    assert np.array_equal(told.pooled, oracle(pooled))
    assert modes == [Mode.EACH, Mode.TOTAL]
    for site in "bcd":  # nobody of them has a small count
        assert np.array_equal(told.by_site[site], oracle(SITES[site]))


def test_a_site_where_nobody_has_a_value_adds_nothing() -> None:
    nobody = {name: np.full(25, np.nan) for name in NAMES}
    told, _ = asked({**SITES, "e": nobody})
    before, _ = asked(SITES)
    assert np.array_equal(told.pooled - before.pooled, [[25, 0, 0, 0, 0], [25, 0, 0, 0, 0]])


@pytest.mark.parametrize(("silent", "total"), [("", True), ("a", False), ("ab", False), ("abc", True), ("abcd", True)])
def test_no_sum_is_asked_for_that_would_tell_the_sum_of_too_few_others(silent: str, total: bool) -> None:
    told, modes = asked(SITES, tuple(silent))
    assert (told.pooled is not None) == total == (Mode.TOTAL in modes)
    assert {site for site, answer in told.by_site.items() if isinstance(answer, FedmviError)} == set(silent)


def test_too_few_sites_have_no_sum() -> None:
    told, modes = asked({name: SITES[name] for name in "ab"})
    assert told.pooled is None
    assert modes == [Mode.EACH]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=5, max_size=5))
def test_what_a_site_hides_of_a_column_cannot_be_worked_out(counts: list[int]) -> None:
    """Readers know how many patients the site has: the hidden ones are none, or two or more that are five together."""
    values = np.repeat([np.nan, 0.0, 1.0, 2.0, 3.0], counts)
    rows = {"vendor": values, "voltage": np.zeros(len(values))}
    if len(values) == 0:
        return
    shown = OwnLevelTable("c", Recipe(), NAMES, LEVELS, min_cell=5).answer(frame_of(rows))["counts"][0]
    true = np.array(counts)
    hidden = shown == HIDDEN
    assert np.array_equal(shown[~hidden], true[~hidden])
    assert not np.any((shown > 0) & (shown < 5))
    assert not hidden.any() or hidden.all() or (hidden.sum() >= 2 and true[hidden].sum() >= 5)


@pytest.mark.parametrize(
    "query",
    [LevelTable("c", Recipe(), NAMES, (4,)), LevelTable("c", Recipe(), NAMES, (4, 0)),
     OwnLevelTable("c", Recipe(), NAMES, (4, 10**9), min_cell=5)],
)  # fmt: skip
def test_numbers_of_levels_fit_the_columns(query: LevelTable | OwnLevelTable) -> None:
    assert not query.consistent()


def test_a_value_that_is_no_level_is_an_error() -> None:
    rows = {"vendor": np.array([0.0, 7.0]), "voltage": np.array([0.0, 1.0])}
    with pytest.raises(FedmviError, match="501"):
        LevelTable("c", Recipe(), NAMES, LEVELS).answer(frame_of(rows))
