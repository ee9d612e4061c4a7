"""client/node: a running site notices a new enrolment and restarts its node with it, and warns before one ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from client.cohort.site import ENROLMENT, load_site
from client.cohort.template import init_site
from client.node import renewal
from client.node.enrolment import load_enrolment
from client.node.renewal import Renewal
from common.deployment.fields import today
from server.provision.provisioning import rotate
from tests.consortium_kits import Kits, provisioned


@pytest.fixture
def kits(tmp_path: Path) -> Kits:
    return provisioned(tmp_path / "ours")


@pytest.fixture
def watched(kits: Kits, tmp_path: Path) -> Renewal:
    init_site(tmp_path / "site", "hospital-a")
    site = load_site(tmp_path / "site")
    kits.enrol(site)
    return Renewal(site, load_enrolment(site))


@pytest.fixture
def node() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for the node: it ends by SIGTERM."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    found = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fedmvi.site")


def test_the_node_ends_once_a_new_enrolment_is_there_and_not_before(
    watched: Renewal, kits: Kits, node: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    watched({"node": node.pid})
    assert node.poll() is None and logged(caplog) == []
    before = watched.enrolment.serial
    rotate(kits.folder, "hospital-a", kits)
    kits.enrol(watched._site)
    watched({"node": node.pid, "executor": os.getpid()})
    assert node.wait(10) == -signal.SIGTERM
    assert watched.enrolment.serial != before
    assert [level for level, words in logged(caplog) if "new enrolment" in words] == [logging.INFO]
    watched({"node": os.getpid()})  # or this process would end now
    assert logged(caplog) == []


def test_the_node_goes_on_while_an_enrolment_is_absent_or_damaged(
    watched: Renewal, node: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    folder = watched._site.folder / ENROLMENT
    folder.rename(folder.with_name("aside"))
    watched({"node": node.pid})
    folder.with_name("aside").rename(folder)
    watched({"node": node.pid})
    assert logged(caplog) == []
    (folder / "enrolment.toml").write_text("damaged")
    for _ in range(3):
        watched({"node": node.pid})
    ((level, words),) = logged(caplog)
    assert level == logging.ERROR and "FEDMVI-731" in words
    assert node.poll() is None


def test_the_end_of_an_enrolment_is_warned_of_once_a_day_from_a_month_before(
    watched: Renewal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends, told = watched.enrolment.expires, []
    assert ends > today() + timedelta(days=300)
    for days in (31, 30, 29, 0):
        monkeypatch.setattr(renewal, "today", lambda days=days: ends - timedelta(days=days))
        for _ in range(2):
            watched({})
        told.append(logged(caplog))
    assert [[level for level, _ in lines] for lines in told] == [
        [], [logging.WARNING], [logging.WARNING], [logging.ERROR],
    ]  # fmt: skip
    assert f"{ends} (29 days)" in told[2][0][1] and "Dr Li" in told[2][0][1]
    assert "FEDMVI-732" in told[3][0][1]
