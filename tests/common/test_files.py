"""common: folders that are made are their owner's only, with all that is made above them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.files import make_private
from common.observing.local_file import LocalFile


@pytest.fixture(autouse=True)
def _usual_mask() -> Iterator[None]:
    mask = os.umask(0o022)
    yield
    os.umask(mask)


def permissions(*folders: Path) -> list[int]:
    return [folder.stat().st_mode & 0o777 for folder in folders]


def test_folders_that_were_missing_are_private_and_those_that_were_there_stay_as_they_are(tmp_path: Path) -> None:
    there, store = tmp_path / "site", tmp_path / "site" / "store"
    there.mkdir()
    for _ in range(2):
        make_private(store / "runs" / "run1")
    assert permissions(there, store, store / "runs", store / "runs" / "run1") == [0o755, 0o700, 0o700, 0o700]


def test_a_log_that_is_the_first_file_of_a_store_makes_a_private_store(tmp_path: Path) -> None:
    os.close(LocalFile(tmp_path / "store" / "log" / "local.log").open())
    assert permissions(tmp_path / "store", tmp_path / "store" / "log") == [0o700, 0o700]


def test_a_file_in_the_way_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    for folder in (tmp_path / "store", tmp_path / "store" / "runs"):
        with pytest.raises(OSError):
            make_private(folder)
