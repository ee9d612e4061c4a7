"""deploy: compose files follow the specification, and their services may do no more than they need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

import client.cli
import server.cli
import simulation.cli
from client.cohort.site import load_site
from client.cohort.store import store_digest
from client.node.enrolment import load_enrolment
from common.study.loader import load_study
from server.hub.folder import load_hub
from tests.deploy.containers import published, read_compose, weaknesses
from tests.deploy.kits import shown

PROGRAMS = {"fedmvi-site": client.cli.app, "fedmvi-server": server.cli.app, "fedmvi-simulate": simulation.cli.app}
DEMO = Path(__file__).parents[2] / "deploy" / "compose" / "demo.yaml"
TEXTS = {
    "the demo": lambda: DEMO.read_text(encoding="utf-8"),
    "a hub's kit": lambda: shown("hub-compose.yaml"),
    "a site's kit": lambda: shown("site-compose.yaml"),
}


@pytest.fixture(params=TEXTS)
def compose(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read_compose(TEXTS[request.param]())


def test_services_may_do_no_more_than_they_need(compose: dict[str, Any]) -> None:
    assert compose["services"]
    assert {name: weaknesses(service) for name, service in compose["services"].items()} == {
        name: [] for name in compose["services"]
    }


def test_only_the_proxy_of_a_hub_is_reached_from_outside(compose: dict[str, Any]) -> None:
    for name, ports in published(compose).items():
        assert not ports or "hub" in name or "server" in name
        assert all(port.endswith(":9443") for port in ports), ports


def test_every_service_comes_back_and_ends_in_its_own_time(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["restart"] in ("always", "unless-stopped")
        assert service.get("init") is True, "somebody must bury the processes that a killed one leaves"
        assert "stop_grace_period" in service


def test_the_schema_finds_a_word_that_compose_does_not_know() -> None:
    with pytest.raises(jsonschema.ValidationError):
        read_compose("services: {site: {image: fedmvi-site, readonly: true}}")


def test_a_service_that_may_do_everything_is_found() -> None:
    loose = read_compose("services: {site: {image: fedmvi-site, privileged: true, user: root}}")
    assert len(weaknesses(loose["services"]["site"])) == 7


def test_what_the_demo_says_to_do_first_makes_a_hub_and_hospitals_that_its_services_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines are taken from its comment, but for those of the container engine and of the system's owner."""
    said = [
        line.removeprefix("#   ") for line in DEMO.read_text(encoding="utf-8").splitlines() if line.startswith("#   ")
    ]
    (tmp_path / "deploy").symlink_to(DEMO.parents[1])
    monkeypatch.chdir(tmp_path)
    for program, *words in map(str.split, said):
        if program == "cp":
            shutil.copy(words[0], words[1])
        elif program in PROGRAMS:
            done = CliRunner().invoke(PROGRAMS[program], words)
            assert done.exit_code == 0, (program, words, done.output, done.exception)
    services = read_compose(DEMO.read_text(encoding="utf-8"))["services"]
    folders = {name: tmp_path / service["volumes"][0].split(":")[0] for name, service in services.items()}
    hub = load_hub(folders.pop("hub"))
    assert sorted(hub.site_keys) == sorted(folders)
    study = load_study(hub.folder / "study.toml")
    for name, folder in folders.items():
        site = load_site(folder)
        assert (load_enrolment(site).host, site.name) == ("hub", name)
        assert store_digest(site, study)
