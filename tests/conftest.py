"""tests: in which order the files run, those that take minutes first, so that no worker is left with one at the end.

And a browser, for whoever asks for one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.headless import start_browser

LONGEST = (
    "simulation/test_null.py",
    "e2e/test_imaging_study.py",
    "e2e/test_simulation.py",
    "e2e/test_survival.py",
    "e2e/test_deployment.py",
    "docs/test_deployment.py",
    "client/preparation/test_prepare.py",
    "simulation/test_runtime.py",
    "e2e/test_chaos.py",
    "server/study/test_network_conduct.py",
    "e2e/test_network_command.py",
    "disclosure/test_hostile_sites.py",
    "simulation/test_handed_on_models.py",
    "client/test_masked_study.py",
    "server/study/test_resume.py",
    "simulation/test_exactness.py",
    "docs/test_pages.py",
)
"""The longest first; all others follow in their usual order. A file stays with one worker, which shares its set-up."""

HERE = Path(__file__).parent


def pytest_configure() -> None:
    """Forget how wide the terminal of whoever runs the tests is: a console keeps the width it is made with."""
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files by `LONGEST`; the order within a file stays."""
    place = {HERE / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless browser; see `tests/headless.py`."""
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
