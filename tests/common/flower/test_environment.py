from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from common.errors import FedmviError
from common.flower.environment import FLOWER_VERSION, flower_environment, refuse_other_version


def test_a_process_of_flower_inherits_no_setting_and_sends_no_telemetry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_SECRET_SETTING", "1")
    monkeypatch.setenv("FEDMVI_SITES", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "hospital.example")
    environment = flower_environment(tmp_path / "home", FEDMVI_SITES="/here")
    assert "FLWR_SECRET_SETTING" not in environment
    assert environment["FEDMVI_SITES"] == "/here"
    assert (environment["FLWR_TELEMETRY_ENABLED"], environment["FLWR_DISABLE_UPDATE_CHECK"]) == ("0", "1")
    assert environment["HTTPS_PROXY"] == "http://proxy:3128"
    assert environment["NO_PROXY"] == "hospital.example,127.0.0.1,localhost,::1"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_the_pinned_flower_is_the_one_that_this_was_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_other_version()
    assert f"flwr=={FLOWER_VERSION}" in (Path(__file__).parents[3] / "pyproject.toml").read_text()
    monkeypatch.setattr(metadata, "version", lambda _name: "1.42.0")
    with pytest.raises(FedmviError) as error:
        refuse_other_version()
    assert error.value.number == 721
    assert error.value.facts == {"found": "1.42.0", "wanted": FLOWER_VERSION}
