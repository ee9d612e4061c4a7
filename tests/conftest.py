"""tests: in which order the files run: those that take minutes first, so that no worker is left with one at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files by `LONGEST`; the order within a file stays."""
    place = {HERE / name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))
