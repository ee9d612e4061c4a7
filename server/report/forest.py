"""server/report: the forest plot: odds ratios of each predictor alone and of all together, side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.published import format as fmt
from common.published.results import Estimate, Result, Results
from server.report.contents import Labels, ModelParts, estimate, terms
from server.report.svg import new_figure

_WIDTH = 8.2  # inches, as all below
_LABEL, _PANEL, _TEXT, _GAP = 2.35, 1.5, 1.36, 0.06
_TOP, _MARKED_TOP, _BOTTOM = 0.34, 0.62, 0.5
_WRAP = 34
_LONGEST = 22  # letters that stand beside a panel in one line
_FAR = 64.0  # the axis never goes beyond 1/64 and 64
_COLOURS = ("#0072b2", "#d55e00")
_HEADS = ("Each predictor alone", "All predictors together")


def draw_forest(results: Results, model: ModelParts) -> Figure:
    """One row a predictor; on the left each alone, on the right all together."""
    labels = Labels(results)
    rows = terms(*model.fits)
    wrapped = [textwrap.wrap(labels.effect(term), _WRAP)[:3] or [term] for term in rows]
    row_height = 0.16 + 0.14 * max((len(lines) for lines in wrapped), default=1)
    inner = row_height * max(len(rows), 1)
    height = (_MARKED_TOP if results.simulated else _TOP) + inner + _BOTTOM
    figure = new_figure(_WIDTH, height)
    limits = axis_limits([e for fit in model.fits for term in rows if (e := estimate(fit, "odds_ratio", term))])
    for panel, fit in enumerate(model.fits):
        left = _LABEL + panel * (_PANEL + _TEXT + _GAP)
        axes = figure.add_axes((left / _WIDTH, _BOTTOM / height, _PANEL / _WIDTH, inner / height))
        _axes(axes, limits, len(rows), _HEADS[panel])
        for place, term in enumerate(rows):
            _row(axes, panel, place, estimate(fit, "odds_ratio", term))
        if panel == 0:
            for place, lines in enumerate(wrapped):
                axes.annotate("\n".join(lines), (0, place), (-_LABEL * 72 + 2, 0), va="center", fontsize=8.5,
                              xycoords=("axes fraction", "data"), textcoords="offset points",
                              annotation_clip=False)  # fmt: skip
    return figure


def axis_limits(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """A range symmetric about 1 that is a power of two and holds the intervals, if they are not too wide."""
    ends = [abs(math.log2(v)) for e in estimates for v in (e.value, e.low, e.high) if v is not None and v > 0]
    reach = 2.0 ** min(math.ceil(max([*ends, 1.0]) + 0.05), math.log2(_FAR))
    return 1.0 / reach, reach


def _axes(axes: Axes, limits: tuple[float, float], rows: int, head: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set(xlim=limits, ylim=(rows - 0.5, -0.5), yticks=[])
    powers = int(math.log2(limits[1]))
    step = 1 if powers <= 2 else 2 if powers <= 4 else 3
    ticks = [2.0**k for k in range(-powers, powers + 1) if k % step == 0]
    axes.set_xticks(ticks, [f"{t:g}" if t >= 1 else f"1/{1 / t:g}" for t in ticks])
    axes.minorticks_off()
    axes.spines["left"].set_visible(False)
    axes.axvline(1.0, color="#888888", linewidth=0.8, zorder=0)
    axes.set_xlabel("Odds ratio (log scale)", fontsize=8.5)
    axes.annotate(head, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", weight="bold",
                  fontsize=8.5, annotation_clip=False)  # fmt: skip
    for place in range(1, rows):
        axes.plot([0, (_PANEL + _TEXT) / _PANEL], [place - 0.5] * 2, transform=axes.get_yaxis_transform(),
                  color="#bbbbbb", linewidth=0.4, clip_on=False, zorder=0)  # fmt: skip


def _row(axes: Axes, panel: int, place: int, found: Estimate | None) -> None:
    text = fmt.ratio_interval(found.value, found.low, found.high) if found else "not estimable"
    if len(text) > _LONGEST:
        text = text.replace(" (", "\n(")
    estimable = found is not None and found.value is not None
    axes.annotate(text, (1, place), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  va="center", fontsize=8, annotation_clip=False,
                  style="normal" if estimable else "italic")  # fmt: skip
    if found is None or found.value is None:
        return
    left, right = axes.get_xlim()
    colour = _COLOURS[panel]
    low, high = found.low or left, found.high or right
    axes.plot([max(low, left), min(high, right)], [place] * 2, color=colour, linewidth=1.4, solid_capstyle="butt")
    for beyond, end, marker in ((low < left, left, "<"), (high > right, right, ">")):
        if beyond:
            axes.plot([end], [place], marker=marker, markersize=5, color=colour, clip_on=False)
    if left <= found.value <= right:
        face = "white" if panel == 0 else colour
        axes.plot([found.value], [place], marker="os"[panel], markersize=5.5, markerfacecolor=face,
                  markeredgecolor=colour, markeredgewidth=1.3, linestyle="none")  # fmt: skip


def describe_forest(results: Results, model: ModelParts) -> str:
    """The forest plot in words."""
    labels = Labels(results)
    parts = []
    for term in terms(*model.fits):
        alone, together = (_words(fit, term) for fit in model.fits)
        parts.append(f"{labels.effect(term)}: alone {alone}, together {together}.")
    return f"Odds ratios with 95 % intervals of {model.title}. {' '.join(parts)}"


def _words(fit: Result | None, term: str) -> str:
    found = estimate(fit, "odds_ratio", term)
    return fmt.ratio_interval(found.value, found.low, found.high) if found else "not estimable"
