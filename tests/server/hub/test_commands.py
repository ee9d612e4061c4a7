"""server/hub: the commands about runs, as a person types them, over the folder of a hub that does not run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from common.errors import FedmviError
from common.terminal import print_error
from server.cli import app
from server.hub import commands
from server.hub.folder import Hub
from server.hub.following import follow
from server.hub.orders import HubRun, State, run_named, submit
from server.study.action import Action
from tests.consortium_kits import provisioned
from tests.server.hub.test_orders import STUDY, attempted, written
from tests.server.hub.test_status import counted


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return provisioned(tmp_path / "ours").install(tmp_path / "hub")


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> HubRun:
    return submit(hub, written(tmp_path, "tiny", STUDY), Action.RUN)


def typed(hub: Hub, *words: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*words, "--hub", str(hub.folder)], catch_exceptions=False)


def failed(run: HubRun, error: FedmviError) -> None:
    attempted(run, "over")
    run.run.write_failure(error)


def test_a_run_that_has_failed_is_resumed_for_what_it_was_wanted_for(hub: Hub, tmp_path: Path):
    plan = submit(hub, written(tmp_path, "tiny", STUDY), Action.PLAN)
    failed(plan, FedmviError(508, site="hospital-b"))
    assert "tiny is queued again" in typed(hub, "resume", "tiny").output
    again = run_named(hub, "tiny")
    assert again.state is State.QUEUED
    assert again.order is not None and again.order.action is Action.PLAN


@pytest.mark.parametrize("state", [State.STOPPED, State.FAILED])
def test_who_pulls_or_waits_for_what_has_no_results_is_told_of_resume(
    hub: Hub, run: HubRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], state: State
):
    if state is State.STOPPED:
        run.stop()
        with pytest.raises(FedmviError) as caught:
            follow(hub, run)
        assert (caught.value.number, "fedmvi-server resume tiny" in caught.value.do) == (751, True)
    else:
        failed(run, FedmviError(508, site="hospital-b"))
    with pytest.raises(FedmviError) as caught:
        typed(hub, "pull", "tiny", "--out", str(tmp_path / "out"))
    print_error(caught.value)
    said = capsys.readouterr().err
    assert f"is {state.value}, so it cannot be pulled" in said and "fedmvi-server resume tiny" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [401, 417])
def test_who_waits_for_a_run_is_told_at_which_site_it_failed(
    hub: Hub, run: HubRun, capsys: pytest.CaptureFixture[str], number: int
):
    failed(run, FedmviError.reported(number, "", {"site": "hospital-c"} if number == 417 else {}, "hospital-b"))
    with pytest.raises(FedmviError) as caught:
        follow(hub, run)
    print_error(caught.value)
    assert "[hospital-b]" in capsys.readouterr().err
    assert "[hospital-b]" in str(caught.value), "as the hub's log has it"


def test_a_finished_run_is_reported_and_pulled_by_its_name(hub: Hub, run: HubRun, tmp_path: Path):
    counted(run)
    attempted(run, "over")
    said = typed(hub, "report", "tiny")
    assert said.exit_code == 0 and f"Report: {run.run.report_file}" in said.output
    assert typed(hub, "report", "tiny", "--json").output == run.run.results_file.read_text(encoding="utf-8")
    page = run.run.report_file.read_bytes()
    run.run.report_file.unlink()
    by_folder = CliRunner().invoke(app, ["report", str(run.run.folder)])
    assert by_folder.exit_code == 0 and run.run.report_file.read_bytes() == page

    said = typed(hub, "pull", "tiny", "--out", str(tmp_path / "out"))
    copied = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert f"{len(copied)} files in" in said.output
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    with pytest.raises(FedmviError) as caught:
        typed(hub, "pull", "tiny", "--out", str(tmp_path / "out"))
    assert caught.value.number == 213


def test_a_watched_status_follows_what_happens_until_it_is_interrupted(
    hub: Hub, run: HubRun, monkeypatch: pytest.MonkeyPatch
):
    looks = []

    def meanwhile(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            run.stop()
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(commands.time, "sleep", meanwhile)
    said = typed(hub, "status", "--watch")
    assert looks == [commands.WATCH_SECONDS] * 3
    assert "stopped" in said.output and "queued" not in said.output
    assert said.exit_code == 1, "the hub does not run"
    assert json.loads(typed(hub, "status", "--json").output)["runs"][0]["state"] == "stopped"
