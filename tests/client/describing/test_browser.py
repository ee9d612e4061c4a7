"""client/describing: the page in a real browser: it fits phone, tablet and desk, is quiet, and asks for nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.cohort.site import load_site
from client.describing.describe import describe_site
from common.study.loader import load_study
from simulation.cohorts.consortium import load_consortium
from simulation.hospitals import make_hospitals
from simulation.shipped import shipped_study

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (CHROMIUM.exists() and DRIVER.exists()):
        reason = "Debian's packages chromium and chromium-driver are not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def show(browser: Any, page: Path, width: int, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_the_page_fits_says_nothing_in_the_console_and_asks_for_nothing(browser: Any, page: Path, width: int) -> None:
    show(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [address for address in sent if not address.startswith("chrome")] == [page.as_uri()]
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
    for scheme in ("light", "dark"):
        show(browser, page, 1280, scheme)
        looks.append(
            browser.execute_script(
                "const of = s => getComputedStyle(document.querySelector(s)).fill;"
                "return [getComputedStyle(document.body).backgroundColor, of('svg text'), of('svg .g0'), of('svg .g1')]"
            )
        )
    assert looks[0][0] == "rgb(255, 255, 255)" and looks[1][0] == "rgb(20, 24, 28)"
    assert all(len(set(look)) == 4 for look in looks)
