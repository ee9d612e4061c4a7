"""simulation: real runs over Flower's simulation runtime; each starts a SuperLink and Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from simulation import engine, runtime

PYPROJECT = """
[project]
name = "trivial"
version = "1.0.0"
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41.0"]

[tool.flwr.app]
publisher = "fedmvi"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["LICENSE", "client/**/*.py", "common/**/*.py", "server/**/*.py"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
run-dir = ""
action = "run"
"""

CLIENT = """
import os
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query("where")
def where(message, context):
    partition = int(context.node_config["partition-id"])
    site = os.environ["FEDMVI_SITES"].split(os.pathsep)[partition]
    with open(os.path.join(site, "name.txt"), encoding="utf-8") as file:
        name = file.read()
    facts = {"partition": partition, "site": site, "name": name, "file": __file__}
    facts["home"] = os.environ["FLWR_HOME"]
    facts["extra"] = os.environ["FEDMVI_TEST_EXTRA"]
    facts["ray_root"] = os.environ["RAY_TMPDIR"]
    facts["niceness"] = os.nice(0)
    return Message(RecordDict({"facts": ConfigRecord(facts)}), reply_to=message)
"""

SERVER = """
import json, os, time
from pathlib import Path
from flwr.app import Message, RecordDict
from flwr.server.superlink.fleet.vce import vce_api
from flwr.serverapp import ServerApp
from common import app as shared

app = ServerApp()

@app.main()
def main(grid, context):
    action = context.run_config["action"]
    if action == "fail":
        raise ValueError("the server app failed on purpose")
    if action == "wait":
        print("waiting for ever", flush=True)
        time.sleep(3600)
    while len(list(grid.get_node_ids())) < 3:
        time.sleep(0.05)
    messages = [
        Message(RecordDict(), dst_node_id=node, message_type="query.where") for node in grid.get_node_ids()
    ]
    replies = list(grid.send_and_receive(messages, timeout=60))
    facts = [dict(reply.content["facts"]) for reply in replies]
    result = {"server_file": __file__, "shared_file": shared.__file__}
    result |= {"engine": vce_api.add_messages_to_queue.__code__.co_filename}
    result |= {"clients": sorted(facts, key=lambda fact: fact["partition"])}
    Path(context.run_config["run-dir"], "result.json").write_text(json.dumps(result), encoding="utf-8")
    print("result written", flush=True)
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for package, source in (("client", CLIENT), ("common", ""), ("server", SERVER)):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("", encoding="utf-8")
        (folder / package / "app.py").write_text(source, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (folder / "LICENSE").write_text("Apache-2.0\n", encoding="utf-8")
    return folder


@pytest.fixture
def sites(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / "sites" / name for name in ("north", "süd", "west coast")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "name.txt").write_text(folder.name, encoding="utf-8")
    return folders


def processes_naming(text: Path) -> list[str]:
    """The living processes that name `text` in their command line or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(text).encode() in words and int(entry.name) != os.getpid():
            found.append(f"{entry.name} {words[:200]!r}")
    return found


def test_a_run_reaches_every_site_with_the_code_of_the_bundle_and_leaves_nothing_behind(
    bundle: Path, sites: list[Path], tmp_path: Path
) -> None:
    workdir, run_dir = tmp_path / "work", tmp_path / 'run "dir" é'
    run_dir.mkdir()
    lines: list[str] = []
    run = runtime.run_on_flower(
        bundle,
        {"run-dir": str(run_dir), "action": "run"},
        sites=sites,
        workdir=workdir,
        environment={"FEDMVI_TEST_EXTRA": "handed over"},
        timeout_s=120.0,
        on_line=lines.append,
    )

    assert run.status == "finished:completed", run.log
    assert 0.0 < run.startup_seconds < run.seconds < 120.0
    assert any("result written" in line for line in lines)
    assert "result written" in run.log
    assert "\x1b" not in run.log

    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    clients = result["clients"]
    assert [client["partition"] for client in clients] == [0, 1, 2]
    assert [client["site"] for client in clients] == [str(site) for site in sites]
    assert [client["name"] for client in clients] == [site.name for site in sites]
    assert {client["extra"] for client in clients} == {"handed over"}

    (home,) = {client["home"] for client in clients}
    assert {client["niceness"] for client in clients} == {os.nice(0)}, "hospitals have the server's share"
    (ray_folder,) = {client["ray_root"] for client in clients}
    assert Path(home).is_relative_to(workdir)
    assert result["engine"] == engine.__file__
    # `client`, `common` and `server` are also names of installed packages: the bundle's must win, on both sides, and
    # although our engine, in whose process the server runs, uses the installed `common`.
    for file in [result["server_file"], result["shared_file"], *(client["file"] for client in clients)]:
        assert Path(file).is_relative_to(Path(home) / "apps")

    for folder in (workdir, Path(ray_folder)):
        assert processes_naming(folder) == []
    assert list(workdir.iterdir()) == []
    assert not Path(ray_folder).exists()


def test_a_server_app_that_raises_gives_a_failed_status_and_its_reason(
    bundle: Path, sites: list[Path], tmp_path: Path
) -> None:
    workdir = tmp_path / "work"
    run = runtime.run_on_flower(bundle, {"action": "fail"}, sites=sites, workdir=workdir, timeout_s=120.0)
    assert run.status == "finished:failed"
    assert "the server app failed on purpose" in run.log
    assert processes_naming(workdir) == []


def test_ctrl_c_stops_everything(bundle: Path, sites: list[Path], tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import signal, sys
        from pathlib import Path
        from simulation.runtime import run_on_flower
        signal.signal(signal.SIGINT, signal.default_int_handler)
        bundle, workdir, *sites = map(Path, sys.argv[1:])
        run_on_flower(bundle, {"action": "wait"}, sites=sites, workdir=workdir,
                      on_line=lambda line: print(line, flush=True))
        """
    )
    workdir = tmp_path / "work"
    command = [sys.executable, "-c", script, str(bundle), str(workdir), *map(str, sites)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(runtime.__file__).parents[1],
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "waiting for ever" in line:
                break
        assert process.poll() is None, "".join(said)
        time.sleep(2.0)  # Ray is starting now
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    assert "KeyboardInterrupt" in rest
    assert processes_naming(workdir) == []
    assert list(workdir.iterdir()) == []


def test_an_app_that_flower_refuses_is_an_error_with_the_reason(
    bundle: Path,
    sites: list[Path],
    tmp_path: Path,
) -> None:
    (bundle / "LICENSE").unlink()
    says_why = r"did not accept the app(.|\n)*fab-include"
    with pytest.raises(runtime.FlowerRuntimeError, match=says_why) as caught:
        runtime.run_on_flower(bundle, {}, sites=sites, workdir=tmp_path / "work", timeout_s=120.0)
    assert "--- SuperLink ---" in caught.value.log
    assert processes_naming(tmp_path / "work") == []


def test_a_run_needs_sites_that_the_environment_can_carry(bundle: Path, tmp_path: Path) -> None:
    for sites in ([], [tmp_path / f"a{os.pathsep}b"]):
        with pytest.raises(runtime.FlowerRuntimeError):
            runtime.run_on_flower(bundle, {}, sites=sites, workdir=tmp_path / "work")
