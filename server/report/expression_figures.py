"""server/report: figures of gene expression: volcano, levels by hospital and group, hospitals apart, gene sets."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from common.published import format as fmt
from common.published.results import Curve, GeneSetRow, Result
from server.report.contents import estimate, where
from server.report.looks import look
from server.report.subgroup_forest import Words
from server.report.svg import new_figure
from server.study.compared_genes import DIFFERING

HEAT_GENES = 30
"""So many genes are in the figure of levels."""
_UP, _DOWN, _REST = "#d55e00", "#0072b2", "#9a9a9a"
_PALE = (247, 247, 247)
_FITS, _LONGEST = 7, 16
"""So many letters fit over a column of levels, and so many are shown upright beside it."""
_LABELS = 10
_GRID = 160
"""Points of genes that do not differ are drawn once for so many places along each axis."""
_SMALLEST = 1e-300

Drawn = tuple[Figure, Words]


def draw_expression(result: Result, top: float) -> Mapping[str, Drawn]:
    """The figures of one result, by the end of their names."""
    found: dict[str, Drawn] = {}
    if result.statistic == "differential-expression" and result.genes is not None:
        found["volcano"] = _volcano(result, top)
    if result.statistic == "expression-by-site":
        if heat_columns(result) and heat_genes(result):
            found["levels"] = _levels(result, top)
        if estimate(result, "component_1") is not None:
            found["components"] = _components(result, top)
    if result.statistic == "gene-sets" and result.curves:
        found["sets"] = _running(result, top)
    return found


# ------------------------------------------------------------------------------------------------------- volcano


def group_names(result: Result) -> tuple[str, str, str]:
    """What the groups have in common, such as `Microvascular invasion`, and the two: `absent`, `present`."""
    names = [fmt.plain(e.term) for e in sorted(result.estimates, key=lambda e: e.value or 0.0) if e.name == "group"]
    heads = {name.partition(": ")[0] for name in names}
    if len(names) != 2:
        return "", "low", "high"
    if len(heads) == 1 and all(": " in name for name in names):
        return heads.pop(), names[0].partition(": ")[2], names[1].partition(": ")[2]
    return "", names[0], names[1]


def change_words(result: Result) -> str:
    """What a change is of."""
    if result.kind == "score":
        return "log2 change for 0.1 more of the score"
    _, first, second = group_names(result)
    return f"log2 fold change, {second} v {first}"


def _group_words(result: Result) -> str:
    """For captions: which groups these are, in a sentence."""
    head, first, second = group_names(result)
    if second == "high score":
        return f"High: the score of {head} is at or above the cut-off that training chose; low: it is below."
    return f"Groups: {f'{head} ' if head else ''}{first} and {second}."


def _numbers(result: Result, name: str) -> list[float]:
    column = result.genes.columns.get(name, []) if result.genes is not None else []
    return [math.nan if value is None else value for value in column]


def _volcano(result: Result, top: float) -> Drawn:
    below, side = 1.08, 3.6
    height = top + side + below
    figure = new_figure(4.6, height)
    axes = figure.add_axes((0.13, below / height, 0.83, side / height))
    change = np.array(_numbers(result, "log2_fold_change"))
    p = np.array(_numbers(result, "p"))
    differing = np.array(_numbers(result, "adjusted_p")) < DIFFERING
    y = -np.log10(np.maximum(p, _SMALLEST))
    reach = 1.08 * float(np.nanmax(np.abs(change)))
    axes.set(xlim=(-reach, reach), ylim=(0, 1.08 * float(np.nanmax(y)) + 0.1))
    parts = ((~differing, _REST, 1.6), (differing & (change < 0), _DOWN, 3.0), (differing & (change >= 0), _UP, 3.0))
    for chosen, colour, size in parts:
        x_shown, y_shown = (
            _thinned(change[chosen], y[chosen], reach) if colour == _REST else (change[chosen], y[chosen])
        )
        axes.plot(x_shown, y_shown, linestyle="none", marker="o", markersize=size, color=colour, markeredgewidth=0)
    names = result.genes.genes if result.genes is not None else []
    _label(axes, [(names[i], change[i], y[i]) for i in np.lexsort((np.arange(len(p)), p))[:_LABELS] if differing[i]])
    axes.axvline(0.0, color="#888888", linewidth=0.7, zorder=0)
    axes.set_xlabel(change_words(result)[:1].upper() + change_words(result)[1:])
    axes.set_ylabel("-log10 p")
    higher, lower = (estimate(result, name) for name in ("higher", "lower"))
    told = [f" higher, FDR < 5 %: {fmt.number(higher.value if higher else None)} genes",
            f" lower, FDR < 5 %: {fmt.number(lower.value if lower else None)} genes", " others"]  # fmt: skip
    marks = [Line2D([], [], linestyle="none", marker="o", markersize=4, color=c) for c in (_UP, _DOWN, _REST)]
    figure.legend(marks, told, loc="lower left", bbox_to_anchor=(0.1, 0.0), handlelength=1.2)
    title = f"Change and p value of every gene: {fmt.plain(result.title)}"
    caption = (
        f"Cohort {where(result)}. One point a gene; the names are those of the smallest p values. Grey points that "
        f"would lie on each other are drawn once.{'' if result.kind == 'score' else f' {_group_words(result)}'}"
    )
    return figure, (title, caption, f"{title}. {told[0].strip()}; {told[1].strip()}.")


def _thinned(x: np.ndarray, y: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """One point for each place of a grid."""
    highest = max(float(np.nanmax(y)), 1.0) if y.size else 1.0
    places = np.round(np.stack([x / reach, y / highest]) * _GRID)
    _, first = np.unique(places, axis=1, return_index=True)
    return x[np.sort(first)], y[np.sort(first)]


def _label(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Names beside points, the first ones first; one that would cover another is left out."""
    taken: list[tuple[float, float, float, float]] = []
    to_points = axes.transData
    for name, x, y in points:
        px, py = to_points.transform((x, y)) * 72 / axes.figure.dpi
        width, side = 5.2 * len(name), 1 if x < 0 else -1
        left = px + 4 if side > 0 else px - 4 - width
        box = (left, py - 4, left + width, py + 4)
        if any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            continue
        taken.append(box)
        axes.annotate(name, (x, y), (4 * side, 0), textcoords="offset points", fontsize=7.5, va="center",
                      ha="left" if side > 0 else "right")  # fmt: skip


