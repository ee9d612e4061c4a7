"""server/hub: the numbers of a hub are those of its runs' directories and its sites."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from common.errors import FedmviError
from server.hub.control import Node
from server.hub.folder import Hub
from server.hub.metrics import HubMetrics
from server.hub.orders import Attempt, submit
from server.study.execution import Action
from server.study.progress import ProgressFile
from tests.disclosure.consortium import STUDY


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    sites = ("a", "b", "c", "d", "e", "f")
    (tmp_path / "sites").mkdir()
    for site in sites:
        (tmp_path / "sites" / f"{site}.pub").write_text("a key")
    return Hub.model_validate(
        {
            "consortium": "test", "host": "127.0.0.1", "contact": "nobody", "issued": date(2026, 1, 1),
            "expires": date(2027, 1, 1), "issue": 1, "sites": sites, "folder": tmp_path,
            "site_certificates": {"a": date(2026, 6, 1)},
        }
    )  # fmt: skip


def looked(metrics: HubMetrics) -> dict[str, dict[tuple[str, ...], float]]:
    return {measure.name: dict(measure.samples) for measure in metrics()}


def test_runs_are_counted_by_state_and_the_one_that_goes_on_says_how_far_it_is(hub: Hub, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    first, _ = submit(hub, study, Action.RUN), submit(hub, study, Action.RUN)
    first.write_attempt(Attempt(order=first.order.given, hub_start="1", ticket="t"))
    progress = ProgressFile(first.run.progress_file)
    progress.asked(("a", "b", "c"))
    seen = looked(HubMetrics(hub, list))
    assert {state: n for (state,), n in seen["runs"].items() if n} == {"queued": 1.0, "running": 1.0}
    assert seen["run_rounds"] == {("small",): 0.0}
    assert seen["run_waiting_sites"] == {("small",): 3.0}
    assert seen["run_round_seconds"] == {}
    first.run.write_facts({**first.run.facts(), "bytes_to_sites": 700, "bytes_from_sites": 50})
    assert looked(HubMetrics(hub, list))["bytes_to_sites"] == {(): 700.0}


def test_sites_are_told_by_name_and_not_told_while_the_superlink_is_away(hub: Hub) -> None:
    nodes = [Node(1, "a", b"", "online", ""), Node(2, "b", b"", "offline", "")]
    seen = looked(HubMetrics(hub, lambda: nodes))
    assert (seen["superlink_answers"], seen["site_online"]) == ({(): 1.0}, {("a",): 1.0, ("b",): 0.0})

    def away() -> list[Node]:
        raise FedmviError(745)

    seen = looked(HubMetrics(hub, away))
    assert (seen["superlink_answers"], seen["site_online"]) == ({(): 0.0}, {})


def test_the_superlink_is_not_asked_at_every_look(hub: Hub) -> None:
    asked = []
    metrics = HubMetrics(hub, lambda: asked.append(1) or [])  # type: ignore[func-returns-value]
    for _ in range(5):
        looked(metrics)
    assert len(asked) == 1


def test_the_end_of_certificates_is_told(hub: Hub) -> None:
    ends = looked(HubMetrics(hub, list))["certificate_expiry_seconds"]
    assert ends == {("a",): 1780272000.0}, "those of the hub are not there yet"
