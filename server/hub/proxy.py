"""server/hub: the reverse proxy before the SuperLink: nginx, with a configuration that is written at each start."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from string import Template

from common.deployment.versions import installed_versions
from common.errors import FedmviError
from common.files import write_whole
from server.hub.folder import Hub

_PLACES = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/usr/local/bin:/bin"


def find_nginx() -> str:
    """The path of nginx; error 747 if it is not installed. Daemons often have no `sbin` on their PATH."""
    found = shutil.which("nginx") or shutil.which("nginx", path=_PLACES)
    if found is None:
        raise FedmviError(747)
    return found


def listens_on(host: str) -> str:
    """The address that the proxy listens on: all of the machine's, but a hub on the loopback address stays there."""
    loopback = host == "localhost" or host.startswith("127.")
    return "127.0.0.1" if loopback else "0.0.0.0"  # noqa: S104 - hospitals come in from outside, by this door alone


def render(hub: Hub, versions: str) -> str:
    """The configuration of nginx for a hub, which tells sites these versions of what it runs."""
    template = Template(files("server.hub").joinpath("nginx.conf").read_text(encoding="utf-8"))
    return template.substitute(
        listen=listens_on(hub.host),
        port=hub.port,
        superlink_port=hub.superlink_port,
        tls=_quoted(hub.tls),
        state=_quoted(hub.state),
        versions=versions,
    )


def write_configuration(hub: Hub) -> None:
    """Write the configuration into the hub's state; error 748 if nginx finds fault with it or with the certificates."""
    write_whole(hub.state / "nginx.conf", render(hub, installed_versions().header()).encode())
    done = subprocess.run([*command(hub), "-t"], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise FedmviError(748, done.stderr.strip(), part="proxy")


def command(hub: Hub) -> list[str]:
    """What starts nginx in the foreground."""
    return [find_nginx(), "-p", str(hub.state), "-e", "stderr", "-c", str(hub.state / "nginx.conf")]


def _quoted(path: Path) -> str:
    """A path as it stands between quotes in nginx's language, where a `$` would be a variable."""
    text = str(path)
    if "$" in text or "\n" in text:
        raise FedmviError(748, f"{text}: nginx cannot name this folder", part="proxy")
    return text.replace("\\", "\\\\").replace('"', '\\"')
