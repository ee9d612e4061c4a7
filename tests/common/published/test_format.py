"""tests: numbers become text as a journal prints them."""

from __future__ import annotations

import pytest

from common.published import format as fmt


@pytest.mark.parametrize(
    ("p", "text", "words"),
    [
        (2.6e-18, "<0.001", "p < 0.001"),
        (0.000999, "<0.001", "p < 0.001"),
        (0.001, "0.001", "p = 0.001"),
        (0.0304, "0.030", "p = 0.030"),
        (0.0499, "0.050", "p = 0.050"),
        (0.0994, "0.099", "p = 0.099"),
        (0.0996, "0.10", "p = 0.10"),
        (0.4309, "0.43", "p = 0.43"),
        (0.999, ">0.99", "p > 0.99"),
        (None, "–", "p = –"),
    ],
)
def test_p_values(p: float | None, text: str, words: str) -> None:
    assert fmt.p_value(p) == text
    assert fmt.p_words(p) == words


def test_p_values_among_thousands_go_on_where_others_stop() -> None:
    found = [fmt.small_p(p) for p in (2.63e-18, 0.000999, 0.0304, 0.0, None)]
    assert found == ["2.6e-18", "1.0e-03", "0.030", "<0.001", "–"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((3.365, 2.05, 5.52), "3.37 (2.05 to 5.52)"),
        ((1.0024, 0.9994, 1.0054), "1.002 (0.999 to 1.005)"),
        ((35.7, 12.04, 106.2), "35.7 (12.0 to 106)"),
        ((2.0, 1e-5, 1e6), "2.00 (1.0e-05 to 1.0e+06)"),
        ((2.0, None, None), "2.00"),
        ((None, None, None), "not estimable"),
    ],
)
def test_odds_ratios(values: tuple[float | None, float | None, float | None], text: str) -> None:
    assert fmt.ratio_interval(*values) == text


def test_areas_have_three_decimals() -> None:
    assert fmt.area_interval(0.7836, 0.7407, 0.82651) == "0.784 (0.741 to 0.827)"
    assert fmt.area_interval(0.5, None, None) == "0.500"


def test_counts_hide_what_is_none() -> None:
    assert (fmt.count(None, 5), fmt.count(0, 5), fmt.count(1060, 5)) == ("<5†", "0", "1060")


def test_times_keep_their_unit() -> None:
    assert fmt.time(1032.0, "days") == "1032 days (33.9 months)"
    assert fmt.time(23.0, "months") == "23 months"
    assert fmt.time(None, "days") == "not reached"
    assert fmt.time_limits(887.0, 1153.0, "days") == "887 to 1153 days"
    assert fmt.time_limits(1825.0, None, "days") == "1825 days to not reached"
    assert fmt.time_limits(None, None, "days") == "not reached"


def test_units_and_words() -> None:
    assert (fmt.per("years"), fmt.per("1e9/L"), fmt.per("")) == ("per year", "per 10⁹/L", "per unit")
    assert (fmt.plural(1, "site"), fmt.plural(3, "site")) == ("1 site", "3 sites")
    assert (fmt.size(999), fmt.size(1500), fmt.size(2.5e9)) == ("999 bytes", "1.5 kB", "2.5 GB")
    assert (fmt.duration(64.2), fmt.duration(600), fmt.duration(7322)) == ("64.2 s", "10 min 0 s", "2 h 2 min 2 s")
    assert (fmt.number(453.0), fmt.number(492.184), fmt.number(4.68562), fmt.number(-1234.5)) == (
        "453",
        "492.2",
        "4.686",
        "-1234",
    )
    assert fmt.plain("a\x00b\nc") == "a b c"
