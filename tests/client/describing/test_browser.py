"""client/describing: the page in a real browser: it fits phone, tablet and desk, is quiet, and asks for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.cohort.site import load_site
from client.describing.describe import describe_site
from common.study.loader import load_study
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.shipped import shipped_study
from tests.headless import requests, show


@pytest.fixture(scope="module", params=["demo", None], ids=["for a study", "without a study"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of a simulated hospital in which a value, a level and a time are wrong."""
    out = tmp_path_factory.mktemp("sites") / "demo"
    sites = ("hospital-a", "hospital-b", "hospital-c", "hospital-d", "external-e", "external-f")
    make_hospitals(load_consortium("demo").with_patients(dict.fromkeys(sites, 60)), out, 1)
    table = out / "hospital-a" / "patients.csv"
    table.write_text(table.read_text().replace(",male,", ",W,", 1).replace(",no,no,no,", ",no,no,perhaps-not,", 1))
    study = load_study(shipped_study(Path(request.param))) if request.param else None
    _, made = describe_site(load_site(out / "hospital-a"), study, None)
    assert made is not None
    return made


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_the_page_fits_says_nothing_in_the_console_and_asks_for_nothing(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    assert requests(browser) == [page.as_uri()]
    # No word of a picture leaves the picture, and none lies upon another.
    outside = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].flatMap(s => {"
        " const a = s.getBoundingClientRect(), t = [...s.querySelectorAll('text')].map(t => t.getBoundingClientRect());"
        " return t.filter((b, i) => b.left < a.left - 1 || b.right > a.right + 1 || b.bottom > a.bottom + 1"
        "  || t.some((c, j) => j > i && b.left < c.right && c.left < b.right && b.top + 1 < c.bottom"
        "   && c.top < b.bottom - 1))"
        " .map(() => s.getAttribute('aria-label')); })"
    )
    assert outside == []
    assert browser.execute_script("return document.querySelectorAll('article figure svg rect').length") > 50


def test_it_is_dark_where_asked_and_groups_keep_colours_that_differ(browser: Any, page: Path) -> None:
    looks = []
    for dark in (False, True):
        show(browser, page, 1280, dark=dark)
        looks.append(
            browser.execute_script(
                "const of = s => getComputedStyle(document.querySelector(s)).fill;"
                "return [getComputedStyle(document.body).backgroundColor, of('svg text'), of('svg .g0'), of('svg .g1')]"
            )
        )
    assert looks[0][0] == "rgb(255, 255, 255)" and looks[1][0] == "rgb(20, 24, 28)"
    assert all(len(set(look)) == 4 for look in looks)
