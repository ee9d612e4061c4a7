"""server/report: the figures: ROC curves of a model, Kaplan-Meier curves, odds ratios; SVG, the same bytes each time.

This module collects them; what is drawn alike for several models or analyses has a module of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from common.files import write_whole
from common.published import format as fmt
from common.published.results import Curve, Result, Results
from server.report.centre_forest import draw_centres
from server.report.contents import ModelParts, estimate, models, of, role, short_groups, terms, where
from server.report.expression_figures import draw_expression
from server.report.forest import describe_forest, draw_forest
from server.report.looks import look
from server.report.nomogram import Nomogram, nomograms
from server.report.nomogram_figure import describe_nomogram, draw_nomogram
from server.report.projection_figure import centres, describe_projection, draw_projection
from server.report.score_figures import DRAWERS
from server.report.subgroup_forest import draw_subgroups
from server.report.svg import new_figure, style, to_svg
from server.report.training_curves import describe_training, draw_training

SIMULATED = "Simulated data"
_SHOWN_POINTS = 2
_COARSENED = (
    "The grey diagonal is chance. Curves are coarsened: each step holds several patients of either class, so "
    "that no patient can be read from them; the AUC is that of the full curve."
)


@dataclass(frozen=True)
class Picture:
    """A figure: its name (of the file and of its place on the page), its caption, its words, and the SVG."""

    name: str
    title: str
    caption: str
    description: str
    svg: str


def draw_all(results: Results) -> Mapping[str, Picture]:
    """Every figure of a study, by name."""
    pictures: list[Picture] = []
    with style():
        styles = _cohort_styles(results)
        for model in models(results):
            if terms(*model.fits):
                pictures.append(_forest(results, model))
            if any(auc.curves for auc in model.aucs):
                pictures.append(_roc(results, model, styles))
        pictures += [_nomogram(results, nomogram) for nomogram in nomograms(results)]
        for result in of(results, "survival"):
            if result.curves:
                pictures.append(_kaplan_meier(results, result))
        for result in of(results, "analysis"):
            if result.curves and result.kind in DRAWERS:
                figure, words = DRAWERS[result.kind](result, _top(results))
                pictures.append(_finish(figure, results, slug(result.id), words))
        for result in of(results, "subgroups"):
            if result.estimates:
                figure, words = draw_subgroups(result, _top(results))
                pictures.append(_finish(figure, results, slug(result.id), words))
        for result in of(results, "centres", "network-centres", "leave-one-centre-out"):
            if sum(e.name == "auc" and e.value is not None for e in result.estimates) > 1:
                figure, words = draw_centres(result, _top(results))
                pictures.append(_finish(figure, results, slug(result.id), words))
        pictures += [*_expression(results), *_networks(results)]
    return {picture.name: picture for picture in pictures}


def _expression(results: Results) -> list[Picture]:
    """Genes that differ, levels of genes, and gene sets."""
    return [
        _finish(figure, results, slug(f"{result.id}.{end}"), words)
        for result in of(results, "differential-expression", "expression-by-site", "gene-sets")
        for end, (figure, words) in draw_expression(result, _top(results)).items()
    ]


def _networks(results: Results) -> list[Picture]:
    """Trainings, performance, and cohorts as networks see them."""
    pictures = [_training(results, result) for result in of(results, "network-training") if result.curves]
    pictures += [_network_roc(results, result) for result in of(results, "network-performance") if _drawn(result)]
    return pictures + [_projection(results, r) for r in of(results, "network-projection") if centres(r)]


def write_figures(pictures: Mapping[str, Picture], folder: Path) -> None:
    """Write `figures/*.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        write_whole(folder / f"{name}.svg", picture.svg.encode())


def _cohort_styles(results: Results) -> dict[str, int]:
    """A place for every cohort or site that any ROC curve is of: the same look in every figure."""
    places = dict.fromkeys(where(result) for result in of(results, "auc"))
    return {name: i for i, name in enumerate(places)}


def _mark(figure: Figure, results: Results, *, left: bool) -> None:
    if results.simulated:
        box = {"boxstyle": "round,pad=0.3", "facecolor": "none", "edgecolor": "#000000", "linewidth": 0.8}
        x, align = (0.012, "left") if left else (0.985, "right")  # left where a phone shows the left part first
        y = 1 - 6 / (72 * figure.get_figheight())
        figure.text(x, y, SIMULATED.upper(), ha=align, va="top", fontsize=7.5, weight="bold", bbox=box)


def _top(results: Results) -> float:
    """Room above the axes, in inches: for the mark, or for half a tick label."""
    return 0.35 if results.simulated else 0.1


def _finish(figure: Figure, results: Results, name: str, words: tuple[str, str, str]) -> Picture:
    title, caption, description = words
    _mark(figure, results, left=_wide(name))
    if results.simulated:
        description = f"{SIMULATED}. {description}"
    return Picture(name, title, caption, description, to_svg(figure, name, title, description))


def _wide(name: str) -> bool:
    """Whether a phone shows the left part of the figure first."""
    return (
        name.startswith(("forest-", "nomogram-", "subgroups."))
        or ".centres." in name
        or name.endswith(("centre-out", ".levels"))
    )


# ---------------------------------------------------------------------------------------------------- nomogram


def _nomogram(results: Results, nomogram: Nomogram) -> Picture:
    caption = (
        "Read the points of each value on the line of points, add them up, and read the probability below the total. "
        "Lines of measured predictors reach over the training patients' mean and two standard deviations on either "
        "side."
    )
    title = f"Nomogram of {nomogram.title}"
    words = (title, caption, describe_nomogram(nomogram))
    return _finish(draw_nomogram(results, nomogram), results, f"nomogram-{slug(nomogram.name)}", words)


# --------------------------------------------------------------------------------------------------------- ROC


def _roc(results: Results, model: ModelParts, styles: Mapping[str, int]) -> Picture:
    words = [_wrapped(_roc_label(results, r, drawn=_drawn(r))) for r in model.aucs]
    top = _top(results)
    below = 0.55 + 0.03 + 0.155 * sum(label.count("\n") + 1 for label in words) + 0.05 * len(words)
    height = top + 3.53 + below
    figure = new_figure(4.3, height)
    axes = figure.add_axes((0.13, below / height, 0.82, 3.53 / height))
    handles = []
    for result in model.aucs:
        looks = look(styles[where(result)])
        for curve in result.curves if _drawn(result) else ():
            axes.plot(curve.x, curve.y, clip_on=False, **looks)
        handles.append(Line2D([], [], **looks) if _drawn(result) else Line2D([], [], linestyle="none"))
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.7, zorder=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("False positive rate (1 - specificity)")
    axes.set_ylabel("True positive rate (sensitivity)")
    figure.legend(handles, words, loc="lower left", bbox_to_anchor=(0.03, 0.0), handlelength=3.2)
    title = f"Receiver operating characteristic, {model.title}"
    description = f"{title}. " + " ".join(f"{_roc_label(results, r, drawn=True)}." for r in model.aucs)
    return _finish(figure, results, f"roc-{slug(model.name)}", (title, _COARSENED, description))


def _drawn(result: Result) -> bool:
    """Whether enough of a curve is left to show; two points are the diagonal, whatever the AUC."""
    return any(len(curve.x) > _SHOWN_POINTS for curve in result.curves)


def _wrapped(label: str) -> str:
    """Lines that fit under the axes; they start with a space, as matplotlib leaves out labels that start with _."""
    return " " + "\n ".join(textwrap.wrap(label.strip(), 55))


def _roc_label(results: Results, result: Result, *, drawn: bool) -> str:
    auc = estimate(result, "auc")
    apparent = " (apparent)" if role(results, result.cohort) == "train" else ""
    place = f"{where(result)}{apparent}"
    if auc is None or auc.value is None:
        return f"{place}: {'refused' if result.status == 'refused' else 'not estimable'}"
    text = f"{place}: AUC {fmt.area_interval(auc.value, auc.low, auc.high)}"
    return text if drawn else f"{text}, too few patients for a curve"


def _network_roc(results: Results, result: Result) -> Picture:
    """One network in one cohort: a curve for each way of inference."""
    top, below = _top(results), 0.98
    height = top + 3.53 + below
    figure = new_figure(4.3, height)
    axes = figure.add_axes((0.13, below / height, 0.82, 3.53 / height))
    handles, words = [], []
    for i, curve in enumerate(result.curves):
        auc = estimate(result, "auc", curve.name)
        axes.plot(curve.x, curve.y, clip_on=False, **look(i))
        handles.append(Line2D([], [], **look(i)))
        told = "" if auc is None else f": AUC {fmt.area_interval(auc.value, auc.low, auc.high)}"
        words.append(f" {fmt.plain(curve.name)}{told}")
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.7, zorder=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("False positive rate (1 - specificity)")
    axes.set_ylabel("True positive rate (sensitivity)")
    figure.legend(handles, words, loc="lower left", bbox_to_anchor=(0.03, 0.0), handlelength=3.2)
    title = f"Receiver operating characteristic, {fmt.plain(result.title)}"
    description = f"{title}, {where(result)}. " + " ".join(f"{w.strip()}." for w in words)
    return _finish(figure, results, f"roc-{slug(result.id)}", (title, _COARSENED, description))


# ------------------------------------------------------------------------------------------------ Kaplan-Meier


def _kaplan_meier(results: Results, result: Result) -> Picture:
    common, names = short_groups(result)
    groups = len(result.curves)
    below = 0.78 + 0.34 * groups
    height = 2.85 + _top(results) + below
    figure = new_figure(4.6, height)
    axes = figure.add_axes((0.125, below / height, 0.85, 2.85 / height))
    ticks = _ticks(result.curves)
    handles = []
    for i, curve in enumerate(result.curves):
        x = [fmt.in_months(t, curve.unit) for t in curve.x]
        looks = look(i)
        axes.step(x, curve.y, where="post", **looks)
        if curve.low and curve.high:
            axes.fill_between(x, curve.low, curve.high, step="post", color=str(looks["color"]), alpha=0.14, linewidth=0)
        handles.append(Line2D([], [], **looks))
    test = estimate(result, "log_rank_chi2")
    axes.set(xlim=(0, ticks[-1]), ylim=(0, 1.02), xticks=ticks[0], yticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_ylabel("Proportion without event")
    axes.set_xlabel("Time since surgery (months)")
    legend = [Line2D([], [], linestyle="none")] if test is not None else []
    words = [f"log-rank {fmt.p_words(test.p)}"] if test is not None else []
    axes.legend([*handles, *legend], [f" {n}" for n in names] + [f" {w}" for w in words],
                title=common or None, loc="best", handlelength=3.2, alignment="left")  # fmt: skip
    _at_risk(axes, result, names, ticks[0], results.min_cell)
    return _finish(figure, results, f"km-{slug(result.id)}", _kaplan_meier_words(results, result))


def _ticks(curves: list[Curve]) -> tuple[list[float], float]:
    end = max((fmt.in_months(t, curve.unit) for curve in curves for t in curve.x), default=1.0)
    step = next((s for s in (3, 6, 12, 24) if end / s <= 7.5), 36)
    return [float(t) for t in range(0, int(end + 1e-6) + 1, step)], max(end, 1.0)


def _at_risk(axes: Axes, result: Result, names: list[str], ticks: list[float], min_cell: int) -> None:
    """Numbers at risk under the axis; where a curve has ended, fewer than `min_cell` were left."""
    place: dict[str, Any] = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    axes.annotate("Number at risk", (0, 0), (-32, -42), weight="bold", fontsize=8, **place)
    for i, (name, curve) in enumerate(zip(names, result.curves, strict=True)):
        line = -55 - 24.5 * i
        axes.annotate(name, (0, 0), (-32, line), fontsize=8, **place)
        for tick in ticks:
            axes.annotate(at_risk(curve, tick, min_cell), (tick, 0), (0, line - 11.5), ha="center", fontsize=8, **place)


def at_risk(curve: Curve, months: float, min_cell: int) -> str:
    """Patients at risk at a time; "" where they are not told, and past the curve's end fewer than `min_cell`."""
    times = [fmt.in_months(t, curve.unit) for t in curve.x]
    known = [n for t, n in zip(times, curve.at_risk, strict=False) if abs(t - months) < 1e-6]
    if known:
        return "" if known[0] is None else str(known[0])
    return f"<{min_cell}"


def _kaplan_meier_words(results: Results, result: Result) -> tuple[str, str, str]:
    title = fmt.plain(result.title)
    place = f"{title}, {where(result)}"
    caption = (
        f"Cohort {where(result)}. Kaplan-Meier estimate with its pointwise log-log 95 % band, given once a month; "
        f"a curve ends where fewer than {results.min_cell} patients are at risk."
    )
    parts = []
    for curve, name in zip(result.curves, short_groups(result)[1], strict=True):
        if curve.x:
            last = f"{fmt.share(curve.y[-1])} at {fmt.in_months(curve.x[-1], curve.unit):.0f} months"
            parts.append(f"{name}: {at_risk(curve, 0.0, results.min_cell)} at risk at first, {last}.")
    test = estimate(result, "log_rank_chi2")
    if test is not None:
        parts.append(f"Log-rank {fmt.p_words(test.p)}.")
    return title, caption, f"Kaplan-Meier curves of {place}. {' '.join(parts)}"


# ------------------------------------------------------------------------------------------------- odds ratios


def _forest(results: Results, model: ModelParts) -> Picture:
    figure = draw_forest(results, model)
    title = f"Odds ratios, {model.title}"
    caption = (
        "Odds ratios with 95 % Wald intervals on a logarithmic axis: each predictor alone (open) and all predictors "
        "together (filled). An arrow marks an interval that goes on beyond the axis."
    )
    return _finish(figure, results, f"forest-{slug(model.name)}", (title, caption, describe_forest(results, model)))


# ---------------------------------------------------------------------------------------------------- training


def _training(results: Results, result: Result) -> Picture:
    figure = draw_training(result, _top(results))
    caption = (
        "Mean loss before each round, of patients who validate (solid) and of those who are trained on (dotted); one "
        "colour for each outer fold that is held out. The weights with the lowest validation loss are kept."
    )
    words = (fmt.plain(result.title), caption, describe_training(result))
    return _finish(figure, results, slug(result.id), words)


def _projection(results: Results, result: Result) -> Picture:
    caption = (
        "Means of groups of patients in the two directions in which patients of a group differ most, each in the "
        "ellipse that holds the true mean with 95 % confidence. No patient is shown."
    )
    words = (fmt.plain(result.title), caption, describe_projection(result))
    return _finish(draw_projection(result, _top(results)), results, slug(result.id), words)


def slug(identifier: str) -> str:
    """A file name: nothing but letters, digits, dots and hyphens."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in ".-" else "-" for c in identifier)
