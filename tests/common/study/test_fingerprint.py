"""common/study: the fingerprint of the code is that of the files as they are now, however often it was asked before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.study.fingerprint import code_fingerprint, fingerprint_of_code


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("common/a.py", "common/inner/b.py", "client/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n")
    return tmp_path


def afresh(root: Path) -> str:
    files = [path for room in ("common", "client") for path in (root / room).rglob("*.py")]
    return fingerprint_of_code((path.relative_to(root).as_posix(), path.read_bytes()) for path in files)


def test_a_file_that_changes_while_a_process_runs_is_noticed_though_its_size_and_time_are_as_before(root: Path) -> None:
    before, file = code_fingerprint(root), root / "common" / "inner" / "b.py"
    stamp = file.stat().st_mtime_ns
    file.write_text("# common/inner/B.py\n")
    os.utime(file, ns=(stamp, stamp))
    assert code_fingerprint(root) == afresh(root) != before


def test_files_that_come_and_go_are_noticed_and_others_than_code_are_not(root: Path) -> None:
    before = code_fingerprint(root)
    (root / "client" / "notes.txt").write_text("x")
    assert code_fingerprint(root) == before
    (root / "client" / "d.py").write_text("")
    assert code_fingerprint(root) == afresh(root) != before
    (root / "client" / "d.py").unlink()
    assert code_fingerprint(root) == before


def test_code_that_stays_as_it_is_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_fingerprint(root)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    assert code_fingerprint(root) == before
