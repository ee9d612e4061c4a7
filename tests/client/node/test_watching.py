"""client/node: a hospital sees whether its node is connected, from the site's folder alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pytest
from typer.testing import CliRunner

from client.approval.records import write_record
from client.cli import app
from client.cohort.site import Site, load_site
from client.forgetting import forget
from client.node.folder import Health, NodeFolder, NodeState
from client.node.status import status_of
from client.release.ledger import Ledger, ledger_file
from common.deployment.ports import free_port
from common.federation.query import total
from common.statistics.moments import Deviations
from common.study.fingerprint import study_fingerprint
from common.study.recipe import Recipe, Select
from tests.client.enrolled import enrol
from tests.disclosure.consortium import columns, make, names, rows_of, write_site

OPENER = build_opener(ProxyHandler({}))
SECONDS = 60.0


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    write_site(tmp_path / "a", "a", rows_of("a"))
    (tmp_path / "a" / "store").mkdir()
    return load_site(tmp_path / "a")


def ready(site: Site) -> Health:
    health = Health(NodeState.READY, os.getpid(), os.getpid(), ago(900), heard=ago(5), last_message=ago(60))
    NodeFolder(site).tell(health)
    return health


def test_a_node_is_connected_while_it_lives_and_the_hub_answers_it(site: Site) -> None:
    ready(site)
    status = status_of(site)
    assert (status.connected, status.state) == (True, "connected")


def test_what_a_dead_or_silent_node_left_is_not_believed(site: Site) -> None:
    assert status_of(site).state == "never started"
    health, node = ready(site), NodeFolder(site)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    changed = {
        "not running": replace(health, supervisor=ended.pid),
        "running, and the hub has not answered lately": replace(health, heard=ago(60)),
        "running, and the hub does not answer it or refuses it": replace(health, state=NodeState.AWAY),
        "running, not connected yet": replace(health, state=NodeState.STARTING),
        "running, and the hub refuses it. Mend the clock.": replace(
            health, state=NodeState.STARTING, trouble="Mend the clock."
        ),
    }
    for words, left in changed.items():
        node.tell(left)
        assert (status_of(site).connected, status_of(site).state) == (False, words)


def test_how_old_it_is_what_is_known_of_the_hub_is_told(site: Site) -> None:
    NodeFolder(site).tell(replace(ready(site), heard=ago(31)))
    assert 31 <= (status_of(site).heard_seconds or 0) <= 35
    shown = CliRunner().invoke(app, ["status", "--site", str(site.folder)]).output
    assert re.search(r"the hub answered  \S+ \(3[1-5] s ago\)", shown), shown


def test_the_command_says_so_by_its_exit_code_too(site: Site) -> None:
    words = ["status", "--site", str(site.folder)]
    assert CliRunner().invoke(app, words).exit_code == 1
    ready(site)
    enrol(site.folder, "ab" * 32)
    shown = CliRunner().invoke(app, [*words, "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.output)["days_left"] == 365
    assert "connected" in CliRunner().invoke(app, words).output


def test_the_open_runs_are_told_with_their_study_lines_and_last_answer_and_no_others(tmp_path: Path) -> None:
    made = make(tmp_path).open()
    study, known = study_fingerprint(made.study), load_site(made.folders["a"])
    used = names(made.study, "clinical")
    recipe = Recipe((Select(columns(made.study, "clinical")),))
    assert made.number("a", total(Deviations("train", recipe, used, np.zeros(len(used))))) == 0
    lines = list(Ledger(ledger_file(known)).entries())
    (run,) = status_of(known).runs
    assert (run.run, run.study, run.lines, run.last) == (made.ticket.run_id, study[:12], len(lines), lines[-1]["time"])
    write_record(known, made.study, "approved", "Ann", None)
    ready(known)
    shown = " ".join(CliRunner().invoke(app, ["status", "--site", str(known.folder)]).output.split())
    assert f"open run {run.run} of small: {run.lines} line(s), the last {run.last}" in shown
    told = json.loads(CliRunner().invoke(app, ["status", "--site", str(known.folder), "--json"]).output)
    assert told["runs"] == [{"run": run.run, "study": "small", "lines": run.lines, "last": run.last}]
    unapproved = known.model_copy(update={"policy": known.policy.model_copy(update={"approved_studies": ()})})
    assert status_of(unapproved).runs == (), "its questions would be refused"
    forget(known, run.run)
    assert status_of(known).runs == ()
    assert status_of(known).ledger_lines == len(lines), "the ledger forgets nothing"


def test_metrics_are_answered_until_the_command_is_ended(site: Site) -> None:
    ready(site)
    port = free_port()
    program = str(Path(sys.executable).parent / "fedmvi-site")
    words = [program, "metrics", "--site", str(site.folder), "--port", str(port), "--log-format", "json"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            limit, text = time.monotonic() + SECONDS, ""
            while not text and time.monotonic() < limit and process.poll() is None:
                with (
                    contextlib.suppress(OSError),
                    OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer,
                ):
                    text = answer.read().decode()
            assert "fedmvi_node_ready 1.0" in text
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
        lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert {line["part"] for line in lines} == {"metrics"}