# -------------------------------------------------------------------------------------------------------- levels


def heat_columns(result: Result) -> list[tuple[str, str]]:
    """Hospitals and groups whose levels are told, as (hospital, `low` or `high`)."""
    columns = result.genes.columns if result.genes is not None else {}
    return [(site, part) for site in result.sites for part in ("low", "high") if f"{part} {site}" in columns]


def heat_genes(result: Result) -> list[str]:
    """The genes whose levels by group are told, the smallest p value first."""
    first = [f"{part} {site}" for site, part in heat_columns(result)][:1]
    if result.genes is None or not first:
        return []
    pairs = zip(result.genes.genes, result.genes.columns[first[0]], strict=True)
    return [gene for gene, value in pairs if value is not None][:HEAT_GENES]


def _levels(result: Result, top: float) -> Drawn:
    columns, genes = heat_columns(result), heat_genes(result)
    table = np.array([_numbers(result, f"{part} {site}")[: len(genes)] for site, part in columns]).T
    # Hospitals' own levels would hide what differs inside them; columns come in pairs.
    table = table - np.repeat((table[:, ::2] + table[:, 1::2]) / 2, 2, axis=1)
    reach = max(float(np.abs(table).max()), 0.01)
    cell, row, left, below = 0.42, 0.165, 0.95, 0.75
    _, *names = group_names(result)
    words = dict(zip(("low", "high"), (name.removesuffix(" score") for name in names), strict=True))
    long = max(map(len, words.values())) > _FITS
    over = 0.5 + (0.07 * _LONGEST if long else 0.0)
    width, height = left + cell * len(columns) + 0.15, top + over + row * len(genes) + below
    figure = new_figure(max(width, 4.2), height)
    whole = figure.get_figwidth()
    box = (left / whole, below / height, cell * len(columns) / whole, row * len(genes) / height)
    axes = figure.add_axes(box)
    for i, line in enumerate(table):
        for j, value in enumerate(line):
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=_shade(value / reach), edgecolor="none"))
    axes.set(xlim=(0, len(columns)), ylim=(len(genes), 0), yticks=np.arange(len(genes)) + 0.5, yticklabels=genes)
    shown = [textwrap.shorten(words[part], _LONGEST, placeholder="...") for _, part in columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, shown, rotation=90 if long else 0)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=7.5)
    for name in ("left", "bottom"):
        axes.spines[name].set_visible(False)
    for site in dict.fromkeys(site for site, _ in columns):
        places = [j for j, (other, _) in enumerate(columns) if other == site]
        middle, above = (places[0] + places[-1] + 1) / 2, 72 * (over - 0.28)
        axes.annotate(_short(site, len(places)), (middle, 0), (0, above), ha="center", textcoords="offset points",
                      fontsize=7.5, weight="bold", annotation_clip=False)  # fmt: skip
        axes.axvline(places[0], color="white", linewidth=2.0)
    _scale(figure, reach, left, whole, height)
    title = f"Levels by hospital and group: {fmt.plain(result.title)}"
    caption = (
        f"Cohort {where(result)}. Mean log2 expression of the genes with the smallest p values, by hospital and group, "
        f"less the mean of the hospital's two groups. {_group_words(result)} A hospital shows its groups where both "
        "have enough patients. No patient is shown."
    )
    sites = ", ".join(dict.fromkeys(fmt.plain(site) for site, _ in columns))
    return figure, (title, caption, f"{title}. {len(genes)} genes; {sites}. The numbers are in tables/*.csv.")


