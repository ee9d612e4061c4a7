"""server/report: the forest plot of centres: a model's area at each hospital, over all, and for a hospital to come."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.published import format as fmt
from common.published.results import Estimate, Result
from server.report.contents import estimate, where
from server.report.subgroup_forest import Words, area_words
from server.report.svg import new_figure

_WIDTH = 6.6  # inches, as all below
_LABEL, _PLOT, _ROW, _BOTTOM = 2.0, 2.4, 0.26, 0.55
_WRAP = 34
_COLOURS = ("#0072b2", "#d55e00")
_CHANCE = 0.5
OVER_ALL = "All hospitals (random effects)"
NEW_CENTRE = "A new hospital (prediction)"


@dataclass(frozen=True)
class Line:
    """A row: a hospital, all of them, or one to come; `area` has no value where there is none."""

    words: str
    area: Estimate
    centre: bool


def lines_of(result: Result) -> list[Line]:
    """Every hospital in the order of the result, then what they say together."""
    lines = [Line(fmt.plain(e.term), e, centre=True) for e in result.estimates if e.name == "auc"]
    for name, words in (("auc_random_effects", OVER_ALL), ("auc_prediction", NEW_CENTRE)):
        found = estimate(result, name)
        if found is not None and found.low is not None:
            lines.append(Line(words, found, centre=False))
    return lines


def draw_centres(result: Result, top: float) -> tuple[Figure, Words]:
    """One row a line of `lines_of`; the dashed line is the mean over hospitals."""
    lines = lines_of(result)
    inner = _ROW * len(lines)
    height = top + inner + _BOTTOM
    figure = new_figure(_WIDTH, height)
    axes = figure.add_axes((_LABEL / _WIDTH, _BOTTOM / height, _PLOT / _WIDTH, inner / height))
    axes.set(xlim=(_lowest(lines), 1.0), ylim=(len(lines) - 0.5, -0.5), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("AUC with 95 % interval", fontsize=8.5)
    axes.axvline(_CHANCE, color="#888888", linewidth=0.7, zorder=0)
    mean = next((line.area.value for line in lines if line.words == OVER_ALL), None)
    if mean is not None:
        axes.axvline(mean, color="#888888", linewidth=0.9, linestyle="--", zorder=0)
    for place, line in enumerate(lines):
        _row(axes, place, line)
    title = fmt.plain(result.title)
    said = " ".join(f"{line.words}: AUC {area_words(line.area)}." for line in lines)
    caption = (
        f"Cohort {where(result)}. Each hospital's own area with its 95 % interval; the dashed line is the mean over "
        "hospitals, the grey one chance."
    )
    return figure, (title, caption, f"{title}. {said}")


def _lowest(lines: Sequence[Line]) -> float:
    """Where the axis begins: a tenth below the lowest limit, and never above chance."""
    ends = [end for line in lines for end in (line.area.low, line.area.value) if end is not None]
    return max(0.0, min([_CHANCE, *(int(10 * end) / 10 for end in ends)]) - 0.02)


def _row(axes: Axes, place: int, line: Line) -> None:
    words = textwrap.shorten(line.words, _WRAP, placeholder="...")
    axes.annotate(words, (0, place), (-_LABEL * 72 + 2, 0), va="center", fontsize=8.5,
                  weight="normal" if line.centre else "bold", xycoords=("axes fraction", "data"),
                  textcoords="offset points", annotation_clip=False)  # fmt: skip
    area = line.area
    told = area_words(area) if area.value is not None or line.centre else ""
    if area.value is None and area.low is not None and area.high is not None:
        told = f"{fmt.area(area.low)} to {fmt.area(area.high)}"
    axes.annotate(told, (1, place), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  va="center", fontsize=8, annotation_clip=False)  # fmt: skip
    if area.low is None or area.high is None:
        return
    colour, left = _COLOURS[0 if line.centre else 1], axes.get_xlim()[0]
    dotted = line.words == NEW_CENTRE
    axes.plot([max(area.low, left), area.high], [place] * 2, color=colour, linewidth=1.4, solid_capstyle="butt",
              linestyle=":" if dotted else "-")  # fmt: skip
    if area.value is not None and not dotted:
        axes.plot([area.value], [place], marker="o" if line.centre else "D", markersize=5.5, markerfacecolor="white"
                  if line.centre else colour, markeredgecolor=colour, markeredgewidth=1.3,
                  linestyle="none")  # fmt: skip
