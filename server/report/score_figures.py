"""server/report: figures of a model's risks: calibration, and decision curves; and cumulative incidences over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from common.published import format as fmt
from common.published.results import EVERYONE, Curve, Result
from server.report.contents import estimate, where
from server.report.looks import look
from server.report.svg import new_figure

Words = tuple[str, str, str]
"""Title, caption, and the figure in words."""

_LEFT: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.03, 0.0), "handlelength": 3.2}


def _figure(top: float, lines: int) -> tuple[Figure, Axes]:
    below = 0.6 + 0.17 * lines
    height = top + 3.53 + below
    figure = new_figure(4.6, height)
    return figure, figure.add_axes((0.135, below / height, 0.82, 3.53 / height))


def draw_calibration(result: Result, top: float) -> tuple[Figure, Words]:
    """Observed shares by groups of predicted risk, with the line that intercept and slope give."""
    figure, axes = _figure(top, len(result.curves))
    handles, labels = [], []
    grid = np.linspace(0.01, 0.99, 99)
    for i, curve in enumerate(result.curves):
        looks = look(i)
        x, y = np.array(curve.x), np.array(curve.y)
        reach = np.abs(np.array([curve.low, curve.high]) - y)
        axes.errorbar(x, y, yerr=reach, fmt="o", color=looks["color"], markersize=4, linewidth=1.0, capsize=2)
        intercept, slope = (estimate(result, name, curve.name) for name in ("intercept", "slope"))
        told = ""
        if intercept is not None and slope is not None and intercept.value is not None and slope.value is not None:
            shown = grid[(grid >= x[0]) & (grid <= x[-1])]
            line = 1 / (1 + np.exp(-(intercept.value + slope.value * np.log(shown / (1 - shown)))))
            axes.plot(shown, line, **looks)
            told = f": slope {fmt.ratio_interval(slope.value, slope.low, slope.high)}"
        handles.append(Line2D([], [], marker="o", markersize=4, **looks))
        labels.append(f" {fmt.plain(curve.name)}{told}")
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.7, zorder=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Predicted probability", ylabel="Observed share")
    figure.legend(handles, labels, **_LEFT)
    caption = (
        f"Cohort {where(result)}. Points: groups of predicted risk, large enough that no patient can be read from "
        "them, with Wilson 95 % intervals. Lines: logistic recalibration. The grey diagonal is perfect agreement."
    )
    parts = [f"{fmt.plain(c.name)}: {_pairs(c, 'predicted', 'observed')}" for c in result.curves]
    return figure, (fmt.plain(result.title), caption, "; ".join(parts) + ".")


def draw_decision(result: Result, top: float) -> tuple[Figure, Words]:
    """Net benefit by threshold, beside treating everyone and nobody."""
    figure, axes = _figure(top, len(result.curves) + 1)
    handles, labels, best = [], [], 0.05
    drawn = [curve for curve in result.curves if curve.name != EVERYONE]
    for i, curve in enumerate(drawn):
        axes.plot(curve.x, curve.y, marker="o", markersize=2.5, **look(i))
        handles.append(Line2D([], [], **look(i)))
        labels.append(f" {fmt.plain(curve.name)}")
        best = max([best, *curve.y])
    for curve in result.curves:
        if curve.name == EVERYONE:
            axes.plot(curve.x, curve.y, color="#888888", linewidth=1.0, zorder=0)
            handles.append(Line2D([], [], color="#888888", linewidth=1.0))
            labels.append(" everyone")
            best = max([best, *curve.y])
    axes.axhline(0.0, color="#888888", linewidth=1.0, linestyle=":", zorder=0)
    handles.append(Line2D([], [], color="#888888", linewidth=1.0, linestyle=":"))
    labels.append(" nobody")
    axes.set(xlim=(0, 1), ylim=(-0.15 * best, 1.1 * best), xlabel="Threshold probability", ylabel="Net benefit")
    figure.legend(handles, labels, **_LEFT)
    caption = (
        f"Cohort {where(result)}. Net benefit per patient of treating those whose risk reaches the threshold "
        "(Vickers & Elkin 2006). Thresholds that would part few patients from the others are left out."
    )
    parts = [f"{fmt.plain(c.name)}: {_pairs(c, 'threshold', 'net benefit')}" for c in drawn]
    return figure, (fmt.plain(result.title), caption, "; ".join(parts) + ".")


def draw_incidence(result: Result, top: float) -> tuple[Figure, Words]:
    """Cumulative incidence by time, a line for each group and kind of event."""
    figure, axes = _figure(top, len(result.curves))
    handles, labels, parts = [], [], []
    for i, curve in enumerate(result.curves):
        months = [fmt.in_months(t, curve.unit) for t in curve.x]
        axes.step(months, curve.y, where="post", **look(i))
        if curve.low and curve.high:
            axes.fill_between(
                months, curve.low, curve.high, step="post", color=look(i)["color"], alpha=0.14, linewidth=0
            )
        handles.append(Line2D([], [], **look(i)))
        labels.append(f" {fmt.plain(curve.name)}")
        if months:
            parts.append(f"{fmt.plain(curve.name)}: {fmt.share(curve.y[-1])} at {months[-1]:.0f} months")
    axes.set(ylim=(0, 1), xlabel="Time (months)", ylabel="Cumulative incidence")
    axes.set_xlim(left=0)
    figure.legend(handles, labels, **_LEFT)
    caption = f"Cohort {where(result)}. Aalen-Johansen estimate with its pointwise 95 % band, given once a month."
    return figure, (fmt.plain(result.title), caption, "; ".join(parts) + ".")


def _pairs(curve: Curve, of_x: str, of_y: str) -> str:
    return ", ".join(f"{of_x} {fmt.share(x)} {of_y} {y:.2f}" for x, y in _thinned(curve))


def _thinned(curve: Curve) -> Sequence[tuple[float, float]]:
    pairs = list(zip(curve.x, curve.y, strict=True))
    return pairs[:: max(1, len(pairs) // 6)]


DRAWERS = {"calibration": draw_calibration, "decision-curve": draw_decision, "competing-risks": draw_incidence}
"""How the curves of an analysis are drawn, by its kind."""
