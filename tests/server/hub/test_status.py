"""server/hub: what the folder of a hub knows is told, whether the hub runs or not; small counts stay hidden."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from common.errors import FedmviError
from common.published.results import CohortFacts, Count, Result, Results
from server.cli import app
from server.hub.folder import Hub
from server.hub.orders import HubRun, submit
from server.hub.showing import shown
from server.hub.status import HubStatus, RunStatus, status_of
from server.hub.time_left import PATIENTS_DECIDE, TimeLeft
from server.provision import expiry
from server.study.action import Action
from server.study.progress import Progress
from server.study.results import write_results
from server.study.steps import COUNT, EVALUATE, FIT, FREEZE, OPEN
from tests.consortium_kits import SITES, provisioned
from tests.server.hub.test_orders import STUDY, written

OTHER = STUDY.replace("A study of three sites", "Another study")


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return provisioned(tmp_path / "ours").install(tmp_path / "hub")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written(tmp_path, "tiny", STUDY)


def handed_in(run: HubRun, **progress: object) -> None:
    order = run.order
    assert order is not None
    run.write_attempt(run.new_attempt(order, "start", "", ""))
    content = Progress.model_validate({"started": "2026-01-01T00:00:00+00:00", **progress})
    run.run.progress_file.write_text(content.model_dump_json(), encoding="utf-8")


def counted(run: HubRun) -> None:
    """Results of a run in which a site has a hidden count, and what sites told when it was opened."""
    flow = Result(
        id="flow.train", statistic="patient-flow", title="Patient flow", cohort="train", sites=list(SITES), how="exact",
        counts=[
            Count(name="patients in the table", by_site=dict.fromkeys(SITES, 99), pooled=297),
            Count(name="in the cohort", by_site={"hospital-a": 90, "hospital-b": None, "hospital-c": 70}, pooled=None),
        ],
    )  # fmt: skip
    results = Results(
        study="tiny", title="", description="", simulated=False, sources=[], study_fingerprint="", code_fingerprint="",
        preparation_fingerprint="", min_cell=5, cohorts=[CohortFacts(name="train", role="train", sites=list(SITES))],
        under_limits=[], variables={}, results=[flow],
    )  # fmt: skip
    write_results(results, run.run.results_file)
    receipt = {"site": "hospital-a", "code": "c0de" * 16, "flwr": "1.41.0", "numpy": "2.3.0", "store": "secret"}
    run.run.write_facts({**run.run.facts(), "sites": {"hospital-a": receipt}, "ledgers": {"hospital-b": "FEDMVI-513"}})


def of(status: HubStatus, name: str) -> RunStatus:
    return next(run for run in status.runs if run.run == name)


def page(status: HubStatus) -> str:
    console = Console(width=200, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    console.print(shown(status))
    return console.export_text()


def test_a_hub_that_does_not_run_still_tells_what_its_folder_knows(hub: Hub, study: Path):
    submit(hub, study, Action.RUN)
    status = status_of(hub)
    assert not status.health.running and not status.health.well
    assert [site.connection for site in status.sites] == ["unknown"] * 3
    assert (of(status, "tiny").state, of(status, "tiny").position) == ("queued", 1)
    assert "the hub is not running" in page(status)


def test_the_time_left_is_told_from_an_earlier_run_of_the_same_study(hub: Hub, study: Path):
    first, second = submit(hub, study, Action.RUN), submit(hub, study, Action.RUN)
    handed_in(first, rounds=7, rounds_before=3, round_seconds=70.0)
    first.run.results_file.write_text("{}", encoding="utf-8")
    waiting = {"asked_since": "2026-01-01T00:10:00+00:00", "waiting_for": ("hospital-b",)}
    handed_in(second, rounds=4, round_seconds=8.0, step="count patients and events", **waiting)
    run = of(status_of(hub), "tiny-2")
    assert (run.rounds, run.rounds_expected, run.seconds_a_round, run.seconds_left) == (4, 10, 2.0, 12.0)
    text = page(status_of(hub))
    assert "4 of about 10" in text and "tiny-2: waits for hospital-b" in text


def test_who_was_left_out_of_a_run_is_told(hub: Hub, study: Path):
    run = submit(hub, study, Action.RUN)
    run.run.leave_out(["hospital-b"], "FEDMVI-508")
    status = status_of(hub)
    assert of(status, "tiny").left_out == ["hospital-b"]
    assert "tiny: goes on without hospital-b" in page(status)


def test_without_an_earlier_run_no_end_is_promised(hub: Hub, study: Path):
    run = submit(hub, study, Action.RUN)
    handed_in(run, rounds=4, round_seconds=8.0)
    told = of(status_of(hub), "tiny")
    assert (told.rounds, told.rounds_expected, told.seconds_left) == (4, None, None)


def test_the_time_left_of_a_first_run_is_told_as_far_as_it_is_known_and_else_why_not(hub: Hub, study: Path):
    run, other = submit(hub, study, Action.RUN), submit(hub, written(hub.folder, "other", OTHER), Action.RUN)
    steps = {OPEN: {"rounds": 2, "seconds": (3.0, 3.0)}, COUNT: {"rounds": 1, "seconds": (3.0,)}}
    handed_in(run, rounds=3, round_seconds=9.0, step=FIT, steps=steps)
    left = of(status_of(hub), "tiny").left
    assert left is not None and left.unknown == {PATIENTS_DECIDE: (FIT, EVALUATE)}
    words = " ".join(page(status_of(hub)).split())
    assert "not known yet" in words and PATIENTS_DECIDE in words

    finished = {FIT: {"rounds": 7}, FREEZE: {"rounds": 1}, EVALUATE: {"rounds": 5}}
    handed_in(other, rounds=16, round_seconds=16.0, steps=finished)
    other.run.results_file.write_text("{}", encoding="utf-8")
    told = of(status_of(hub), "tiny")
    assert told.left is not None and (told.left.least, told.left.most) == (12 * 3.0, 13 * 3.0)
    assert told.seconds_left is None and "perhaps 36 s to 39 s" in page(status_of(hub))


def test_trainings_are_told_with_what_their_protocol_allows(hub: Hub, study: Path):
    submit(hub, study, Action.RUN)
    (run,) = [run for run in status_of(hub).runs if run.run == "tiny"]
    left = TimeLeft(most=7300.0, trainings=7200.0, unknown={PATIENTS_DECIDE: (EVALUATE,)})
    status = status_of(hub).model_copy(update={"runs": [run.model_copy(update={"left": left})]})
    assert "trainings at most 2 h, and more" in " ".join(page(status).split())


def test_a_failed_run_tells_its_number_and_sentence_and_no_local_detail(hub: Hub, study: Path):
    run = submit(hub, study, Action.RUN)
    handed_in(run)
    attempt = run.attempt
    assert attempt is not None
    run.write_attempt(attempt.model_copy(update={"state": "over"}))
    run.run.write_failure(FedmviError(508, "the local detail", site="hospital-b"))
    status = status_of(hub)
    assert (of(status, "tiny").error, of(status, "tiny").message) == (
        "FEDMVI-508",
        "The site 'hospital-b' is not connected.",
    )
    assert "the local detail" not in status.model_dump_json() + page(status)


def test_patients_are_told_as_published_and_versions_as_of_the_run_that_told_them(hub: Hub, study: Path):
    run = submit(hub, study, Action.RUN)
    counted(run)
    status = status_of(hub)
    sites = {site.site: site for site in status.sites}
    assert [sites[site].patients for site in SITES] == [{"train": 90}, {"train": None}, {"train": 70}]
    assert (sites["hospital-a"].run, sites["hospital-a"].code) == ("tiny", "c0de" * 16)
    assert sites["hospital-a"].versions == {"flwr": "1.41.0", "numpy": "2.3.0"}
    assert of(status, "tiny").ledgers == ["hospital-b"]
    text = page(status)
    assert "hidden" in text and "secret" not in text


def test_certificates_that_expire_soon_are_told_with_what_renews_them(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    assert status_of(hub).certificates == []
    monkeypatch.setattr(expiry, "today", lambda: date.today() + timedelta(days=340))
    soon = {certificate.holder: certificate for certificate in status_of(hub).certificates}
    assert set(soon) == {"hub", *SITES}
    assert "rotate KITS hospital-a" in soon["hospital-a"].do
    assert "expires on" in page(status_of(hub))


def test_the_head_of_a_ledger_is_told_and_whether_it_was_found_changed(hub: Hub):
    (hub.folder / "ledgers").mkdir()
    told = {"lines": 12, "time": "2026-01-01T00:00:00+00:00", "troubles": [{"lines": 3}]}
    (hub.folder / "ledgers" / "hospital-a.json").write_text(json.dumps(told), encoding="utf-8")
    (hub.folder / "ledgers" / "hospital-b.json").write_text("{", encoding="utf-8")
    sites = {site.site: site for site in status_of(hub).sites}
    assert (sites["hospital-a"].ledger_lines, sites["hospital-a"].ledger_troubles) == (12, 1)
    assert sites["hospital-b"].ledger_lines is None
    assert "The ledger of hospital-a is not the one" in page(status_of(hub))


def test_the_commands_tell_what_cannot_be_done_by_number(hub: Hub, study: Path, tmp_path: Path):
    def refused(*arguments: str) -> int:
        with pytest.raises(FedmviError) as caught:
            CliRunner().invoke(app, [*arguments, "--hub", str(hub.folder)], catch_exceptions=False)
        return caught.value.number

    assert refused("stop", "absent") == refused("resume", "absent") == 750
    submit(hub, study, Action.RUN)
    assert refused("resume", "tiny") == 751  # it is queued
    assert refused("pull", "tiny", "--out", str(tmp_path / "out")) == 751
    assert CliRunner().invoke(app, ["stop", "tiny", "--hub", str(hub.folder)]).exit_code == 0
    assert refused("stop", "tiny") == 751
    assert CliRunner().invoke(app, ["resume", "tiny", "--hub", str(hub.folder)]).exit_code == 0
    with pytest.raises(FedmviError) as caught:
        CliRunner().invoke(app, ["status", "--hub", str(tmp_path)], catch_exceptions=False)
    assert caught.value.number == 739


def test_status_ends_with_1_where_something_does_not_serve(hub: Hub):
    done = CliRunner().invoke(app, ["status", "--json", "--hub", str(hub.folder)])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["health"]["running"] is False
