"""tests/client/node: one hub and one site for all tests of a module; sites that tests kill are their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.node.bare_hub import BareHub


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareHub]:
    """A SuperLink that the test speaks through; nothing is left running."""
    hub = BareHub(tmp_path_factory.mktemp("hub"), ("alpha", "beta", "gamma", "delta"))
    try:
        hub.start_superlink()
        yield hub
    finally:
        hub.stop()
    assert not hub.living()
