"""tests: the page in a real browser: no overflow, every figure visible, no message in the console, no request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from common.published.results import Estimate, Results
from server.report.page import write_report
from tests.headless import WIDTHS, faults, requests, show
from tests.server.report.conftest import Make


def test_what_breaks_a_layout_is_seen(browser: Any, folder: Path, tmp_path: Path) -> None:
    """Each break is put into the page by itself; without any there is none."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    style, policy = "</style>", re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    assert policy.search(text)
    assert [fault for width in WIDTHS for fault in faults(browser, folder / "report.html", width)] == []
    for broken, expected in (
        (text.replace(style, "section { min-width: 90rem }" + style), "pixels wide"),
        (text.replace(style, "section > * + * { margin-top: -3rem !important }" + style), "upon the part before"),
        (text.replace(style, "svg text { transform: translate(0, 40rem) }" + style), "outside of its figure"),
        (text.replace(style, "h1 { margin-left: -4rem !important; background: red }" + style), "in the margins"),
        (text.replace(style, "body { display: none }" + style), "the picture is empty"),
        (text.replace("</body>", '<img alt="" src="https://example.org/a.png"></body>'), "console"),
    ):
        page = tmp_path / "broken.html"
        # The policy lets no other style in.
        page.write_text(broken if expected == "console" else policy.sub("", broken), encoding="utf-8")
        assert any(expected in fault for fault in faults(browser, page, 360)), expected


def test_odds_ratios_of_any_size_stay_inside_the_forest(browser: Any, results: Results, tmp_path: Path) -> None:
    def huge(found: Estimate) -> Estimate:
        far = {"value": 7.0e5, "low": 4.1e-10, "high": 9.4e10}
        return found.model_copy(update=far) if found.name == "odds_ratio" else found

    changed = [r.model_copy(update={"estimates": [huge(e) for e in r.estimates]}) for r in results.results]
    page = write_report(results.model_copy(update={"results": changed}), {}, tmp_path)
    assert "(4.1e-10 to 9.4e+10)" in page.read_text(encoding="utf-8")
    assert [fault for width in WIDTHS for fault in faults(browser, page, width)] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_asks_for_nothing(browser: Any, folder: Path, width: int) -> None:
    page = folder / "report.html"
    show(browser, page, width)
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    assert requests(browser) == [page.as_uri()]


