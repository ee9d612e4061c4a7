"""client/describing: small pictures as SVG: histograms, bars and survival curves, in the colours of the page's style.

Colours are classes of the page's style sheet, so that the pictures follow a dark screen and print in black.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from client.describing.numbers import Counts
from client.describing.spread import Spread, round_step
from common.statistics.life_table import KaplanMeier

_WIDTH, _HEIGHT = 420, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 12, 16, 24
_MOST_TICKS = 6.5
_ROW, _AFTER = 24, 78
_MOST_LETTERS, _LETTER = 20, 6.6
_DECADES = 2


def number(value: float) -> str:
    """A number as the page writes it: to 0.01, larger ones to fewer decimals, smaller ones to three digits."""
    if not math.isfinite(value):
        return "–"
    if 0 < abs(value) < 1:
        return f"{value:.3g}"
    decimals = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def histogram(name: str, spread: Spread, unit: str, cutoffs: Sequence[float], kinds: Sequence[str]) -> str:
    """Bars of patients, stacked by group; `kinds` are the groups' classes of colour; cut-offs are dashed lines."""
    low, high = float(spread.edges[0]), float(spread.edges[-1])
    total = spread.heights.sum(axis=0)
    highest = max(int(total.max()), 1)
    step = max(round_step(highest / 3), 1.0)
    top = math.ceil(highest / step) * step

    def across(x: float) -> float:
        return _LEFT + (x - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_line(_LEFT, down(y), _WIDTH - _RIGHT, down(y), "grid") for y in np.arange(0, top + step / 2, step)]
    parts += [_text(_LEFT - 5, down(y) + 4, f"{y:g}", "end") for y in np.arange(0, top + step / 2, step)]
    below = np.zeros(total.size)
    for kind, heights in zip(kinds, spread.heights, strict=True):
        for bar in np.flatnonzero(heights):
            left, right = across(spread.edges[bar]), across(spread.edges[bar + 1])
            y, height = down(below[bar] + heights[bar]), down(below[bar]) - down(below[bar] + heights[bar])
            parts.append(_rect(left + 0.5, y, right - left - 1, height, kind))
        below += heights
    for x, words in (_logarithmic_ticks if spread.logarithmic else _ticks)(low, high):
        parts.append(_line(across(x), down(0), across(x), down(0) + 4, "axis"))
        parts.append(_text(across(x), _HEIGHT - 6, words, "end" if across(x) > _WIDTH - _LEFT / 2 else "middle"))
    for cutoff in cutoffs:
        at = math.log10(cutoff) if spread.logarithmic and cutoff > 0 else cutoff
        if low <= at <= high and (cutoff > 0 or not spread.logarithmic):
            parts.append(_line(across(at), _TOP - 4, across(at), down(0), "cut"))
            anchor = "end" if across(at) > _WIDTH / 2 else "start"
            parts.append(_text(across(at) + (-4 if anchor == "end" else 4), _TOP - 5, f"cut-off {cutoff:g}", anchor))
    scale = ", logarithmic scale" if spread.logarithmic else ""
    words = f"Patients by {name}{f' in {unit}' if unit else ''}{scale}: {int(total.sum())} with a value"
    return _svg(_WIDTH, _HEIGHT, words, parts)


def bars(name: str, levels: Sequence[str], groups: Sequence[Counts], kinds: Sequence[str]) -> str:
    """A bar for each level, its groups of patients end to end, with the number and its share."""
    total = [sum(group.counts[level] for group in groups) for level in range(len(levels))]
    shown = [title if len(title) <= _MOST_LETTERS else f"{title[: _MOST_LETTERS - 1]}…" for title in levels]
    left = _LETTER * max(len(title) for title in shown) + 12
    n = sum(total)
    scale = (_WIDTH - left - _AFTER) / max(*total, 1)
    parts = []
    for level, title in enumerate(shown):
        y, x = 4 + level * _ROW, left
        parts.append(_text(left - 8, y + 14, title, "end"))
        for kind, found in zip(kinds, groups, strict=True):
            width = found.counts[level] * scale
            if width:
                parts.append(_rect(x, y, width, _ROW - 6, kind))
            x += width
        share = f" ({total[level] / n:.0%})" if n else ""
        parts.append(_text(x + 6, y + 14, f"{total[level]}{share}", "start"))
    parts.append(_line(left, 0, left, len(levels) * _ROW + 2, "axis"))
    return _svg(_WIDTH, len(levels) * _ROW + 4, f"Patients by {name}: {n} with a value", parts)


