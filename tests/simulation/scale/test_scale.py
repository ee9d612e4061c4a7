"""simulation/scale: what many hospitals cost is counted by the kernel, of the server's processes and no others."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner

from common.deployment.ports import free_port
from common.errors import FedmviError
from common.study.loader import parse_study
from server.study.execution import Action
from server.study.run_directory import RunDirectory
from simulation.cli import app
from simulation.engine import MODULE
from simulation.processes import executable, short_temporary_folder, signal_groups
from simulation.running import Simulation
from simulation.scale import measuring
from simulation.scale.hospitals import make_sites, site_names, study_text
from simulation.scale.kinds import Kind
from simulation.scale.measuring import Cost, report
from simulation.scale.memory import watching
from simulation.scale.space import PER_HOSPITAL_MIB, megabytes_in

HOLDS = "import sys, time; held = bytearray({mib} * 2**20); print('ready', flush=True); sys.stdin.read()"


def process(folder: Path, name: str, mib: int, home: Path) -> subprocess.Popen[bytes]:
    """A program of that name that holds so much memory until its input ends."""
    program = folder / name
    program.write_text(HOLDS.format(mib=mib), encoding="utf-8")
    started = subprocess.Popen(
        [sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "FLWR_HOME": str(home)},
    )
    assert started.stdout is not None and started.stdout.readline() == b"ready\n"
    return started


def test_the_servers_processes_of_one_run_are_counted_and_no_others(tmp_path: Path) -> None:
    for name in ("ours", "others"):
        (tmp_path / name / "home").mkdir(parents=True)
    mine, theirs = tmp_path / "ours" / "home", tmp_path / "others" / "home"
    started = []
    try:
        with watching(tmp_path / "ours") as seen:
            started = [
                process(tmp_path, "flower-superlink", 150, mine),
                process(tmp_path / "ours", MODULE, 100, mine),
                process(tmp_path / "ours", "flwr", 300, mine),
                process(tmp_path / "others", MODULE, 300, theirs),
            ]
            limit = time.monotonic() + 20
            while len(seen.peak_kib) < 2 and time.monotonic() < limit:
                time.sleep(0.1)
        assert sorted(seen.names.values()) == ["flower-superlink", MODULE]
        assert 250 < seen.peak_mib < 330  # and what Python itself holds
        assert set(seen.seconds) == {started[0].pid, started[1].pid}
    finally:
        for one in started:
            one.communicate()


@pytest.mark.parametrize("kind", list(Kind))
def test_the_protocols_hold_for_any_number_of_hospitals(kind: Kind) -> None:
    study = parse_study(study_text(kind, 300))
    assert study.sites() == site_names(300)


@pytest.mark.parametrize("text", ["", "10,5", "2,10", "10,10", "ten", "10,4000"])
def test_numbers_of_hospitals_that_make_no_sense_are_refused(text: str) -> None:
    found = CliRunner().invoke(app, ["scale", "--sites", text])
    assert found.exit_code == 2
    assert "--sites" in found.output


FEW = Cost("statistics", 10, 60.0, 20, 220, 10**6, 10**6, 500.0, 11.0, 22.0, 3.0, 5.0, 10.0)


@pytest.mark.parametrize("stop", [FedmviError(803, "the log"), KeyboardInterrupt()])
def test_what_was_measured_before_a_failure_is_printed_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop: BaseException
) -> None:
    """Hours may lie before it."""

    def measured(kind: Kind, count: int, folder: Path, *_: object) -> Cost:
        if count == 1000:
            RunDirectory(folder / "run").folder.mkdir()
            RunDirectory(folder / "run").log_file.write_text("why it failed")
            raise stop
        return replace(FEW, sites=count, sites_cpu_seconds=0.0)

    monkeypatch.setattr(measuring, "_one", measured)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    rows = tmp_path / "rows"
    command = ["scale", "--sites", "10,100,1000", "--study", "statistics", "--rows", str(rows)]
    found = CliRunner().invoke(app, [*command, "--json"])
    assert found.exit_code != 0
    told = json.loads(found.stdout)
    assert [cost["sites"] for cost in told["costs"]] == [10, 100] and not told["complete"]
    assert [json.loads(line)["sites"] for line in rows.read_text().splitlines()] == [10, 100]
    table = CliRunner().invoke(app, command).stdout
    # A terminal that knows no lines shows bars in their place.
    shown = [re.split("[│|]", line) for line in table.splitlines() if re.search("[│|] statistics", line)]
    assert [row[2].strip() for row in shown] == ["10", "100"], table
    assert [row[11].strip() for row in shown] == ["-", "-"]
    logs = [path.read_text() for path in tmp_path.glob("fedmvi-scale-*.log")]
    assert logs == (["why it failed"] * 2 if isinstance(stop, FedmviError) else [])


def test_hospitals_for_which_there_is_no_room_are_refused_before_anything_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("simulation.scale.space.shutil.disk_usage", lambda _: usage._replace(free=2**30))
    monkeypatch.setattr(measuring, "_one", lambda *_: pytest.fail("it began"))
    found = CliRunner().invoke(app, ["scale", "--sites", "10,1000", "--study", "statistics"])
    assert isinstance(found.exception, FedmviError) and found.exception.number == 830
    assert found.exception.facts["sites"] == 1000 and found.exception.facts["free"] == 1024


def test_a_report_names_the_machine_and_versions() -> None:
    told = report([FEW])
    assert told["versions"].keys() >= {"fedmvi", "flwr", "ray", "python"}
    assert told["machine"]["memory_mib"] > 500 and told["machine"]["load"] >= 0.0 and told["machine"]["cores"]


@contextmanager
def ray_cluster(folder: Path) -> Iterator[str]:
    """The address of a Ray cluster on loopback with two processors, which ends with the block."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        executable("ray"), "start", "--head", "--block", "--node-ip-address", "127.0.0.1",
        "--port", address.partition(":")[2], "--num-cpus", "2", "--object-store-memory", str(10**8),
        "--ray-client-server-port", str(free_port()), "--dashboard-agent-listen-port", str(free_port()),
        "--include-dashboard", "false", "--disable-usage-stats", "--temp-dir", str(folder),
    ]  # fmt: skip
    with (folder / "start.log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        limit = time.monotonic() + 120
        while b"--block" not in (said := (folder / "start.log").read_bytes()):
            assert started.poll() is None and time.monotonic() < limit, said.decode()
            time.sleep(0.2)
        yield address
    finally:
        started.terminate()  # it ends what it started
        try:
            started.wait(20)
        finally:
            signal_groups({started.pid}, signal.SIGKILL)


def test_a_study_runs_on_a_ray_cluster_by_its_address_and_says_what_it_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of simulated runs have a Ray of their own."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with TemporaryDirectory(prefix="ray-", dir=short_temporary_folder()) as name, ray_cluster(Path(name)) as address:
        command = ["scale", "--sites", "3", "--study", "statistics", "--ray-address", address, "--json"]
        found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    [cost] = json.loads(found.stdout)["costs"]
    assert cost["sites"] == 3 and cost["messages"] == 3 * cost["rounds"] > 30
    assert 100 < cost["server_peak_mib"] < 5000
    assert cost["bytes_from_sites"] > cost["bytes_to_sites"] > 0
    assert cost["sites_cpu_seconds"] == 0.0, "processes of the cluster answered, and none of the run's"
    assert cost["site_ms_a_message"] is None
    assert 0.0 < cost["serverapp_ms_a_message"] < cost["server_ms_a_message"]
    assert 0.5 < cost["disk_mib"] < 3 * sum(PER_HOSPITAL_MIB[Kind.STATISTICS]) + 10


def test_the_largest_number_of_hospitals_is_compared_with_the_smallest() -> None:
    many = replace(FEW, sites=100, messages=2200, server_peak_mib=550.0, server_cpu_seconds=55.0)
    found = report([FEW, many])
    assert found["memory_ratio"] == {"statistics": pytest.approx(1.1)}
    assert found["work_ratio"] == {"statistics": pytest.approx(0.5)}
    assert found["server_peak_mib"] == {"statistics": {"10": 500.0, "100": 550.0}}


def test_the_network_is_trained_and_scored_over_hospitals_of_noise(tmp_path: Path) -> None:
    """By the ordinary way of a run in one process, through gate, ledger and masks."""
    study_file = make_sites(Kind.NETWORK, 3, tmp_path / "h")
    simulation = Simulation.of(study_file, tmp_path / "h" / "sites", tmp_path / "run", in_process=True)
    simulation.conduct(Action.RUN, lambda _: None)
    results = json.loads(simulation.run.results_file.read_text())["results"]
    [trained] = [result for result in results if result["statistic"] == "network-training"]
    assert trained["status"] == "estimated", trained
    assert simulation.run.facts()["messages"] > 3 * 5
    for site in simulation.sites.values():
        assert megabytes_in(site.folder) < sum(PER_HOSPITAL_MIB[Kind.NETWORK])
