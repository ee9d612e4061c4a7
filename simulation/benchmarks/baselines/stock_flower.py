"""simulation: benchmarks: Flower's own deployment with the bare app, as Flower's documentation sets one up.

Stock SuperLink and SuperNodes with TLS and node authentication; each starts a process for every message (subprocess
isolation, the default). The SuperLink keeps its state in a database on disk, as every deployment must that is to know
its nodes after a restart. Nothing of FedMVI runs in it.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.deployment.ports import free_port
from common.errors import FedmviError
from simulation.benchmarks.baselines import bare_flower
from simulation.network.daemons import Daemons, await_port
from simulation.processes import executable

CONNECTION = "bare"
_COMMAND_SECONDS = 120.0
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Keys:
    """What the deployment is made of: the hub's certificates, and the key pair (private, public) of every node."""

    ca: Path
    certificate: Path
    key: Path
    nodes: Mapping[str, tuple[Path, Path]]


@dataclass
class StockFlower:
    """A running stock deployment."""

    folder: Path
    keys: Keys
    daemons: Daemons
    port: int
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    link: subprocess.Popen[bytes] | None = None

    def submit(self, rounds: int) -> Path:
        """Start the bare app; the seconds of each round are appended to the file that is returned."""
        out = self.folder / f"rounds-{time.time_ns()}.txt"
        out.touch()
        app = stage_bare_app(self.folder / f"app-{out.stem}")
        config = f'rounds={rounds} nodes={len(self.nodes)} out="{out}"'
        self._flwr("run", str(app), CONNECTION, "--run-config", config)
        return out

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(  # noqa: S603 - our own environment's command, no shell
            [executable("flwr"), *arguments, "--format", "json"], env=self.daemons.environment("hub"),
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMMAND_SECONDS,
            check=False,
        )  # fmt: skip
        try:
            answer: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout, done.stdout.index("{"))[0]
        except ValueError as error:
            raise FedmviError(819, f"`flwr {arguments[0]}`: {done.stdout}{done.stderr}", part="flwr") from error
        if answer.get("success") is not True:
            raise FedmviError(819, f"`flwr {arguments[0]}`: {answer}", part="flwr")
        return answer

    def start_link(self) -> None:
        """The SuperLink, then the registration of every node."""
        environment = self.daemons.environment("hub")
        tls = ("--ssl-ca-certfile", str(self.keys.ca), "--ssl-certfile", str(self.keys.certificate))
        self.link = self.daemons.start(
            "superlink",
            [
                *(executable("flower-superlink"), "--host", "127.0.0.1", "--port", str(self.port)),
                *(*tls, "--ssl-keyfile", str(self.keys.key), "--enable-supernode-auth"),
                *("--database", str(self.folder / "superlink.db"), "--disable-runtime-dependency-installation"),
            ],
            environment,
        )
        Path(environment["FLWR_HOME"], "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "127.0.0.1:{self.port}"\n'
            f"root-certificates = {json.dumps(str(self.keys.ca))}\n",
            encoding="utf-8",
        )
        await_port(self.port, self.link, _START_SECONDS, self.daemons.log("superlink"))
        for name, (_, public) in self.keys.nodes.items():
            self._flwr("supernode", "register", str(public), CONNECTION, "--name", name)

    def start_node(self, name: str, port: int) -> None:
        """A stock SuperNode that reaches its SuperLink at a port of this machine."""
        private, _ = self.keys.nodes[name]
        self.nodes[name] = self.daemons.start(
            f"node-{name}",
            [
                *(executable("flower-supernode"), "--superlink", f"127.0.0.1:{port}"),
                *("--root-certificates", str(self.keys.ca), "--auth-supernode-private-key", str(private)),
                *("--host", "127.0.0.1", "--port", str(free_port())),
            ],
            self.daemons.environment(f"node-{name}"),
        )


@contextmanager
def stock_flower(folder: Path, keys: Keys) -> Iterator[StockFlower]:
    """A stock SuperLink that knows all nodes; nodes are started by the caller. All has ended afterwards.

    Raises
    ------
    FedmviError
        819 a part did not start.
    """
    with Daemons(folder) as daemons:
        deployment = StockFlower(folder, keys, daemons, free_port())
        deployment.start_link()
        yield deployment


def stage_bare_app(target: Path) -> Path:
    """The bare app as a Flower app in a new folder."""
    package = target / "bare_flower"
    package.mkdir(parents=True)
    source = Path(str(bare_flower.__file__)).parent
    for name in ("__init__.py", "client_app.py", "server_app.py"):
        shutil.copyfile(source / name, package / name)
    flower = importlib.metadata.version("flwr")
    (target / "LICENSE").write_text("SPDX-License-Identifier: Apache-2.0\n", encoding="utf-8")
    (target / "pyproject.toml").write_text(
        f"""\
[project]
name = "bare-flower"
version = "1.0.0"
description = "Empty messages and empty replies"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>={flower}"]

[tool.flwr.app]
publisher = "fedmvi"
fab-format-version = 1
flwr-version-target = "{flower}"
fab-include = ["LICENSE", "bare_flower/*.py"]

[tool.flwr.app.components]
serverapp = "bare_flower.server_app:app"
clientapp = "bare_flower.client_app:app"

[tool.flwr.app.config]
rounds = 1
nodes = 1
out = ""
""",
        encoding="utf-8",
    )
    return target
