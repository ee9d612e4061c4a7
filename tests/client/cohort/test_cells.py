"""tests/client/cohort: what one cell says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cohort.cells import Number, level_index, parse_date, parse_number, same_word, word_index

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite)
def test_a_number_survives_the_round_trip(value: float) -> None:
    assert parse_number(repr(value)) == Number(value)


@given(finite, st.sampled_from(["<", "<=", ">", ">=", "≤", "≥"]))
def test_a_bound_survives_the_round_trip(value: float, relation: str) -> None:
    ascii_relation = {"≤": "<=", "≥": ">="}.get(relation, relation)
    assert parse_number(f"{relation} {value!r}") == Number(value, ascii_relation)


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_an_error(text: str) -> None:
    found = parse_number(text)
    assert found in (303, 304) if isinstance(found, int) else math.isfinite(found.value)


@pytest.mark.parametrize("text", ["1,200", "3,5", "<1,200", "-3,5", "1,200,000"])
def test_a_comma_is_never_guessed(text: str) -> None:
    assert parse_number(text) == 304


@pytest.mark.parametrize("text", ["n/a", "inf", "-inf", "nan", "1e999", "1_000", "٣", "", "12 U/L", "--", ","])
def test_what_is_no_number_is_refused(text: str) -> None:
    assert parse_number(text) == 303


@given(finite, finite, finite)
def test_a_stored_bound_decides_a_cutoff_only_rightly(bound: float, cutoff: float, truth: float) -> None:
    for relation, holds in (("<", truth < bound), ("<=", truth <= bound), (">", truth > bound), (">=", truth >= bound)):
        value, censored = Number(bound, relation).stored()
        if holds and censored < 0 and value <= cutoff:
            assert not truth > cutoff
        if holds and censored > 0 and value >= cutoff:
            assert truth > cutoff


def test_a_bound_at_the_cutoff_is_decided_except_at_least() -> None:
    stored = {r: Number(20, r).stored() for r in ("<", "<=", ">", ">=")}
    assert stored["<"] == stored["<="] == (20, -1)
    assert stored[">"] == (20, 1)
    assert stored[">="][0] < 20


@given(st.integers(0, 10**6))
def test_decimal_units_convert_without_a_rounding_tail(tenths: int) -> None:
    assert Number(tenths).times(0.1).value == tenths / 10


def test_words_match_exactly_or_regardless_of_case() -> None:
    assert word_index("micro", ("None", "Micro")) == 1
    assert word_index("A", ("a", "A")) == 1
    assert word_index("2.0", ("0", "1", "2")) == 2
    assert word_index("none ", ("None",)) is None


@pytest.mark.parametrize(("text", "index"), [("1", 1), ("0", 0), ("TRUE", 1), ("absent", 0), ("1.0", 1), ("2", None)])
def test_yes_and_no_have_their_usual_words(text: str, index: int | None) -> None:
    assert level_index(text, ("no", "yes")) == index


@pytest.mark.parametrize("text", ["0", "1", "yes", "true", "m"])
def test_other_levels_are_never_guessed_from_a_code(text: str) -> None:
    assert level_index(text, ("female", "male")) is None


def test_a_rule_takes_one_for_yes() -> None:
    assert same_word("1", ("yes",))
    assert not same_word("0", ("yes",))
    assert not same_word("2", ("yes",))


@pytest.mark.parametrize("text", ["20240101", "2024-13-01", "01.02.2024", "2024-02-30", "2024-W01-1"])
def test_only_plain_iso_dates_are_dates(text: str) -> None:
    assert parse_date(text) == 317
