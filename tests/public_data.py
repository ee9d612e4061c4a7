"""tests: where the public test data are; a test that needs them skips, with the reason, where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("FEDMVI_DATA", Path(__file__).parents[2] / "shared" / "data"))


def public(name: str) -> Path:
    """A folder or file of the public test data."""
    if not (DATA / name).exists():
        pytest.skip(f"the public data {DATA / name} are absent; set FEDMVI_DATA to where they are")
    return DATA / name
