"""server/report: figures of cohorts as a network sees them: the mean of each group in its ellipse, and no patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from common.published import format as fmt
from common.published.results import Estimate, Result
from server.report.contents import estimate
from server.report.looks import look
from server.report.svg import new_figure

_MARKERS = "os^Dv"
_SIDE = 3.5  # inches, as all below
_BELOW = 0.62
_LINE = 0.175


@dataclass(frozen=True)
class Centre:
    """A group: its cohort, its level ("" for a whole cohort), patients, and its mean along both axes."""

    cohort: str
    level: str
    n: float | None
    axes: tuple[Estimate, Estimate]

    @property
    def name(self) -> str:
        """As readers see it."""
        return fmt.plain(f"{self.cohort}, {self.level}" if self.level else self.cohort)


def centres(result: Result) -> list[Centre]:
    """The groups whose means are told, in the order of the results."""
    found = []
    for patients in (e for e in result.estimates if e.name == "patients"):
        first, second = (estimate(result, "centre", f"{patients.term}, axis {i}") for i in (1, 2))
        if first is not None and second is not None:
            cohort, _, level = patients.term.partition(", ")
            found.append(Centre(cohort, level, patients.value, (first, second)))
    return found


def draw_projection(result: Result, top: float) -> Figure:
    """A colour for each cohort and a marker for each level; both axes have one scale."""
    groups = centres(result)
    height = top + _SIDE + _BELOW + _LINE * len(groups)
    figure = new_figure(4.6, height)
    axes = figure.add_axes((0.15, (height - top - _SIDE) / height, _SIDE / 4.6, _SIDE / height))
    cohorts = list(dict.fromkeys(group.cohort for group in groups))
    levels = list(dict.fromkeys(group.level for group in groups))
    handles = []
    for group in groups:
        looks = look(cohorts.index(group.cohort))
        marker = _MARKERS[levels.index(group.level) % len(_MARKERS)]
        _ellipse(axes, group, looks["color"], looks["linestyle"])
        x, y = (found.value or 0.0 for found in group.axes)
        axes.plot([x], [y], marker=marker, color=looks["color"], linestyle="none", markersize=5.5)
        handles.append(Line2D([], [], marker=marker, markersize=5.5, **looks))
    axes.axhline(0.0, color="#bbbbbb", linewidth=0.5, zorder=0)
    axes.axvline(0.0, color="#bbbbbb", linewidth=0.5, zorder=0)
    axes.set_aspect("equal", adjustable="datalim")
    axes.autoscale_view()
    axes.set_xlabel(f"Axis 1 ({_share(result, 1)} of the variance within groups)")
    axes.set_ylabel(f"Axis 2 ({_share(result, 2)} of the variance within groups)")
    labels = [f" {group.name} ({fmt.number(group.n)} patients)" for group in groups]
    figure.legend(handles, labels, loc="lower left", bbox_to_anchor=(0.1, 0.0), handlelength=3.2)
    return figure


def _ellipse(axes: Axes, group: Centre, colour: str, line: Any) -> None:
    (x, wide), (y, high) = ((e.value or 0.0, _width(e)) for e in group.axes)
    axes.add_patch(Ellipse((x, y), wide, high, facecolor=colour, alpha=0.1, linewidth=0))
    axes.add_patch(Ellipse((x, y), wide, high, fill=False, edgecolor=colour, linestyle=line, linewidth=1.2))


def _width(found: Estimate) -> float:
    return 0.0 if found.low is None or found.high is None else found.high - found.low


def _share(result: Result, axis: int) -> str:
    found = estimate(result, "share_of_variance", f"axis {axis}")
    return fmt.share(found.value if found is not None else None)


def describe_projection(result: Result) -> str:
    """The figure in words."""
    parts = [
        f"{group.name}: ({', '.join(fmt.number(found.value) for found in group.axes)})" for group in centres(result)
    ]
    return f"Means of groups on two axes. {'; '.join(parts)}."
