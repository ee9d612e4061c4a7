"""server/report: figures of training: mean loss by round, of those who are trained on and of those who validate."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from common.published import format as fmt
from common.published.results import Result
from server.report.svg import new_figure

_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#888888",
    "#6a3d9a",
    "#33a02c",
)
"""Those of Okabe & Ito, and three more: there may be ten folds."""


def draw_training(result: Result, top: float) -> Figure:
    """A line for each training: solid where it is the validation loss, dotted where the training loss."""
    height = 3.0 + top
    figure = new_figure(5.6, height)
    axes = figure.add_axes((0.11, 0.5 / height, 0.6, (height - 0.6 - top) / height))
    trainings = list(dict.fromkeys(curve.name.rpartition(", ")[0] for curve in result.curves))
    for curve in result.curves:
        training, _, part = curve.name.rpartition(", ")
        validation = part == "validation"
        axes.plot(
            curve.x,
            curve.y,
            color=_COLOURS[trainings.index(training) % len(_COLOURS)],
            linestyle="-" if validation else ":",
            linewidth=1.6 if validation else 1.0,
        )
    axes.set_xlabel("Round")
    axes.set_ylabel("Mean loss of a patient")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    validated = {curve.name.rpartition(", ")[0] for curve in result.curves if curve.name.endswith(", validation")}
    handles = [
        Line2D([], [], color=_COLOURS[i % len(_COLOURS)], linewidth=1.6, linestyle="-" if one in validated else ":")
        for i, one in enumerate(trainings)
    ]
    labels = [f" {fmt.plain(training)}" for training in trainings]
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.72, 1 - top / height))
    return figure


def describe_training(result: Result) -> str:
    """The figure in words."""
    parts = []
    for curve in result.curves:
        if curve.name.endswith(", validation"):
            lowest = min(range(len(curve.y)), key=curve.y.__getitem__)
            name = fmt.plain(curve.name.rpartition(", ")[0])
            parts.append(f"{name}: lowest validation loss {fmt.number(curve.y[lowest])} at round {lowest}")
    return f"{fmt.plain(result.title)}. {'; '.join(parts)}."
