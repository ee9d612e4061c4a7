"""tests/e2e: a whole deployment on the loopback address: SuperLink, proxy and three hospitals as real processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from client.app import SITES_VARIABLE

ROOT = Path(__file__).parents[2]
CONNECTION = "hospitals"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin")
START_SECONDS = 60.0
COMMAND_SECONDS = 300.0
STOP_SECONDS = 5.0


@dataclass
class Deployment:
    """The processes of a deployment, all below one folder; a process is ours if its Flower home lies in there.

    Nodes connect through the shipped reverse proxy where nginx is installed, and directly where it is not.
    """

    folder: Path
    port: int = field(init=False)
    fleet_port: int = field(init=False)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def tls(self) -> Path:
        """Certificates of the coordinator."""
        return self.folder / "tls"

    def environment(self, home: str, **extra: str) -> dict[str, str]:
        """What a process of a party sees: its own Flower home, and no setting of whoever runs the tests."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "FEDMVI_"))}
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        for name in ("no_proxy", "NO_PROXY"):
            inherited[name] = ",".join(filter(None, [inherited.get(name, ""), "127.0.0.1"]))
        (self.folder / home).mkdir(exist_ok=True)
        return inherited | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
            "FLWR_HOME": str(self.folder / home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            **extra,
        }

    def start(self, name: str, *command: str, environment: dict[str, str]) -> None:
        """Start a daemon in a process group of its own; its words go to NAME.log."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=environment["FLWR_HOME"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)

    def coordinator(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment as the coordinator, and wait for it."""
        home = self.environment("coordinator")
        return subprocess.run(
            [str(Path(sys.executable).parent / command[0]), *command[1:]],
            cwd=home["FLWR_HOME"],
            env=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def flower(self, *arguments: str) -> dict:
        """What Flower's command says as JSON."""
        done = self.coordinator("flwr", *arguments, "--format", "json")
        answer = json.loads(done.stdout)
        assert answer["success"], answer
        return answer

    def start_coordinator(self) -> None:
        """Certificates, the SuperLink on the loopback address with TLS and node authentication, the fleet proxy."""
        self.tls.mkdir()
        make_certificates(self.tls)
        self.port = free_port()
        environment = self.environment("coordinator")
        self.start(
            "superlink",
            *("flower-superlink", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--ssl-ca-certfile", str(self.tls / "ca.crt")),
            *("--ssl-certfile", str(self.tls / "server.crt")),
            *("--ssl-keyfile", str(self.tls / "server.key")),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            environment=environment,
        )
        Path(environment["FLWR_HOME"], "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "127.0.0.1:{self.port}"\nroot-certificates = "{self.tls / "ca.crt"}"\n',
            encoding="utf-8",
        )
        self.await_port(self.port)
        self.fleet_port = self._start_proxy() if NGINX else self.port

    def _start_proxy(self) -> int:
        port = free_port()
        text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
        for shipped, here in (("0.0.0.0:9443", f"127.0.0.1:{port}"), ("127.0.0.1:8000", f"127.0.0.1:{self.port}")):
            assert shipped in text
            text = text.replace(shipped, here)
        config = self.folder / "nginx.conf"
        config.write_text(text, encoding="utf-8")
        command = (NGINX or "nginx", "-p", str(self.folder), "-e", "stderr", "-c", str(config), "-g", "daemon off;")
        self.start("nginx", *command, environment=self.environment("coordinator"))
        self.await_port(port)
        return port

    def start_site(self, name: str, site: Path) -> None:
        """Draw the node's key, let the coordinator register it under `name`, and start the hospital's daemon."""
        key = ec.generate_private_key(ec.SECP384R1())
        private, public = self.folder / f"{name}.key", self.folder / f"{name}.pub"
        openssh = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        private.write_bytes(key.private_bytes(*openssh))
        public.write_bytes(
            key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        )
        self.flower("supernode", "register", str(public), CONNECTION, "--name", name)
        self.start(
            name,
            *("flower-supernode", "--superlink", f"127.0.0.1:{self.fleet_port}"),
            *("--root-certificates", str(self.tls / "ca.crt")),
            *("--auth-supernode-private-key", str(private)),
            *("--host", "127.0.0.1", "--port", str(free_port())),
            environment=self.environment(f"node-{name}", **{SITES_VARIABLE: str(site)}),
        )

    def await_port(self, port: int) -> None:
        """Wait until the daemon started last listens."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit and self.started[-1].poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.1)
        raise AssertionError(f"nobody listens on {port}:\n{self.logs()}")

    def logs(self) -> str:
        """The last words of every daemon."""
        tails = {log.stem: log.read_text(encoding="utf-8", errors="replace") for log in self.folder.glob("*.log")}
        return "\n".join(f"--- {name} ---\n{text[-3000:]}" for name, text in sorted(tails.items()))

    def living(self) -> set[int]:
        """Processes of this deployment: those in the groups started here, and helpers with a Flower home of ours."""
        marker = f"FLWR_HOME={self.folder}{os.sep}".encode()
        groups = {process.pid for process in self.started}
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # After the command's name in brackets: state, parent, process group.
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                words = (entry / "environ").read_bytes().split(b"\0")
                if state != "Z" and (int(group) in groups or any(word.startswith(marker) for word in words)):
                    found.add(int(entry.name))
        return found

    def stop(self) -> None:
        """End every process of this deployment and nothing else."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self.living():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            limit = time.monotonic() + STOP_SECONDS
            while self.living() and time.monotonic() < limit:
                time.sleep(0.1)
        for process in self.started:
            process.wait(STOP_SECONDS)
        assert not self.living()


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificates(folder: Path) -> None:
    """A certification authority and a server certificate for the loopback address: ca.crt, server.crt, server.key."""
    authority, server = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test consortium")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        return builder.sign(authority, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)

    basic = x509.BasicConstraints(ca=True, path_length=0)
    (folder / "ca.crt").write_bytes(certificate(issuer, authority, basic))
    (folder / "server.crt").write_bytes(certificate(subject, server, names))
    (folder / "server.key").write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A coordinator without sites; whatever was started has ended afterwards."""
    deployment = Deployment(tmp_path_factory.mktemp("deployment"))
    try:
        deployment.start_coordinator()
        yield deployment
    finally:
        deployment.stop()
