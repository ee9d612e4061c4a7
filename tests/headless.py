"""tests: pages in a headless browser: loaded at a width, and looked at for what breaks a layout."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDTHS = (360, 768, 1280)
"""Of a phone, a tablet and a desk, in pixels."""

_WORDS_OUTSIDE = (
    "return [...document.querySelectorAll('figure svg')].filter(s => s.checkVisibility()).flatMap(s => {"
    " const a = s.getBoundingClientRect();"
    " return [...s.querySelectorAll('text')].filter(t => { const b = t.getBoundingClientRect();"
    "  return b.left < a.left - 1 || b.right > a.right + 1 || b.bottom > a.bottom + 1 || b.top < a.top - 1; })"
    " .map(t => t.textContent); })"
)
_UPON_EACH_OTHER = (
    "const parts = [...document.querySelectorAll('main section > *, body > section > *, section > .box')]"
    " .filter(e => e.checkVisibility()).map(e => [e, e.getBoundingClientRect()]).filter(p => p[1].height > 2);"
    "return parts.filter(([e, b], i) => i && parts[i - 1][0].parentElement === e.parentElement"
    "  && b.top < parts[i - 1][1].bottom - 2 && b.left < parts[i - 1][1].right && parts[i - 1][1].left < b.right)"
    " .map(([e]) => e.outerHTML.slice(0, 80));"
)


def start_browser(profile: Path) -> Any:
    """Chromium with a profile of its own, which records its console and every request; skipped where it is absent."""
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
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(str(DRIVER)))


def show(browser: Any, page: Path, width: int, *, dark: bool = False) -> None:
    """Load the page at a width, with empty logs before."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())


def requests(browser: Any) -> list[str]:
    """The addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [address for address in sent if not address.startswith("chrome")]


def faults(browser: Any, page: Path, width: int) -> list[str]:
    """What is wrong with a page at a width: wider than the screen, anything in the console, a request, words outside
    of their figure, parts upon each other, and anything but background in the margins of its screenshot."""
    show(browser, page, width)
    found = [f"console: {entry['message']}" for entry in browser.get_log("browser")]
    found += [f"request: {address}" for address in requests(browser) if address != page.as_uri()]
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    found += [f"{wide} pixels wide"] * (wide > width)
    found += [f"outside of its figure: {words}" for words in browser.execute_script(_WORDS_OUTSIDE)]
    found += [f"upon the part before: {part}" for part in browser.execute_script(_UPON_EACH_OTHER)]
    picture = np.asarray(_opened(whole_page(browser)))
    margins = np.concatenate([picture[:, :3].reshape(-1, 3), picture[:, -3:].reshape(-1, 3)])
    if len(np.unique(margins, axis=0)) > 1:
        found.append("something stands in the margins")
    if len(np.unique(picture[:: max(1, len(picture) // 400)].reshape(-1, 3), axis=0)) < 8:
        found.append("the picture is empty")
    return found


def _opened(png: bytes) -> Image.Image:
    """A screenshot of ours; a long report has more pixels than Pillow takes from strangers."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(io.BytesIO(png)).convert("RGB")
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def whole_page(browser: Any) -> bytes:
    """A screenshot of all of the page, PNG."""
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
    return base64.b64decode(taken["data"])