def survival(name: str, curve: KaplanMeier, unit: str) -> str:
    """A Kaplan-Meier curve with its 95 % band, marks where patients were censored, and numbers at risk."""
    height, bottom = 260, 64
    end = float(curve.time_[-1]) or 1.0
    step = round_step(end / _MOST_TICKS)

    def across(t: float) -> float:
        return _LEFT + t / end * (_WIDTH - _LEFT - _RIGHT)

    def down(s: float) -> float:
        return height - bottom - s * (height - _TOP - bottom)

    parts = [_line(_LEFT, down(s), _WIDTH - _RIGHT, down(s), "grid") for s in (0, 0.25, 0.5, 0.75, 1)]
    parts += [_text(_LEFT - 5, down(s) + 4, f"{s:.0%}", "end") for s in (0, 0.25, 0.5, 0.75, 1)]
    times = np.arange(0, end + step * 1e-9, step)
    for t, at_risk in zip(times, curve.at_risk(times), strict=True):
        anchor = "start" if t == 0 else "end" if across(t) > _WIDTH - _LEFT else "middle"
        parts += [_line(across(t), down(0), across(t), down(0) + 4, "axis"),
                  _text(across(t), down(0) + 17, f"{t:g}", anchor),
                  _text(across(t), height - 4, f"{at_risk:.0f}", anchor)]  # fmt: skip
    parts.append(_text(_LEFT, height - 20, f"{unit} from surgery; below: patients at risk", "start"))
    x = [across(float(t)) for t in curve.time_]
    high = _stairs(x, [down(float(s)) for s in curve.high_], across(0), down(1))
    low = _stairs(x, [down(float(s)) for s in curve.low_], across(0), down(1))
    parts.append(f'<polygon class="band" points="{_points([*high, *reversed(low)])}"/>')
    line = _stairs(x, [down(float(s)) for s in curve.survival_], across(0), down(1))
    parts.append(f'<polyline class="curve" points="{_points(line)}"/>')
    left = curve.at_risk_ - np.append(curve.at_risk_[1:], 0) - curve.events_
    for i in np.flatnonzero(left):
        y = down(float(curve.survival_[i]))
        parts.append(_line(x[i], y - 4, x[i], y + 4, "censored"))
    words = f"Kaplan-Meier curve of {name}: {curve.n_} patients, {curve.n_events_} events"
    return _svg(_WIDTH, height, words, parts)


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers."""
    step = round_step((high - low) / _MOST_TICKS)
    places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(place * step, f"{round(place * step, 10):g}") for place in places]


def _logarithmic_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten; where these are few, their doubles and fives too."""
    inside = [k for k in range(math.floor(low), math.ceil(high) + 1) if low <= k <= high]
    factors = (1,) if len(inside) > _DECADES else (1, 2, 5)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [(k + math.log10(f), f * 10.0**k) for k in powers for f in factors]
    return [(x, _short(value)) for x, value in ticks if low <= x <= high]


def _short(value: float) -> str:
    """10,000 as 10k, 1,000,000 as 1M."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"


def _stairs(x: Sequence[float], y: Sequence[float], x0: float, y0: float) -> list[tuple[float, float]]:
    points = [(x0, y0)]
    for at, level in zip(x, y, strict=True):
        points += [(at, points[-1][1]), (at, level)]
    return points


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _svg(width: int, height: int, words: str, parts: Sequence[str]) -> str:
    label = escape(words)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"/>'
