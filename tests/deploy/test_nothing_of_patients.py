"""deploy: a whole study, and everything that can go wrong in it, leaves nothing of any patient in logs and metrics."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLANTED_AGE = "61.71828183"
PLANTED_AFP = "8271.4142136"
"""Values of one patient at each site, and of nobody else."""

SCRIPT = f"""
import csv, logging, sys, warnings
from pathlib import Path
from common.errors import FedmviError
from common.observing.context import bound
from common.observing.logs import LogFormat, configure
style, folder = LogFormat(sys.argv[1]), Path(sys.argv[2])
configure(style, folder / "local.log", part="executor", site="all", reads_patients=True)

from client.answering import answer_message
from client.cohort.site import load_site
from client.node.metrics import SiteMetrics
from client.preparation.prepare import prepare
from common.observing.metrics import Measure
from common.statistics.moments import Deviations
from common.study.loader import parse_study
from server.study.execution import Action, execute
from server.study.run_directory import RunDirectory
from tests.client.test_canary import CANARY, Recorder, plant
from tests.disclosure.consortium import SITES, STUDY

folders = {{site: folder / "sites" / site for site in SITES}}
for site, path in folders.items():
    plant(path, site)
    table = path / f"{{CANARY}}-export.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[11][f"{{CANARY}}-age"], rows[12][f"{{CANARY}}-afp"] = "{PLANTED_AGE}", "{PLANTED_AFP}"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    prepare(load_site(path), parse_study(STUDY))
(folder / "study.toml").write_text(STUDY)

run = RunDirectory.create(folder / "hub" / "whole", folder / "study.toml")
with bound(run="whole"):
    execute(run, Recorder(folders), Action.RUN, lambda step: None)
assert run.results_file.exists()

def fails(*_):
    warnings.warn(f"{{CANARY}} has {PLANTED_AGE}")
    logging.getLogger("pyarrow").error("{PLANTED_AFP} is not a number of %s", CANARY)
    print(CANARY, "{PLANTED_AGE}", file=sys.stderr)
    raise ValueError(f"{{CANARY}}: {PLANTED_AFP}")

def errs(*_):
    raise FedmviError(305, f"{{CANARY}}, row 11: {PLANTED_AGE}", variable="age")

for number, way in enumerate((fails, errs)):
    Deviations.answer = way
    run = RunDirectory.create(folder / "hub" / f"failed{{number}}", folder / "study.toml")
    try:
        execute(run, Recorder(folders), Action.RUN, lambda step: None)
    except FedmviError as error:
        logging.getLogger("fedmvi.hub").error("%s", error)
(folders["b"] / "site.toml").write_text(f"[{{CANARY}}]\\n{{CANARY}} = {PLANTED_AGE}")
try:
    execute(RunDirectory.create(folder / "hub" / "broken", folder / "study.toml"), Recorder(folders), Action.RUN, print)
except FedmviError as error:
    logging.getLogger("fedmvi.hub").error("%s", error)

with (folder / "metrics.txt").open("w") as file:
    for measure in SiteMetrics(load_site(folders["a"]))():
        file.write(repr(measure) + "\\n")
raise ValueError(f"{{CANARY}} at the very end: {PLANTED_AFP}")
"""


@dataclass(frozen=True)
class Left:
    """What a deployment leaves: the daemon's log, the local one, metrics, and the hub's files."""

    log: str
    folder: Path

    def public(self) -> Iterator[tuple[str, bytes]]:
        yield "the daemon's log", self.log.encode()
        yield "metrics", (self.folder / "metrics.txt").read_bytes()
        for path in (self.folder / "hub").rglob("*"):
            yield str(path), str(path).encode() + (path.read_bytes() if path.is_file() else b"")


@pytest.fixture(scope="module", params=["json", "text"])
def left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("planted")
    words = [sys.executable, "-c", SCRIPT, request.param, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    local = (folder / "local.log").read_text(encoding="utf-8")
    assert done.returncode == 1, local[-3000:]
    assert "at the very end" in local, local[-3000:]
    assert done.stdout == ""
    return Left(done.stderr, folder)


def secrets(folder: Path) -> list[bytes]:
    """Every identifier and planted value, as text and as the bytes of a number."""
    words = ["Kanarienvogel", "kanarienvogel", "anarienvo", PLANTED_AGE, PLANTED_AFP, PLANTED_AGE[:8], PLANTED_AFP[:8]]
    numbers = [struct.pack(order + "d", float(word)) for word in (PLANTED_AGE, PLANTED_AFP) for order in "<>"]
    return [word.encode() for word in words] + numbers


def test_nothing_of_a_patient_is_in_any_log_line_metric_or_file_of_the_hub(left: Left) -> None:
    planted = secrets(left.folder)
    assert any(word in (left.folder / "local.log").read_bytes() for word in planted[:2]), "or nothing is shown"
    for name, content in left.public():
        assert [word for word in planted if word in content] == [], name


def test_the_metrics_count_the_refusals_of_the_study_by_number(left: Left) -> None:
    refusals = next(line for line in (left.folder / "metrics.txt").read_text().splitlines() if "'refusals'" in line)
    assert "('305',)" in refusals


def test_the_log_still_tells_what_happened_by_number_and_study(left: Left) -> None:
    assert left.log.count("FEDMVI-305") >= 1
    assert "the process ends by an error: ValueError" in left.log
    assert "details" in left.log
    if left.log.startswith("{"):
        entries = [json.loads(line) for line in left.log.splitlines()]
        assert {entry["site"] for entry in entries} == {"all"}
        assert {"ERROR", "CRITICAL"} <= {entry["level"] for entry in entries}
