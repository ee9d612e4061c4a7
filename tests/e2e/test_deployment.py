"""e2e: a hub and three hospitals as real processes, started by the real commands, do what is promised of them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from client.release.ledger import Ledger
from common.published.results import Results, read_results
from common.study.fingerprint import code_fingerprint
from server.hub.orders import State
from server.study.execution import Action
from simulation.network.example import HOSPITALS, write_example_study

ROOT = Path(__file__).parents[2]
SECONDS = 400.0
"""More than enough on a busy machine."""

pytestmark = pytest.mark.xdist_group("deployment")


def ledger(consortium, name: str) -> Ledger:
    return Ledger(consortium.folder / "sites" / name / "store" / "ledger.jsonl")


def lines_of(consortium, name: str, run) -> list[dict]:
    run_id = run.run.facts()["run_id"]
    return [entry for entry in ledger(consortium, name).entries() if entry["run_id"] == run_id]


def told(consortium) -> str:
    """What everybody said last, for a test that fails."""
    logs = sorted(consortium.network.folder.glob("log/*.log"))
    return "\n".join(f"--- {log.stem} ---\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


def test_a_study_goes_on_from_its_plan_and_both_are_the_same_byte_for_byte_as_in_one_process(consortium):
    network, short = consortium.network, str(consortium.short)
    said = network.command("fedmvi-server", "plan", short, "--hub", str(network.hub), "--name", "planned")
    assert said.code == 0, said.out + said.err + told(consortium)
    run = network.run("planned")
    assert run.run.plan_file.read_bytes() == consortium.expected(consortium.short, Action.PLAN)

    said = network.command("fedmvi-server", "run", short, "--hub", str(network.hub), "--name", "planned")
    assert said.code == 0, said.out + said.err + told(consortium)
    assert run.run.results_file.read_bytes() == consortium.expected(consortium.short, Action.RUN)
    assert run.run.report_file.exists()
    facts = run.run.facts()
    assert facts["rounds_before_resume"] > 0
    assert set(facts["sites"]) == set(HOSPITALS)
    assert all(receipt["code"] == code_fingerprint() for receipt in facts["sites"].values())


def test_a_study_goes_on_without_a_hospital_that_never_comes_and_names_it(consortium):
    network = consortium.network
    run = network.submit(consortium.patient, "patient")
    assert network.await_end(run, SECONDS) is State.FINISHED, told(consortium)
    found = read_results(run.run.results_file)
    assert found.left_out == [consortium.absent]
    short = Results.model_validate_json(consortium.expected(consortium.short, Action.RUN))
    assert found.results == short.results, "every number is that of the study over the three"
    assert f"without {consortium.absent}" in run.run.report_file.read_text(encoding="utf-8")
    (shown,) = [one for one in network.status()["runs"] if one["run"] == "patient"]
    assert shown["left_out"] == [consortium.absent]


def test_every_answer_is_in_the_ledger_of_its_hospital_and_the_chain_is_whole(consortium):
    network = consortium.network
    run = network.submit(consortium.short, "recorded")
    assert network.await_end(run, SECONDS) is State.FINISHED, told(consortium)
    for name in HOSPITALS:
        assert not ledger(consortium, name).verify().broken_at
        queries = [line["query"] for line in lines_of(consortium, name, run)]
        assert len(queries) >= run.run.facts()["rounds"]
        site = str(consortium.folder / "sites" / name)
        said = network.command("fedmvi-site", "ledger", "verify", "--site", site)
        assert said.code == 0, said.out + said.err


def test_studies_handed_in_while_one_goes_on_wait_in_their_order_and_all_finish(consortium):
    network = consortium.network
    first = network.submit(consortium.long, "first")
    second, third = (network.submit(consortium.short, name) for name in ("second", "third"))
    shown = {run["run"]: run for run in network.status()["runs"]}
    assert shown["first"]["state"] == "running"
    assert [(shown[name]["state"], shown[name]["position"]) for name in ("second", "third")] == [
        ("queued", 1),
        ("queued", 2),
    ]
    assert network.await_end(first, SECONDS) is State.FINISHED, told(consortium)
    assert network.await_end(second, SECONDS) is State.FINISHED, told(consortium)
    assert third.state is not State.FINISHED
    assert network.await_end(third, SECONDS) is State.FINISHED, told(consortium)
    assert first.run.results_file.read_bytes() == consortium.expected(consortium.long, Action.RUN)
    assert second.run.results_file.read_bytes() == third.run.results_file.read_bytes()


def test_a_site_that_is_not_connected_is_waited_for_and_then_named(consortium):
    seconds = 4.0
    study = write_example_study(
        consortium.folder / "away.toml", "away", [*HOSPITALS, "hospital-d"], wait_hours=seconds / 3600
    )
    run = consortium.network.submit(study)
    assert consortium.network.await_end(run, SECONDS) is State.FAILED
    failure = run.run.failure()
    assert failure is not None
    assert failure.number == 508
    assert failure.facts["site"] == "hospital-d"
    assert not list(run.run.journal.glob("*.npz"))


def test_a_study_that_no_hospital_approved_is_refused_and_nothing_leaves(consortium):
    study = write_example_study(consortium.folder / "other.toml", "other", title="Not the approved one")
    run = consortium.network.submit(study)
    assert consortium.network.await_end(run, SECONDS) is State.FAILED
    failure = run.run.failure()
    assert failure is not None and failure.number == 401
    for name in HOSPITALS:
        assert all("refused" in entry["query"] for entry in lines_of(consortium, name, run))


def test_a_node_that_serves_another_site_than_the_registered_one_is_refused(consortium):
    """The roster holds both names, so only the key by which the hub admitted the node tells them apart."""
    file = consortium.folder / "sites" / "hospital-c" / "site.toml"
    own = file.read_text(encoding="utf-8")
    try:
        file.write_text(own.replace('name = "hospital-c"', 'name = "hospital-a"'), encoding="utf-8")
        run = consortium.network.submit(consortium.short, "swapped")
        assert consortium.network.await_end(run, SECONDS) is State.FAILED
    finally:
        file.write_text(own, encoding="utf-8")
    failure = run.run.failure()
    assert failure is not None and failure.number in (412, 735)
    assert not run.run.results_file.exists()


@pytest.fixture
def changed_code(tmp_path):
    """The code of this repository with one more line in what hospitals run."""
    for package in ("common", "client", "server"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "client" / "app.py").open("a", encoding="utf-8") as file:
        file.write("# one more line\n")
    return tmp_path


def test_every_hospital_refuses_code_that_differs_by_a_line_from_what_it_installed(consortium, changed_code):
    """The hub itself runs the changed code, so its own comparison finds nothing."""
    network = consortium.network
    before = {name: network.log(name).stat().st_size for name in HOSPITALS}
    try:
        network.stop("hub")
        network.start_hub(code=changed_code)
        run = network.submit(consortium.short, "changed")
        assert network.await_end(run, SECONDS) is State.FAILED
    finally:
        network.stop("hub")
        network.start_hub()
    failure = run.run.failure()
    assert failure is not None and failure.number == 502, failure
    for name in HOSPITALS:
        assert b"FEDMVI-502" in network.log(name).read_bytes()[before[name] :]
        assert not lines_of(consortium, name, run)


def test_no_secret_is_on_any_command_line(consortium):
    """Any user of a machine can read the command lines of all its processes."""
    folder = consortium.network.folder
    secrets = [
        *(line.split()[1] for line in consortium.network.passphrases.read_text().splitlines()),
        (folder / "hub" / "state" / "executor.secret").read_bytes().hex(),
    ]
    lines = [Path("/proc", str(pid), "cmdline").read_bytes().decode() for pid in consortium.network.living()]
    assert len(lines) >= 5 + 3 * 3
    assert not [line for line in lines for secret in secrets if secret in line]
    assert not [line for line in lines if "--token" in line]


def test_no_living_process_of_the_deployment_has_flowers_telemetry_on(consortium):
    """While a study is being worked on: the tasks at the hub and at hospitals are there, too."""
    network = consortium.network
    run = network.submit(consortium.short, "watched")
    seen: dict[int, str] = {}
    while (state := run.state) in (State.QUEUED, State.RUNNING):
        seen |= {pid: setting for pid in network.living() if (setting := telemetry(pid))}
        time.sleep(0.02)  # tasks live longer, and must not wait for the core that looks at them
    assert state is State.FINISHED, told(consortium)
    assert len(seen) > 5 + 3 * 3, "there were tasks beside the daemons"
    assert set(seen.values()) == {"0"}


def telemetry(pid: int) -> str:
    """The setting of a process; "" of one that has ended, or of nginx, which writes its title over its environment."""
    try:
        if Path("/proc", str(pid), "cmdline").read_bytes().startswith(b"nginx"):
            return ""
        words = Path("/proc", str(pid), "environ").read_bytes().decode().split("\0")
    except OSError:
        return ""
    return dict(word.partition("=")[::2] for word in words).get("FLWR_TELEMETRY_ENABLED", "absent") if words[0] else ""


def test_status_tells_every_site_and_run_as_json(consortium):
    status = consortium.network.status()
    assert {site["site"] for site in status["sites"]} == {*HOSPITALS, "hospital-d"}
    assert {site["site"]: site["connection"] for site in status["sites"]}["hospital-d"] != "online"
    assert all(status["health"].values())