def test_what_a_row_is_stays_in_view_on_a_phone_and_leaves_most_of_it_to_the_numbers(
    browser: Any, make: Make, tmp_path: Path
) -> None:
    names = ("university-hospital-of-the-north", "beta", "gamma-general-hospital")
    long = "AWordThatIsWiderThanHalfOfThePhone"
    results: Results = make("A small study", sites=names)
    changed = [
        r.model_copy(update={"counts": [count.model_copy(update={"name": long}) for count in r.counts]})
        if r.statistic == "missing-values"
        else r
        for r in results.results
    ]
    results = results.model_copy(update={"results": changed})
    show(browser, write_report(results, None, tmp_path), 390)
    scrolled = browser.execute_script(
        "return [...document.querySelectorAll('.table .box')].filter(b => b.scrollWidth > b.clientWidth).flatMap(b => {"
        " b.scrollLeft = b.scrollWidth;"
        " const box = b.getBoundingClientRect();"
        " return [...b.querySelectorAll('tr')].map(r => {"
        "  const head = r.firstElementChild, at = head.getBoundingClientRect();"
        "  const last = r.lastElementChild.getBoundingClientRect();"
        "  window.scrollTo({top: scrollY + at.top - 100, behavior: 'instant'});"
        "  const now = head.getBoundingClientRect();"
        "  const seen = document.elementFromPoint(now.left + now.width / 2, now.top + now.height / 2);"
        "  return [at.left - box.left, at.width / box.width, last.right - box.right, head.contains(seen)]; }); })"
    )
    assert len(scrolled) > 10
    for from_the_left, share, beyond_the_right, on_top in scrolled:
        assert abs(from_the_left) <= 1 and share < 0.45 and beyond_the_right <= 1 and on_top


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_drawn_inside_its_box(browser: Any, folder: Path, width: int) -> None:
    show(browser, folder / "report.html", width)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(s => {"
        " const a = s.getBoundingClientRect(), b = s.querySelector('text').getBoundingClientRect();"
        " return [a.width, a.height, b.width]; })"
    )
    assert len(sizes) == 3
    assert all(w > 250 and h > 100 and text > 5 for w, h, text in sizes)
    outside = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].flatMap(s => {"
        " const a = s.getBoundingClientRect();"
        " return [...s.querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect();"
        "  return b.left < a.left - 1 || b.right > a.right + 1 || b.bottom > a.bottom + 1 || b.top < a.top - 1; })"
        " .map(t => t.textContent); })"
    )
    assert outside == []


def test_the_style_is_in_force_and_dark_where_asked(browser: Any, folder: Path) -> None:
    ask = "return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    show(browser, folder / "report.html", 1280)
    light = browser.execute_script(ask)
    show(browser, folder / "report.html", 1280, dark=True)
    dark = browser.execute_script(ask)
    assert light == ["rgb(255, 255, 255)", "rgb(28, 33, 38)"]
    assert dark == ["rgb(20, 24, 28)", "rgb(228, 232, 236)"]
    assert browser.execute_script("return getComputedStyle(document.querySelector('svg text')).fill") == dark[1]


def test_a_print_is_black_on_white_even_from_a_dark_screen(browser: Any, folder: Path) -> None:
    show(browser, folder / "report.html", 800, dark=True)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    colours = browser.execute_script(
        "return ['svg text', 'svg [stroke=\"#0072b2\"]'].map(s => getComputedStyle(document.querySelector(s)))"
        ".map(s => [s.fill, s.stroke]).concat([getComputedStyle(document.body).backgroundColor])"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert colours[0][0] == "rgb(0, 0, 0)"
    assert colours[1][1] == "rgb(0, 114, 178)"
    assert colours[2] == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_checklist_is_folded_and_fits_when_it_is_opened(browser: Any, folder: Path, width: int) -> None:
    shown = "return [...document.querySelectorAll('details table')].map(t => t.checkVisibility())"
    show(browser, folder / "report.html", width)
    assert browser.execute_script(shown) == [False, False]
    browser.execute_script("document.querySelectorAll('summary').forEach(summary => summary.click())")
    assert browser.execute_script(shown) == [True, True]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wider = "return [...document.querySelectorAll('details .box')].map(box => box.scrollWidth - box.clientWidth)"
    assert browser.execute_script(wider) == [0, 0]


def test_a_folded_checklist_is_printed(browser: Any, folder: Path) -> None:
    show(browser, folder / "report.html", 800)
    height = "return document.querySelector('details').getBoundingClientRect().height"
    folded = browser.execute_script(height)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    printed = browser.execute_script(height)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert printed > 10 * folded


def test_the_contents_can_be_reached_with_the_keyboard(browser: Any, folder: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    show(browser, folder / "report.html", 1280)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the summary"
    browser.find_element(By.CSS_SELECTOR, "nav a[href='#survival']").send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "survival"


def test_hostile_and_long_names_neither_run_nor_overflow(browser: Any, make: Make, tmp_path: Path) -> None:
    attack = "\"><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    long = "a-hospital-with-a-name-without-any-space-that-goes-on-and-on-and-on" * 2
    results: Results = make(title=attack, sites=(attack, long, "gamma"), far=long)
    page = write_report(results, {"run_id": attack + long}, tmp_path)
    for width in WIDTHS:
        show(browser, page, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.title == attack
        assert browser.get_log("browser") == []
        assert requests(browser) == [page.as_uri()]
