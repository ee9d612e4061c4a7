"""server: the Flower bundle carries code only."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from common.errors import FedmviError
from server.bundle import stage_bundle


def test_the_staged_bundle_holds_code_only(tmp_path: Path) -> None:
    target = stage_bundle(tmp_path / "app")
    files = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    assert {"pyproject.toml", "LICENSE", "common/__init__.py", "client/__init__.py"} <= files
    assert {Path(file).suffix for file in files - {"LICENSE"}} <= {".py", ".toml"}
    assert not any(file.startswith(("simulation", "studies", "tests")) for file in files)

    flower = tomllib.loads((target / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["flwr"]["app"]
    assert flower["components"] == {"serverapp": "server.app:app", "clientapp": "client.app:app"}
    assert flower["config"] == {"run-dir": "", "action": "run", "site-names": "registered", "attempt": ""}
    with pytest.raises(FedmviError, match="213"):
        stage_bundle(target)
