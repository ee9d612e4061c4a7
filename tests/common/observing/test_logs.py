"""common/observing: the daemon's log tells the number and the public facts, and keeps the rest on the machine."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATIENT = "Kanarienvogel-7"

HEAD = """
import logging, os, sys, warnings
from pathlib import Path
from common.errors import FedmviError
from common.observing.context import bound
from common.observing.logs import LogFormat, configure
log = logging.getLogger("fedmvi.site")
style, file, reads = LogFormat(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "yes"
configure(style, file, part="executor", site="hospital-a", reads_patients=reads)
"""


@dataclass
class Logged:
    """What a process wrote: the daemon's log and the local one."""

    shown: str
    local: str
    file: Path

    @property
    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.shown.splitlines()]


def run(tmp_path: Path, body: str, *, style: str = "json", reads_patients: bool = False, code: int = 0) -> Logged:
    file = tmp_path / "store" / "log" / "local.log"
    words = [sys.executable, "-c", HEAD + body, style, str(file), "yes" if reads_patients else "no"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return Logged(done.stderr, file.read_text(encoding="utf-8"), file)


REFUSAL = f"""
with bound(study="abc", run="r1", round_number=3):
    try:
        raise FedmviError(305, "patients.csv, row 3: {PATIENT}", variable="afp")
    except FedmviError as error:
        log.error("%s", error)
log.info("after")
"""


def test_an_error_is_logged_by_number_and_facts_with_what_it_is_about(tmp_path: Path) -> None:
    logged = run(tmp_path, REFUSAL)
    first, refused, after = logged.lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", refused["time"])
    about = {name: refused[name] for name in ("level", "part", "site", "study", "run", "round", "error")}
    assert about == {
        "level": "ERROR", "part": "executor", "site": "hospital-a", "study": "abc", "run": "r1",
        "round": 3, "error": "FEDMVI-305",
    }  # fmt: skip
    assert refused["facts"] == {"variable": "afp"}
    assert str(logged.file) in first["message"]
    assert "study" not in after


@pytest.mark.parametrize("style", ["text", "json"])
def test_the_detail_of_an_error_is_found_in_the_local_log_by_its_key_and_nowhere_else(
    tmp_path: Path, style: str
) -> None:
    logged = run(tmp_path, REFUSAL, style=style)
    assert PATIENT not in logged.shown
    (key,) = set(re.findall(r"details[=\": ]+([0-9a-f]{8})", logged.shown))
    (line,) = [line for line in logged.local.splitlines() if PATIENT in line]
    assert line.startswith(key)


def test_an_exception_is_shown_by_type_and_place_and_its_traceback_stays(tmp_path: Path) -> None:
    body = f"""
try:
    int("{PATIENT}")
except ValueError:
    log.exception("unforeseen error")
"""
    logged = run(tmp_path, body)
    assert "unforeseen error: ValueError at <string>:" in logged.lines[1]["message"]
    assert PATIENT not in logged.shown
    assert f"invalid literal for int() with base 10: '{PATIENT}'" in logged.local


LOOSE = f"""
logging.getLogger("pydicom").warning("Invalid value for VR UI: {PATIENT}")
logging.getLogger("flwr").error("ClientApp raised an exception: %s", "{PATIENT}")
warnings.warn("{PATIENT} is odd")
print("{PATIENT}")
os.system("echo {PATIENT} from a child >&2")
raise ValueError("{PATIENT}")
"""


def test_whatever_a_process_that_reads_patients_prints_stays_in_the_local_log(tmp_path: Path) -> None:
    logged = run(tmp_path, LOOSE, reads_patients=True, code=1)
    assert PATIENT not in logged.shown
    assert logged.local.count(PATIENT) >= 6
    told = [(line["logger"], line["level"]) for line in logged.lines[1:]]
    assert told == [("pydicom", "WARNING"), ("flwr", "ERROR"), ("py.warnings", "WARNING"), ("fedmvi", "CRITICAL")]


def test_flower_and_uvicorn_write_our_lines_also_after_they_set_up_their_own(tmp_path: Path) -> None:
    body = """
import logging.config
from flwr.supercore.logger import log as flower
from flwr.supercore.http_logging import get_uvicorn_log_config
logging.config.dictConfig(get_uvicorn_log_config(logging.INFO))
flower(logging.INFO, "Starting Flower SuperNode")
flower(logging.INFO, "")
flower(logging.DEBUG, "too much")
logging.getLogger("alembic.runtime").info("setup plugin")
logging.getLogger("uvicorn.error").info("Started server process")
logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "127.0.0.1", "POST", "/x", "1.1", 200)
"""
    logged = run(tmp_path, body)
    assert [line["message"] for line in logged.lines[1:]] == ["Starting Flower SuperNode", "Started server process"]


def test_no_message_breaks_a_line_or_commands_a_terminal(tmp_path: Path) -> None:
    logged = run(tmp_path, 'log.warning("refused: %s", "a\\nFORGED line\\x1b[2J\\u2028b" + "x" * 5000)', style="text")
    lines = logged.shown.splitlines()
    assert len(lines) == 2
    assert "refused: a FORGED line?[2J b" in lines[1]
    assert lines[1].isprintable()
    assert len(lines[1]) < 2200


def test_the_local_log_is_its_owners_alone_and_does_not_grow_without_end(tmp_path: Path) -> None:
    body = """
from common.observing import local_file
local_file.MOST_BYTES = 20_000
for i in range(400):
    log.error("%s", FedmviError(305, f"row {i} " + "x" * 200, variable="afp"))
"""
    logged = run(tmp_path, body, style="text")
    earlier = logged.file.with_name("local.log.1")
    for path in (logged.file, earlier):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_size < 21_000
    assert stat.S_IMODE(logged.file.parent.stat().st_mode) == 0o700
    assert "row 399" in logged.local


def test_a_daemon_outlives_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    body = """
os.close(2)
import shutil
shutil.rmtree(Path(sys.argv[2]).parent)
Path(sys.argv[2]).parent.write_text("a file where the folder was")
log.error("%s", FedmviError(305, "detail", variable="afp"))
Path(sys.argv[2]).parent.unlink()
log.error("%s", FedmviError(305, "later detail", variable="afp"))
"""
    logged = run(tmp_path, body)
    assert "later detail" in logged.local
    assert [line.get("error") for line in logged.lines] == [None, "FEDMVI-305", "FEDMVI-305"]


def test_a_local_log_that_cannot_be_made_is_an_error_with_a_number(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    words = [sys.executable, "-c", HEAD, "json", str(tmp_path / "store" / "log" / "local.log"), "no"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "FEDMVI-825" in done.stderr
