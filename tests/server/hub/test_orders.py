"""server/hub: the queue is the order of submission, and a run's state follows from the files of its folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from common.errors import FedmviError
from server.hub.folder import Hub
from server.hub.orders import Attempt, HubRun, State, queue_of, run_named, runs_of, submit
from server.study.action import Action
from tests.consortium_kits import provisioned

STUDY = """
[study]
name = "tiny"
title = "A study of three sites"

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[cohorts]]
name = "train"
role = "train"
sites = ["hospital-a", "hospital-b", "hospital-c"]
"""


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return provisioned(tmp_path / "ours").install(tmp_path / "hub")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written(tmp_path, "tiny", STUDY)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def attempted(run: HubRun, state: str = "running") -> None:
    order = run.order
    assert order is not None
    attempt = run.new_attempt(order, "start", "bundle", "code")
    run.write_attempt(Attempt.model_validate({**attempt.model_dump(), "state": state}))


def refused(number: int, hub: Hub, study: Path, name: str = "", action: Action = Action.RUN) -> bool:
    with pytest.raises(FedmviError) as caught:
        submit(hub, study, action, name)
    return caught.value.number == number


def test_runs_queue_in_the_order_of_submission_and_one_that_is_stopped_leaves_the_queue(hub: Hub, study: Path):
    names = [submit(hub, study, Action.RUN, name).name for name in ("", "", "a-name", "")]
    assert names == ["tiny", "tiny-2", "a-name", "tiny-3"]
    assert [run.name for run in queue_of(hub)] == names
    run_named(hub, "tiny-2").stop()
    assert [run.name for run in queue_of(hub)] == ["tiny", "a-name", "tiny-3"]
    assert run_named(hub, "tiny-2").state is State.STOPPED


def test_a_run_that_is_resumed_queues_behind_the_others(hub: Hub, study: Path):
    first, second = submit(hub, study, Action.RUN), submit(hub, study, Action.RUN)
    first.stop()
    first.give(Action.RUN)
    assert [run.name for run in queue_of(hub)] == [second.name, first.name]


def test_runs_that_are_submitted_at_the_same_moment_get_names_of_their_own(hub: Hub, study: Path):
    threads = [threading.Thread(target=submit, args=(hub, study, Action.RUN)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.name for run in queue_of(hub)) == ["tiny", *(f"tiny-{number}" for number in range(2, 7))]


def test_the_state_of_a_run_follows_from_what_is_in_its_folder(hub: Hub, study: Path):
    run = submit(hub, study, Action.RUN)
    states = [run.state]
    for state in ("running", "again", "over"):
        attempted(run, state)
        states.append(run.state)
    run.give(Action.RUN)  # what was tried for the earlier order says nothing of this one
    states.append(run.state)
    run.run.results_file.write_text("{}", encoding="utf-8")
    states.append(run.state)
    assert states == [State.QUEUED, State.RUNNING, State.QUEUED, State.FAILED, State.QUEUED, State.FINISHED]


def test_a_run_is_not_finished_while_its_report_is_written(hub: Hub, study: Path):
    run = submit(hub, study, Action.RUN)
    attempted(run)
    with run.run.locked():
        run.run.results_file.write_text("{}", encoding="utf-8")
        assert run.state is State.RUNNING
    assert run.state is State.FINISHED


def test_a_damaged_order_is_no_order_and_does_not_end_the_others(hub: Hub, study: Path):
    first, second = submit(hub, study, Action.RUN), submit(hub, study, Action.RUN)
    (first.run.folder / "order.json").write_bytes(b'{"action": "run"')
    assert [run.name for run in queue_of(hub)] == [second.name]
    assert first.state is State.STOPPED


def test_a_study_is_run_where_it_was_planned_but_another_study_is_not(hub: Hub, study: Path, tmp_path: Path):
    planned = submit(hub, study, Action.PLAN)
    planned.run.plan_file.write_text("{}", encoding="utf-8")
    assert planned.state is State.PLANNED
    other = written(tmp_path, "other", STUDY.replace("A study", "Another study"))
    assert submit(hub, other, Action.RUN).name == "tiny-2"
    again = submit(hub, study, Action.RUN)
    assert (again.name, again.state) == ("tiny", State.QUEUED)


@pytest.mark.parametrize("action", list(Action))
def test_a_plan_that_failed_or_was_stopped_does_not_keep_the_name_from_its_study(
    hub: Hub, study: Path, tmp_path: Path, action: Action
):
    planned = submit(hub, study, Action.PLAN)
    assert submit(hub, study, action).name == "tiny-2", "it is still queued"
    attempted(planned, "over")
    assert planned.state is State.FAILED
    other = written(tmp_path, "other", STUDY.replace("A study", "Another study"))
    assert submit(hub, other, action).name == "tiny-3", (
        "it has another protocol, and the journal of the plan is not its"
    )
    again = submit(hub, study, action)
    assert (again.name, again.state, again.order.action) == ("tiny", State.QUEUED, action)
    again.stop()
    assert submit(hub, study, action).name == ("tiny" if action is Action.PLAN else "tiny-4"), "a run keeps its name"


def test_what_goes_on_or_is_finished_is_not_submitted_again_under_its_name(hub: Hub, study: Path, tmp_path: Path):
    run = submit(hub, study, Action.RUN)
    assert refused(751, hub, study, "tiny")
    attempted(run, "over")
    other = written(tmp_path, "other", STUDY.replace("A study", "Another study"))
    assert refused(705, hub, other, "tiny")
    assert submit(hub, study, Action.RUN, "tiny").state is State.QUEUED
    run.run.results_file.write_text("{}", encoding="utf-8")
    assert refused(751, hub, study, "tiny")


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "-a", "Capital", "x" * 65, "new\nline"])
def test_no_name_leads_out_of_the_folder_of_runs(hub: Hub, study: Path, name: str):
    assert refused(752, hub, study, name)
    assert runs_of(hub) == []


def test_a_study_that_names_a_site_without_enrolment_is_refused_when_it_is_submitted(hub: Hub, tmp_path: Path):
    absent = written(tmp_path, "absent", STUDY.replace("hospital-c", "hospital-d"))
    with pytest.raises(FedmviError) as caught:
        submit(hub, absent, Action.RUN)
    assert (caught.value.number, caught.value.facts) == (753, {"site": "hospital-d"})
    assert runs_of(hub) == []


def test_root_changes_nothing_at_the_hub_of_another_user(hub: Hub, study: Path, monkeypatch: pytest.MonkeyPatch):
    """The steward could not write into the folder of a run that root submitted, and would end again and again."""
    run = submit(hub, study, Action.RUN)
    if os.geteuid() == 0:
        for folder in (hub.folder, run.run.folder):
            os.chown(folder, 47_110, 47_110)
    monkeypatch.setattr("common.deployment.owner.os.geteuid", lambda: 0)
    assert refused(728, hub, study)
    for change in (run.stop, lambda: run.give(Action.RUN)):
        with pytest.raises(FedmviError) as caught:
            change()
        assert caught.value.number == 728
    assert [known.name for known in runs_of(hub)] == [run.name] and run.state is State.QUEUED
