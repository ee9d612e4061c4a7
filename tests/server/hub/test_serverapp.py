"""server/hub: of a run that reaches the executor nothing is unpacked, and only what the hub handed in is done."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from common.errors import FedmviError
from server.hub import serverapp
from server.hub.folder import Hub
from server.hub.orders import HubRun, submit
from server.hub.serverapp import CODE, REPLACED, _Delivered, check_flower
from server.study.action import Action
from server.study.run_directory import RunDirectory
from tests.consortium_kits import provisioned
from tests.server.hub.test_orders import STUDY, written

BUNDLE = b"the bundle that was handed in"
MODULE = "flwr.superlink.runtime.run_serverapp"


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return provisioned(tmp_path / "ours").install(tmp_path / "hub")


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> HubRun:
    """A run that was handed in."""
    run = submit(hub, written(tmp_path, "tiny", STUDY), Action.RUN)
    order = run.order
    assert order is not None
    run.write_attempt(run.new_attempt(order, "start", hashlib.sha256(BUNDLE).hexdigest(), CODE))
    return run


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which runs were conducted."""
    done: list[str] = []
    monkeypatch.setattr(serverapp, "_conduct", lambda hub, run, action, grid: done.append(run.folder.name))
    monkeypatch.setattr(serverapp, "_log_to", lambda path: None)
    return done


def reached(hub: Hub, bundle: bytes, **config: str) -> str:
    """What Flower is told after a run with this bundle and configuration came to the executor; "" if it was done."""
    delivered = _Delivered(hub)
    delivered.install_from_fab(bundle, skip_prompt=True)
    context = Context(1, 1, {}, RecordDict(), {"action": "run", **config})
    try:
        delivered.run(None, context, server_app_dir="", server_app_attr="")  # type: ignore[arg-type]
    except RuntimeError as error:
        return str(error)
    return ""


def settings(run: HubRun) -> dict[str, str]:
    attempt = run.attempt
    assert attempt is not None
    return {"run-dir": str(run.run.folder), "attempt": attempt.ticket}


def test_a_run_that_the_hub_handed_in_is_done(hub: Hub, run: HubRun, done: list[str]):
    assert reached(hub, BUNDLE, **settings(run)) == ""
    assert done == ["tiny"]


def test_a_bundle_that_differs_by_a_byte_is_not_done_and_the_run_says_why(hub: Hub, run: HubRun, done: list[str]):
    assert reached(hub, BUNDLE + b" ", **settings(run)) == "FEDMVI-757"
    failure = run.run.failure()
    assert (done, failure and failure.number) == ([], 757)


def test_code_that_was_replaced_while_the_hub_runs_is_not_mixed_with_what_is_loaded(
    hub: Hub, run: HubRun, done: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(serverapp, "CODE", "0" * 64)
    assert reached(hub, BUNDLE, **settings(run)) == "FEDMVI-757"
    assert done == []


def test_whoever_does_not_know_the_ticket_or_names_another_folder_gets_nothing_done(
    hub: Hub, run: HubRun, done: list[str], tmp_path: Path
):
    known = settings(run)
    elsewhere = tmp_path / "elsewhere"
    run.run.folder.rename(elsewhere)
    (hub.runs / "linked").symlink_to(elsewhere)
    outside = (str(elsewhere), str(hub.runs / "linked"), str(hub.runs / ".." / "elsewhere"), "", "/etc")
    assert {reached(hub, BUNDLE, **{**known, "run-dir": folder}) for folder in outside} == {"FEDMVI-756"}
    elsewhere.rename(run.run.folder)
    assert {reached(hub, BUNDLE, **{**known, "attempt": ticket}) for ticket in ("", "guessed")} == {"FEDMVI-756"}
    assert done == []


def test_a_ticket_of_an_attempt_that_is_over_is_worth_nothing(hub: Hub, run: HubRun, done: list[str]):
    known, attempt = settings(run), run.attempt
    assert attempt is not None
    run.write_attempt(attempt.model_copy(update={"state": "over"}))
    assert reached(hub, BUNDLE, **known) == "FEDMVI-756"
    assert done == []


def test_what_an_error_says_beside_its_number_is_not_told_to_flower(
    hub: Hub, run: HubRun, monkeypatch: pytest.MonkeyPatch
):
    def conduct(*_: object) -> None:
        raise FedmviError(301, "patient P-0815, row 7")

    monkeypatch.setattr(serverapp, "_conduct", conduct)
    monkeypatch.setattr(serverapp, "_log_to", lambda path: None)
    assert reached(hub, BUNDLE, **settings(run)) == "FEDMVI-301"


def test_flower_takes_from_its_module_every_name_that_is_replaced_and_none_other_that_installs_or_loads():
    """Fails when Flower changes: then look at `server/hub/serverapp.py` before anything else."""
    check_flower()
    importlib.import_module(MODULE)
    used = set(sys.modules[MODULE].run_serverapp.__code__.co_names)
    assert {private.name for private in REPLACED} <= used
    suspicious = {name for name in used if any(part in name for part in ("install", "fab", "project", "load", "fused"))}
    left = suspicious - {private.name for private in REPLACED}
    # Reading what came over the wire, a dependency installer that is turned off, and uploads of a log that stays empty.
    assert left == {
        "fab", "fab_from_proto", "fab_id", "fab_version", "install_app_dependencies", "start_log_uploader",
    }  # fmt: skip


def test_another_flower_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(sys.modules[MODULE], "get_project_dir")
    with pytest.raises(FedmviError) as caught:
        check_flower()
    assert (caught.value.number, "get_project_dir" in caught.value.local) == (721, True)


def test_a_folder_that_is_no_run_is_not_taken_for_one(hub: Hub, done: list[str]):
    (hub.runs / "empty").mkdir(parents=True)
    assert HubRun(RunDirectory(hub.runs / "empty")).attempt is None
    assert reached(hub, BUNDLE, **{"run-dir": str(hub.runs / "empty"), "attempt": ""}) == "FEDMVI-756"
