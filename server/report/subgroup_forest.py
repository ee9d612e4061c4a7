"""server/report: the forest plot of subgroups: the area under the curve of everybody, and of each level."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.published import format as fmt
from common.published.results import EVERYONE, Estimate, Result
from server.report.contents import estimate, where
from server.report.svg import new_figure

Words = tuple[str, str, str]
"""Title, caption, and the figure in words."""

_WIDTH = 6.6  # inches, as all below
_LABEL, _PLOT, _ROW, _BOTTOM = 2.3, 2.1, 0.24, 0.55
_WRAP = 38
_COLOUR = "#0072b2"
_CHANCE = 0.5


@dataclass(frozen=True)
class Line:
    """A row: the heading of a variable with its test, or a subgroup with its numbers; `area` None where there is none.

    Attributes
    ----------
    words
        What it says on the left.
    level
        Whether it is a level of the variable above it.
    """

    words: str
    level: bool
    patients: Estimate | None = None
    events: Estimate | None = None
    area: Estimate | None = None
    test: Estimate | None = None


def lines_of(result: Result) -> list[Line]:
    """The rows of a result: everybody, then each variable with its levels."""
    terms = list(dict.fromkeys(e.term for e in result.estimates if e.name == "auc"))
    tests = [e for e in result.estimates if e.name == "interaction_chi2"]
    lines = [_line(result, term, "All patients", level=False) for term in terms if term == EVERYONE]
    for test in tests:
        lines.append(Line(fmt.plain(test.term), level=False, test=test))
        own = [term for term in terms if term.startswith(f"{test.term}: ")]
        lines += [_line(result, term, fmt.plain(term.removeprefix(f"{test.term}: ")), level=True) for term in own]
    return lines


def _line(result: Result, term: str, words: str, *, level: bool) -> Line:
    patients, events, area = (estimate(result, name, term) for name in ("patients", "events", "auc"))
    return Line(words, level, patients, events, area)


def area_words(area: Estimate | None) -> str:
    """An area with its interval, or that there is none."""
    if area is None or area.value is None:
        return "not estimable"
    return fmt.area_interval(area.value, area.low, area.high)


def draw_subgroups(result: Result, top: float) -> tuple[Figure, Words]:
    """One row a line of `lines_of`; the dashed line is the area of everybody."""
    lines = lines_of(result)
    inner = _ROW * len(lines)
    height = top + inner + _BOTTOM
    figure = new_figure(_WIDTH, height)
    axes = figure.add_axes((_LABEL / _WIDTH, _BOTTOM / height, _PLOT / _WIDTH, inner / height))
    low = _lowest(lines)
    axes.set(xlim=(low, 1.0), ylim=(len(lines) - 0.5, -0.5), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("AUC with 95 % interval", fontsize=8.5)
    axes.axvline(_CHANCE, color="#888888", linewidth=0.7, zorder=0)
    whole = next((line.area for line in lines if not line.level and line.area is not None), None)
    if whole is not None and whole.value is not None:
        axes.axvline(whole.value, color="#888888", linewidth=0.9, linestyle="--", zorder=0)
    for place, line in enumerate(lines):
        _row(axes, place, line)
    title = fmt.plain(result.title)
    caption = (
        f"Cohort {where(result)}. Areas of the binned score with DeLong's 95 % intervals; the dashed line is the area "
        "of all patients, the grey one chance. p: test of interaction, one a variable."
    )
    return figure, (title, caption, f"{title}. {_described(lines)}")


def _lowest(lines: Sequence[Line]) -> float:
    """Where the axis begins: a tenth below the lowest limit, and never above chance."""
    ends = [e for line in lines if line.area is not None for e in (line.area.low, line.area.value) if e is not None]
    return max(0.0, min([_CHANCE, *((int(10 * e) / 10) for e in ends)]) - 0.02)


def _row(axes: Axes, place: int, line: Line) -> None:
    words = textwrap.shorten(line.words, _WRAP, placeholder="...")
    inset = 12 if line.level else 0
    axes.annotate(words, (0, place), (-_LABEL * 72 + 2 + inset, 0), va="center", fontsize=8.5,
                  weight="normal" if line.level else "bold", xycoords=("axes fraction", "data"),
                  textcoords="offset points", annotation_clip=False)  # fmt: skip
    text = fmt.p_words(line.test.p) if line.test is not None and line.test.p is not None else ""
    if line.test is None:
        text = area_words(line.area)
    axes.annotate(text, (1, place), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  va="center", fontsize=8, annotation_clip=False)  # fmt: skip
    area = line.area
    if area is None or area.value is None or area.low is None or area.high is None:
        return
    left = axes.get_xlim()[0]
    axes.plot([max(area.low, left), area.high], [place] * 2, color=_COLOUR, linewidth=1.4, solid_capstyle="butt")
    face = "white" if line.level else _COLOUR
    axes.plot([area.value], [place], marker="o" if line.level else "D", markersize=5.5, markerfacecolor=face,
              markeredgecolor=_COLOUR, markeredgewidth=1.3, linestyle="none")  # fmt: skip


def _described(lines: Sequence[Line]) -> str:
    parts, variable = [], ""
    for line in lines:
        if line.test is not None:
            variable = line.words
            tested = f" interaction {fmt.p_words(line.test.p)}" if line.test.p is not None else " not tested"
            parts.append(f"{variable}:{tested}.")
        else:
            head = f"{variable} {line.words}" if line.level else line.words
            parts.append(f"{head}: AUC {area_words(line.area)}.")
    return " ".join(parts)
