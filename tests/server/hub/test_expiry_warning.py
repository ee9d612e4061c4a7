"""server/hub: a running hub warns, once a day, of certificates that expire soon, its own and those of sites."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from common.deployment.fields import today
from server.hub import expiry_warning
from server.hub.start import _Watch
from server.provision import expiry
from tests.consortium_kits import SITES, provisioned


def test_what_watches_the_hub_warns_once_a_day_and_says_what_renews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    hub, real = provisioned(tmp_path / "ours").install(tmp_path / "hub"), today()
    hub.state.mkdir()
    watch = _Watch(hub)

    def told(days_later: int) -> list[tuple[int, str]]:
        caplog.clear()
        for module in (expiry, expiry_warning):
            monkeypatch.setattr(module, "today", lambda: real + timedelta(days=days_later))
        for _ in range(3):
            watch({})
        return [(record.levelno, record.getMessage()) for record in caplog.records]

    assert told(0) == []
    near = told(340)
    assert [level for level, _ in near] == [logging.WARNING] * (1 + len(SITES)), "the authority is valid for years"
    assert any(
        words.startswith("hospital-a: ") and "(25 days): fedmvi-server rotate KITS" in words for _, words in near
    )
    assert len(told(341)) == len(near)
    hub.ca.unlink()
    ((level, words),) = (line for line in told(342) if "FEDMVI" in line[1])
    assert level == logging.ERROR and "FEDMVI-739" in words
