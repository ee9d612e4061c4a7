"""common/deployment: root does not write into the folder of a daemon that is another user's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.deployment.owner import refuse_root
from common.errors import FedmviError

SOMEBODY = 47_110


@pytest.fixture
def as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another user's folder, and a process that is root, or says so."""
    if os.geteuid() == 0:
        os.chown(tmp_path, SOMEBODY, SOMEBODY)
    monkeypatch.setattr("common.deployment.owner.os.geteuid", lambda: 0)
    return tmp_path


def test_root_is_refused_in_another_users_folder_and_told_as_whom_to_type(as_root: Path) -> None:
    with pytest.raises(FedmviError) as refused:
        refuse_root(as_root)
    assert refused.value.number == 728
    assert "sudo -u" in refused.value.local and str(as_root) in refused.value.local
    assert not refused.value.facts


def test_a_folder_that_is_not_there_yet_may_be_made_by_root(as_root: Path) -> None:
    refuse_root(as_root / "hub")


def test_root_may_work_in_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.deployment.owner.os.geteuid", lambda: 0)
    refuse_root(Path("/"))


def test_every_other_user_is_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.deployment.owner.os.geteuid", lambda: SOMEBODY)
    refuse_root(tmp_path)
