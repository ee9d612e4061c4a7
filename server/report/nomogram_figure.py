"""server/report: the printed nomogram: a line of points, one for each predictor, the total, and the probability."""

from __future__ import annotations

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.published.results import Results
from server.report.nomogram import MOST_POINTS, Axis, Nomogram
from server.report.svg import new_figure

_WIDTH, _LABEL, _RIGHT = 8.2, 2.3, 0.25  # inches, as all below
_ROW, _TOP, _BOTTOM = 0.52, 0.42, 0.2
_WRAP = 32
_TICK = 0.13
_STAGGER = 7.0
"""Points below which two labels of one line are set on different sides of it."""
_PROBABILITIES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

Mark = tuple[float, str]
"""Where on the line, from 0 to 1, and what stands there; nothing stands at an end that is no round number."""


def draw_nomogram(results: Results, nomogram: Nomogram) -> Figure:
    """One row each for the points, every predictor, the total, and the probability."""
    total = nomogram.most_points
    rows: list[tuple[str, list[Mark]]] = [("Points", [(p / MOST_POINTS, f"{p:g}") for p in range(0, 101, 10)])]
    rows += [(_head(axis), _marks(axis)) for axis in nomogram.axes]
    rows.append(("Total points", [(1.0, ""), *((p / total, f"{p:g}") for p in _nice(0.0, total))]))
    rows.append((f"Probability of {nomogram.endpoint}", _probabilities(nomogram)))
    top = _TOP if results.simulated else 0.2
    height = top + _ROW * len(rows) + _BOTTOM
    figure = new_figure(_WIDTH, height)
    width = _WIDTH - _LABEL - _RIGHT
    axes = figure.add_axes((_LABEL / _WIDTH, _BOTTOM / height, width / _WIDTH, _ROW * len(rows) / height))
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    axes.axis("off")
    for place, (head, marks) in enumerate(rows):
        axes.annotate("\n".join(textwrap.wrap(head, _WRAP)[:3]), (0, place), (-_LABEL * 72 + 2, 0), va="center",
                      fontsize=8.5, textcoords="offset points", annotation_clip=False)  # fmt: skip
        _line(axes, place, marks)
    return figure


def describe_nomogram(nomogram: Nomogram) -> str:
    """In words, for those who do not see it."""
    parts = []
    for axis in nomogram.axes:
        if axis.choices:
            parts.append(f"{axis.label}: " + ", ".join(f"{c.label} {c.points:.0f} points" for c in axis.choices))
        else:
            low, high = axis.usual
            parts.append(
                f"{_head(axis)}: {low:.3g} gives {axis.points(low):.0f} points, {high:.3g} {axis.points(high):.0f}"
            )
    ends = [f"{total:.0f} points, {nomogram.probability(total):.0%}" for total in (0.0, nomogram.most_points)]
    return "; ".join([*parts, "total and probability from " + " to ".join(ends)]) + "."


def _head(axis: Axis) -> str:
    return f"{axis.label} ({axis.unit})" if axis.unit and not axis.choices else axis.label


def _marks(axis: Axis) -> list[Mark]:
    if axis.choices:
        return [(choice.points / MOST_POINTS, choice.label) for choice in axis.choices]
    low, high = axis.usual
    if axis.coding == "log" and low > -1:
        values = sorted({float(f"{v:.1g}") for v in np.expm1(np.linspace(math.log1p(low), math.log1p(high), 7))})
        values = [value for value in values if low <= value <= high]
    elif axis.coding == "asinh":
        values = sorted({float(f"{v:.1g}") for v in np.sinh(np.linspace(math.asinh(low), math.asinh(high), 7))})
        values = [value for value in values if low <= value <= high]
    else:
        values = _nice(low, high)
    ends = [(axis.points(value) / MOST_POINTS, "") for value in (low, high)]
    return [*ends, *((axis.points(value) / MOST_POINTS, f"{value:g}") for value in values)]


def _nice(low: float, high: float) -> list[float]:
    """Round numbers within the ends."""
    ticks = MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def _probabilities(nomogram: Nomogram) -> list[Mark]:
    marks = []
    for probability in _PROBABILITIES:
        total = (math.log(probability / (1.0 - probability)) - nomogram.base) / nomogram.per_point
        if 0.0 <= total <= nomogram.most_points:
            marks.append((total / nomogram.most_points, f"{probability:g}"))
    return marks or [
        (0.0, f"{nomogram.probability(0.0):.2g}"),
        (1.0, f"{nomogram.probability(nomogram.most_points):.2g}"),
    ]


def _line(axes: Axes, place: int, marks: list[Mark]) -> None:
    """A line from the first mark to the last; labels that would meet stand above and below it by turns."""
    ordered = sorted(marks)
    axes.plot([ordered[0][0], ordered[-1][0]], [place, place], color="#000000", linewidth=0.9, clip_on=False)
    above, last = False, -math.inf
    for x, text in ordered:
        if not text:
            continue
        near = (x - last) * MOST_POINTS < _STAGGER + 0.8 * len(text)
        above, last = (not above if near else False), x
        axes.plot([x, x], [place, place + (-_TICK if above else _TICK)], color="#000000", linewidth=0.9, clip_on=False)
        axes.annotate(text, (x, place), (0, 6 if above else -6), va="bottom" if above else "top", ha="center",
                      fontsize=7.5, textcoords="offset points", annotation_clip=False)  # fmt: skip