def _short(site: str, columns: int) -> str:
    return textwrap.shorten(fmt.plain(site).replace("-", "- "), 7 * columns, placeholder="...").replace("- ", "-")


def _shade(value: float) -> str:
    """From blue over nearly white to orange, of -1 to 1."""
    end = _UP if value >= 0 else _DOWN
    rgb = [int(end[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(
        f"{round(pale + abs(value) * (full - pale)):02x}" for pale, full in zip(_PALE, rgb, strict=True)
    )


def _scale(figure: Figure, reach: float, left: float, width: float, height: float) -> None:
    axes = figure.add_axes((left / width, 0.42 / height, 1.8 / width, 0.12 / height))
    steps = np.linspace(-1, 1, 21)
    for i, value in enumerate(steps):
        axes.add_patch(Rectangle((i, 0), 1, 1, facecolor=_shade(float(value)), edgecolor="none"))
    axes.set(xlim=(0, len(steps)), ylim=(0, 1), yticks=[])
    axes.set_xticks([0.5, 10.5, 20.5], [f"{-reach:.1f}", "0", f"{reach:.1f}"], fontsize=7.5)
    axes.tick_params(length=0)
    for name in ("left", "bottom"):
        axes.spines[name].set_visible(False)
    axes.set_xlabel("log2, less the hospital's mean", fontsize=7.5, labelpad=1)


# ---------------------------------------------------------------------------------------------------- components


def _components(result: Result, top: float) -> Drawn:
    below, side = 0.6, 3.3
    height = top + side + below
    figure = new_figure(4.6, height)
    axes = figure.add_axes((0.16, below / height, 0.76, side / height))
    first = {e.term: e.value or 0.0 for e in result.estimates if e.name == "component_1"}
    second = {e.term: e.value or 0.0 for e in result.estimates if e.name == "component_2"}
    for i, (site, x) in enumerate(first.items()):
        axes.plot([x], [second[site]], marker="os^Dv"[i % 5], color=look(i)["color"], linestyle="none", markersize=7)
        axes.annotate(fmt.plain(site), (x, second[site]), (0, 8), textcoords="offset points", ha="center", fontsize=8)
    axes.axhline(0.0, color="#bbbbbb", linewidth=0.5, zorder=0)
    axes.axvline(0.0, color="#bbbbbb", linewidth=0.5, zorder=0)
    axes.margins(0.22)
    axes.set_aspect("equal", adjustable="datalim")
    shares = [estimate(result, "share_of_variance", f"component {i}") for i in (1, 2)]
    words = [f"Component {i} ({fmt.share(e.value if e else None)} of the variance)" for i, e in enumerate(shares, 1)]
    axes.set_xlabel(words[0])
    axes.set_ylabel(words[1])
    title = f"Hospitals by their levels of genes: {fmt.plain(result.title)}"
    caption = (
        f"Cohort {where(result)}. Principal components of the hospitals' mean levels: what differs between them in all "
        "patients, by laboratory or by patients. Comparisons are within hospitals, and leave it out."
    )
    told = "; ".join(f"{fmt.plain(site)}: ({fmt.number(x)}, {fmt.number(second[site])})" for site, x in first.items())
    return figure, (title, caption, f"{title}. {told}.")


# --------------------------------------------------------------------------------------------------------- sets


def _running(result: Result, top: float) -> Drawn:
    rows = {row.name: row for row in result.sets}
    panel, gap, below = 1.15, 0.5, 0.5
    height = top + len(result.curves) * (panel + gap) + below - 0.1
    figure = new_figure(4.6, height)
    told = []
    for i, curve in enumerate(result.curves):
        bottom = height - top - (i + 1) * (panel + gap) + 0.1
        axes = figure.add_axes((0.13, bottom / height, 0.83, panel / height))
        told.append(_panel(axes, curve, rows[curve.name], i))
        if i < len(result.curves) - 1:
            axes.set_xticklabels([])
    axes.set_xlabel("Genes, from the highest to the lowest t")
    title = f"Running enrichment of the strongest sets: {fmt.plain(result.title)}"
    caption = (
        f"Cohort {where(result)}. The line rises at each gene of the set (ticks) and falls at the others; its farthest "
        "point from 0 is the enrichment score. A set whose genes are higher peaks at the left."
    )
    return figure, (title, caption, f"{title}. {'; '.join(told)}.")


def _panel(axes: Axes, curve: Curve, row: GeneSetRow, place: int) -> str:
    x, y = np.array(curve.x), np.array(curve.y)
    colour = look(place)["color"]
    axes.plot(x, y, color=colour, linewidth=1.4)
    axes.axhline(0.0, color="#888888", linewidth=0.6, zorder=0)
    low, high = min(float(y.min()), 0.0), max(float(y.max()), 0.0)
    room = 0.22 * (high - low)
    rising = np.flatnonzero((np.diff(x) == 1) & (np.diff(y) > 0))
    axes.vlines(x[rising + 1], low - room, low - 0.35 * room, color=colour, linewidth=0.6)
    axes.set(xlim=(0, x[-1]), ylim=(low - 1.1 * room, high + 0.08 * (high - low)))
    axes.tick_params(labelsize=7.5)
    words = f"{textwrap.shorten(fmt.plain(row.name), 40, placeholder='...')}: {set_words(row)}"
    axes.set_title(words, fontsize=8.5, loc="left", pad=3)
    return f"{fmt.plain(row.name)}: {set_words(row)}"


def set_words(row: GeneSetRow) -> str:
    """How strong a set is."""
    normalised = "" if row.normalised is None else f"NES {row.normalised:.2f}, "
    return f"{normalised}FDR {fmt.small_p(row.adjusted_p)}"
