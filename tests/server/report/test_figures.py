"""tests: the figures: the same bytes each time, marked where simulated, hidden counts hidden, names harmless."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from common.published.results import Curve, Estimate, Results
from server.report.contents import models
from server.report.figures import at_risk, draw_all
from server.report.forest import axis_limits
from server.report.svg import inline
from tests.server.report.conftest import Make

NAMES = ["forest-clinical", "roc-clinical", "km-comparison.rfs-by-mvi"]


def texts(svg: str) -> list[str]:
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")
    ]


def test_there_is_a_figure_for_every_model_and_comparison_that_has_something_to_show(results: Results) -> None:
    assert list(draw_all(results)) == NAMES
    assert [model.name for model in models(results)] == ["clinical", "broken"]


def test_the_same_results_are_the_same_bytes_whatever_the_users_settings(results: Results) -> None:
    first = draw_all(results)
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "other", "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert draw_all(results) == first
    assert all("20" not in re.findall(r"<dc:date>.*", p.svg) for p in first.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_simulated_study_is_marked_in_every_figure(make: Make, name: str) -> None:
    assert "SIMULATED DATA" in texts(draw_all(make())[name].svg)
    assert "SIMULATED DATA" not in texts(draw_all(make(simulated=False))[name].svg)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_needs_no_style_sheet_and_no_other_file(results: Results, name: str) -> None:
    root = ElementTree.fromstring(draw_all(results)[name].svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(str(i).startswith(f"{name}.") for i in ids)
    for element in root.iter():
        assert "style" not in element.attrib
        assert not element.tag.endswith(("style", "script", "image", "metadata"))
        for key, value in element.attrib.items():
            if key.endswith("href"):
                assert value[1:] in ids
    assert "http" not in inline(draw_all(results)[name].svg)


def test_few_patients_at_risk_are_not_counted(results: Results) -> None:
    shown = texts(draw_all(results)["km-comparison.rfs-by-mvi"].svg)
    assert "<5" in shown and "Number at risk" in shown
    curve = Curve(name="x", x=[0.0, 1.0], y=[1.0, 0.5], at_risk=[8, None], unit="months")
    assert [at_risk(curve, t, 5) for t in (0.0, 1.0, 2.0)] == ["8", "", "<5"]


def test_a_curve_of_two_points_is_not_drawn_but_said(results: Results) -> None:
    labels = " ".join(texts(draw_all(results)["roc-clinical"].svg))
    assert "external, delta: AUC 0.654 (0.510 to 0.790), too few patients for a curve" in re.sub(r"\s+", " ", labels)


def test_a_row_that_is_not_estimable_says_so(results: Results) -> None:
    shown = texts(draw_all(results)["forest-clinical"].svg)
    assert shown.count("not estimable") == 2
    assert "3.00 (1.67 to 5.41)" in shown


def test_lines_differ_in_more_than_colour(results: Results) -> None:
    svg = draw_all(results)["km-comparison.rfs-by-mvi"].svg
    lines = set(re.findall(r'stroke="(#0072b2|#d55e00)"', svg))
    assert lines == {"#0072b2", "#d55e00"}
    assert re.search(r'stroke="#d55e00"[^>]*', svg) and "stroke-dasharray" in svg


def test_odd_names_neither_break_a_figure_nor_vanish(make: Make) -> None:
    pictures = draw_all(make(far="_$\\alpha^{</svg>\x0b&"))
    shown = " ".join(texts(pictures["roc-clinical"].svg))
    assert "_$\\alpha^{</svg> &: AUC" in shown


def test_names_in_other_scripts_are_drawn_without_a_warning(make: Make, recwarn: pytest.WarningsRecorder) -> None:
    pictures = draw_all(make(far="中山医院"))
    assert "中山医院" in pictures["roc-clinical"].svg
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


@pytest.mark.parametrize(("low", "high", "reach"), [(0.9, 1.1, 4), (0.3, 3, 4), (0.001, 2, 64), (0.5, 15, 16)])
def test_the_axis_of_odds_ratios_is_symmetric_and_never_endless(low: float, high: float, reach: float) -> None:
    assert axis_limits([Estimate(name="odds_ratio", value=1.0, low=low, high=high)]) == (1 / reach, reach)
