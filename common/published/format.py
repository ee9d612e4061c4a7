"""common/published: how numbers become text, in one place: counts, p values, ratios, areas, shares and times.

Digits are not grouped, so that a number on the page can be searched for.
"""

from __future__ import annotations

from common.study.protocol import MONTH_DAYS

MARK = "†"
"""Follows a hidden count; every table that has one explains it."""

MISSING = "–"
"""Stands where there is nothing to show."""


def plain(text: str) -> str:
    """Text without control characters, which neither XML nor a CSV cell may hold."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def count(value: float | None, min_cell: int) -> str:
    """A count; `None` is a count below `min_cell`, or one that is hidden to protect such a count."""
    return f"<{min_cell}{MARK}" if value is None else f"{value:.0f}"


def hidden_or(value: int | None, min_cell: int, *, large: bool) -> str:
    """A count, or what is told of a hidden one: that it may be small, or that it is not."""
    return f"hidden{MARK}" if value is None and large else count(value, min_cell)


def optional_count(value: int | None) -> str:
    """A total that a result may not have, or not show."""
    return MISSING if value is None else str(value)


def p_value(p: float | None) -> str:
    """A p value for a table cell: two digits from 0.10, three from 0.001, and never zero or one."""
    if p is None:
        return MISSING
    if p < 0.001:
        return "<0.001"
    if p > 0.995:
        return ">0.99"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def small_p(p: float | None) -> str:
    """A p value among thousands: where others stop at 0.001 it goes on with two digits and a power of ten."""
    return f"{p:.1e}" if p is not None and 0 < p < 0.001 else p_value(p)


def p_words(p: float | None) -> str:
    """A p value for a sentence: `p = 0.030` or `p < 0.001`."""
    text = p_value(p)
    return f"p {text[0]} {text[1:]}" if text[0] in "<>" else f"p = {text}"


def ratio(value: float | None, decimals: int | None = None) -> str:
    """An odds ratio with about three digits."""
    if value is None:
        return MISSING
    if value >= 1e4 or 0 < value < 1e-3:
        return f"{value:.1e}"
    if decimals is None:
        decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def ratio_interval(value: float | None, low: float | None, high: float | None) -> str:
    """An odds ratio with its interval; three decimals where two could not tell it from 1."""
    if value is None:
        return "not estimable"
    decimals = 3 if 0.95 < value < 1.05 else None
    if low is None or high is None:
        return ratio(value, decimals)
    return f"{ratio(value, decimals)} ({ratio(low, decimals)} to {ratio(high, decimals)})"


def area(value: float | None) -> str:
    """An area under the curve: three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def area_interval(value: float | None, low: float | None, high: float | None) -> str:
    """An area with its interval."""
    if low is None or high is None:
        return area(value)
    return f"{area(value)} ({area(low)} to {area(high)})"


def share(value: float | None) -> str:
    """A share of 0 to 1 as per cent, one decimal."""
    return MISSING if value is None else f"{100 * value:.1f} %"


def share_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A share with its interval."""
    if value is None or low is None or high is None:
        return share(value)
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def number(value: float | None) -> str:
    """Any other number, to four significant digits; whole numbers whole."""
    if value is None:
        return MISSING
    if value.is_integer() or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4g}"


def in_months(value: float, of_unit: str) -> float:
    """A time in months; a month is 365.25 / 12 days."""
    return value / MONTH_DAYS if of_unit == "days" else value


def time(value: float | None, of_unit: str) -> str:
    """A time in the unit in which it was recorded, with months beside days."""
    if value is None:
        return "not reached"
    text = f"{value:g} {of_unit}".strip()
    return f"{text} ({in_months(value, of_unit):.1f} months)" if of_unit == "days" else text


def time_limits(low: float | None, high: float | None, of_unit: str) -> str:
    """The limits of a time, in words where one was not reached."""
    if low is None and high is None:
        return "not reached"
    if low is None:
        return f"not reached to {high:g} {of_unit}".strip()
    return f"{low:g} {of_unit} to not reached" if high is None else f"{low:g} to {high:g} {of_unit}".strip()


def per_parameter(value: float | None) -> str:
    """Events per parameter: one decimal."""
    return MISSING if value is None else f"{value:.1f}"


def moment(value: float | None) -> str:
    """A mean or a standard deviation, to three significant digits."""
    if value is None:
        return MISSING
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{decimals}f}" if abs(value) >= 1 else f"{value:.3g}"


def unit(name: str) -> str:
    """A unit as print has it."""
    return plain(name).replace("umol", "µmol").replace("1e9/", "10⁹/")


def per(name: str) -> str:
    """One of a unit: `per year` for years."""
    return f"per {name.removesuffix('s') if name in ('years', 'days', 'months') else unit(name) or 'unit'}"


def size(count_of_bytes: float) -> str:
    """A number of bytes for people."""
    for limit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count_of_bytes >= limit:
            return f"{count_of_bytes / limit:.1f} {name}"
    return f"{count_of_bytes:.0f} bytes"


def duration(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes = f"{rest // 60} min {rest % 60} s"
    return f"{hours} h {minutes}" if hours else minutes


def plural(n: int, one: str, many: str | None = None) -> str:
    """`1 site`, `3 sites`."""
    return f"{n} {one if n == 1 else many or one + 's'}"
