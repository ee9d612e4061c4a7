"""simulation/chaos: what only root may disturb: a site's own network, small disks, all of it invisible elsewhere.

The process moves into mount and network namespaces of its own. Whatever is mounted or cut ends with its last process,
however that ends; nobody else on the machine sees any of it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import FedmviError

_NEW_MOUNTS, _NEW_NETWORK = 0x00020000, 0x40000000
_SEARCHED = "/usr/sbin:/usr/local/sbin:/sbin:/usr/bin:/bin"
_HERE, _THERE = "10.213.0.1", "10.213.0.2"
_NAMESPACE, _LINK, _FAR_LINK = "far", "to-far", "to-hub"
_FILLER = ".filler"
_CHUNKS = (1 << 20, 1 << 12, 1)

SLOW = {
    "netem": ("delay", "300ms", "100ms", "loss", "3%"),
    "tbf": ("rate", "64kbit", "burst", "3000", "limit", "60000"),
}
"""How a link is made slow: late and lossy packets (`tc-netem`), or, where the kernel has none, 8 kB a second
(`tc-tbf`), which delays too: a large answer waits behind itself, and what does not fit the queue is lost."""


def tool(name: str) -> str | None:
    """The path of a command of the system, which need not be on a person's PATH."""
    return shutil.which(name, path=_SEARCHED)


def missing() -> str:
    """Why networks cannot be cut and disks not filled here, or ""."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    absent = [name for name in ("ip", "tc", "mount", "umount", "unshare") if tool(name) is None]
    return f"needs {', '.join(absent)}" if absent else ""


def cannot_slow() -> str:
    """Why links cannot be made slow here, or ""."""
    if why := missing():
        return why
    return "" if slowed_by() else f"the kernel has no {' and no '.join(SLOW)}"


@cache
def slowed_by() -> str:
    """By which of `SLOW` links are made slow here: the first one that the kernel has, tried on a network of its own."""
    for discipline, parameters in SLOW.items():
        shell = [tool("unshare") or "unshare", "--net", tool("tc") or "tc", "qdisc", "add", "dev", "lo", "root"]
        done = subprocess.run([*shell, discipline, *parameters], capture_output=True, check=False)  # noqa: S603 - no shell
        if done.returncode == 0:
            return discipline
    return ""


def system(*command: str) -> None:
    """Run a command of the system; error 824 unless it ends well."""
    path = tool(command[0])
    if path is None:
        raise FedmviError(824, "it is not installed", command=command[0])
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    if done.returncode:
        raise FedmviError(824, f"{' '.join(command)}: {done.stderr}", command=command[0])


def enter() -> None:
    """Move this process and its later children into namespaces of their own.

    Raises
    ------
    FedmviError
        824 the kernel refuses, as it does in some containers.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_NEW_MOUNTS | _NEW_NETWORK):
        raise FedmviError(824, os.strerror(ctypes.get_errno()), command="unshare")
    system("mount", "--make-rprivate", "/")
    system("ip", "link", "set", "lo", "up")


class FarSite:
    """A site behind a link of its own, in this process's namespaces: `prefix` starts a command there.

    Attributes
    ----------
    host
        The hub's address as the site reaches it.
    """

    host = _HERE
    prefix = (tool("ip") or "ip", "netns", "exec", _NAMESPACE)

    def __init__(self) -> None:
        Path("/run/netns").mkdir(exist_ok=True)
        system("mount", "-t", "tmpfs", "none", "/run/netns")
        system("ip", "netns", "add", _NAMESPACE)
        system("ip", "link", "add", _LINK, "type", "veth", "peer", "name", _FAR_LINK, "netns", _NAMESPACE)
        system("ip", "address", "add", f"{_HERE}/30", "dev", _LINK)
        system("ip", "link", "set", _LINK, "up")
        system("ip", "-n", _NAMESPACE, "address", "add", f"{_THERE}/30", "dev", _FAR_LINK)
        system("ip", "-n", _NAMESPACE, "link", "set", _FAR_LINK, "up")
        system("ip", "-n", _NAMESPACE, "link", "set", "lo", "up")

    def cut(self) -> None:
        """From now on no packet reaches the site, and nobody is told."""
        system("ip", "route", "add", "blackhole", f"{_THERE}/32")

    def join(self) -> None:
        """The end of a cut."""
        system("ip", "route", "delete", "blackhole", f"{_THERE}/32")

    def slow(self) -> None:
        """Make both directions slow, by what `slowed_by` says."""
        discipline = slowed_by()
        how = ("root", discipline, *SLOW[discipline])
        system("tc", "qdisc", "replace", "dev", _LINK, *how)
        system("ip", "netns", "exec", _NAMESPACE, tool("tc") or "tc", "qdisc", "replace", "dev", _FAR_LINK, *how)

    def hasten(self) -> None:
        """The end of a slow link."""
        system("tc", "qdisc", "delete", "dev", _LINK, "root")
        system("ip", "netns", "exec", _NAMESPACE, tool("tc") or "tc", "qdisc", "delete", "dev", _FAR_LINK, "root")


class SmallDisk:
    """A folder moved to a disk of its own, so small that it can be filled."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.folder = folder
        with TemporaryDirectory(prefix="moved-", dir=folder.parent) as aside:
            kept = Path(aside, folder.name)
            shutil.copytree(folder, kept, symlinks=True)
            mode = f"mode={folder.stat().st_mode & 0o777:o}"
            system("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,{mode}", "none", str(folder))
            shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)

    def fill(self) -> None:
        """Leave not a byte."""
        handle = os.open(self.folder / _FILLER, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for size in _CHUNKS:
                while _written(handle, size):
                    pass
        finally:
            os.close(handle)

    def free(self) -> None:
        """Give the room back."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    def release(self) -> None:
        """Put what is on the disk where it would be without it, for whoever looks at it later."""
        with TemporaryDirectory(prefix="moved-", dir=self.folder.parent) as aside:
            kept = Path(aside, self.folder.name)
            shutil.copytree(self.folder, kept, symlinks=True, ignore_dangling_symlinks=True)
            system("umount", "-l", str(self.folder))
            shutil.copytree(kept, self.folder, symlinks=True, dirs_exist_ok=True)


def _written(handle: int, size: int) -> bool:
    try:
        return os.write(handle, b"\0" * size) == size
    except OSError:
        return False
