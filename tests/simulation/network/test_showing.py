"""simulation/network: what is refused before a deployment is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from common.errors import FedmviError
from simulation.network.deployment import Network
from simulation.network.example import make_example_hospitals, write_example_study
from simulation.network.showing import show_network


def unexpected(step: str) -> None:
    raise AssertionError(step)


def test_a_site_of_real_patients_is_not_copied(tmp_path: Path):
    sites = make_example_hospitals(tmp_path / "sites")
    file = sites["hospital-b"] / "site.toml"
    real = file.read_text(encoding="utf-8").replace("simulated = true", "simulated = false").replace('["any"]', "[]")
    file.write_text(real, encoding="utf-8")
    study = write_example_study(tmp_path / "study.toml", "short")
    with pytest.raises(FedmviError) as refused:
        show_network(study, tmp_path / "sites", tmp_path / "out", unexpected)
    assert refused.value.number == 818
    assert refused.value.facts == {"site": "hospital-b"}
    assert not (tmp_path / "out").exists()


def test_a_filled_folder_is_not_touched(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    study = write_example_study(tmp_path / "study.toml", "short")
    with pytest.raises(FedmviError) as refused:
        show_network(study, None, tmp_path / "out", unexpected)
    assert refused.value.number == 213
    with pytest.raises(FedmviError) as refused, Network(tmp_path / "out", {}):
        pass
    assert refused.value.number == 213
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_command_that_fails_is_told_with_what_it_said_and_nothing_is_left_running(tmp_path: Path):
    """Two sites with one name but for capitals: the coordinator's file is refused."""
    network = Network(tmp_path / "network", {"north": tmp_path / "a", "North": tmp_path / "b"})
    with pytest.raises(FedmviError) as failed, network:
        pass
    assert failed.value.number == 821
    assert failed.value.facts == {"command": "fedmvi-server provision"}
    assert "FEDMVI-736" in failed.value.local
    assert not network.living()


def test_a_daemon_that_ends_at_its_start_is_told_with_its_last_words(tmp_path: Path):
    network = Network(tmp_path / "network", {"north": tmp_path / "north"})
    with network.daemons, socket.create_server(("127.0.0.1", network.port)):
        network.provision()
        with pytest.raises(FedmviError) as failed:
            network.start_hub()
    assert failed.value.number == 819
    assert failed.value.facts == {"part": "hub"}
    assert "FEDMVI-749" in failed.value.local
    assert not network.living()
