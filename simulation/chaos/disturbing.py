"""simulation/chaos: a deployment that can be disturbed, and the faults done to it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from client.cohort.site import load_site
from common.errors import FedmviError
from simulation.chaos.clocks import environment_with, make_library
from simulation.chaos.disturbed import MARK, Reply
from simulation.chaos.faults import CLOCKS, HOLD_SECONDS, Cause, Fault
from simulation.chaos.isolation import FarSite, SmallDisk, enter, missing
from simulation.network import parts
from simulation.network.census import processes
from simulation.network.daemons import POLL_SECONDS
from simulation.network.deployment import CONSORTIUM, HUB, Network, Progress, silent
from simulation.processes import executable

HUB_MEBIBYTES, SITE_MEBIBYTES = 192, 96
SEND_SECONDS = 6.0
REFUSED_SECONDS = 180.0
"""A wrong clock is mended after so long even where no site has said that it is refused for it."""
WRONG_CLOCK = b"FEDMVI-778"
_PARTS = ("superlink", "proxy", "steward", "server-executor", "hub")
_SITE_PARTS = ("node", "executor", "site")


class DisturbedNetwork(Network):
    """A network whose first site is behind a link of its own, and whose second site and hub are on small disks.

    Where that is not possible (see `isolation.missing`) all of it is as in any network.
    """

    def __init__(self, folder: Path, sites: Mapping[str, Path], progress: Progress = silent) -> None:
        super().__init__(folder, sites, progress)
        self.far: FarSite | None = None
        self.disks: dict[str, SmallDisk] = {}
        self._disturbed: dict[str, Reply] = {}
        self._clocks: dict[str, float] = {}
        if not missing():
            enter()
            self.far = FarSite()

    def start_hub(self, code: Path | None = None) -> None:
        """See `Network`; the first time the hub moves to its disk."""
        if self.far is not None and HUB not in self.disks:
            self.disks[HUB] = SmallDisk(self.hub, HUB_MEBIBYTES)
        super().start_hub(code)

    def start_sites(self) -> None:
        """See `Network`; before it the second site moves to its disk."""
        names = list(self.sites)
        if self.far is not None and len(names) > 1:
            store = load_site(self.sites[names[1]]).store
            self.disks[names[1]] = SmallDisk(store, SITE_MEBIBYTES)
        super().start_sites()

    def close(self) -> None:
        """See `Network`; what was on small disks stays where it would be without them."""
        super().close()
        for disk in self.disks.values():
            disk.release()
        self.disks = {}

    def provision(self) -> None:
        """See `Network`; the hub is named by the address that the site behind the link reaches."""
        if self.far is None:
            super().provision()
            return
        declared = self.folder / "consortium.toml"
        text = (
            f'[consortium]\nname = "{CONSORTIUM}"\ncontact = "nobody"\nhost = "{self.far.host}"\nport = {self.port}\n'
        )
        sites = "".join(f'\n[[sites]]\nname = "{name}"\ncontact = "{name}"\n' for name in self.sites)
        declared.write_text(text + sites, encoding="utf-8")
        kits = ("--out", str(self.kits), "--passphrases", str(self.passphrases))
        self.expect("fedmvi-server", "provision", str(declared), *kits)
        self.install()

    def _start(self, name: str, program: str, *arguments: str, code: Path | None = None) -> None:
        if name == HUB:
            super()._start(name, program, *arguments, code=code)
            return
        command = [executable(program), *arguments]
        if name in self._disturbed:
            module = (sys.executable, "-P", "-m", "simulation.chaos.disturbed", "site")
            command = [*module, str(self.sites[name]), self._disturbed[name].value]
        if self.far is not None and name == next(iter(self.sites)):
            command = [*self.far.prefix, *command]
        self._supervisors[name] = self.daemons.start(name, command, self._environment(name))

    def _environment(self, name: str) -> dict[str, str]:
        environment = super()._environment(name)
        if name in self._clocks:
            environment |= environment_with(make_library(self.folder), self._clocks[name])
        return environment

    def disturb(self, fault: Fault, going: Callable[[], bool]) -> bool:
        """Do a fault, and undo what is held; what was killed is left to those who look after it.

        Parameters
        ----------
        going
            Whether the run goes on to which this happens.

        Returns
        -------
        Whether it was done: once a run is over there is nothing to kill of it, and no answer to spoil.
        """
        if fault.cause is Cause.KILL:
            return _awaited(lambda: bool(self.kill(fault.target)), going)
        if fault.cause in (Cause.DUPLICATED, Cause.CORRUPTED):
            reply = Reply.DUPLICATED if fault.cause is Cause.DUPLICATED else Reply.CORRUPTED
            mark = load_site(self.sites[fault.site]).store / MARK
            self._disturbed[fault.site] = reply
            return self._restarted(fault.site, self._disturbed, lambda: _left(mark, going))
        if fault.cause in CLOCKS:
            return self._with_clock(fault)
        if fault.cause in (Cause.SITE_DISK, Cause.HUB_DISK):
            disk = self.disks[fault.site or HUB]
            disk.fill()
            try:
                return _held()
            finally:
                disk.free()
        return self._with_link(fault.cause)

    def _with_link(self, cause: Cause) -> bool:
        if self.far is None:
            raise FedmviError(819, missing(), part="link")
        if cause is Cause.CUT:
            self.far.cut()
        else:
            self.far.slow()
        try:
            return _held()
        finally:
            if cause is Cause.CUT:
                self.far.join()
            else:
                self.far.hasten()

    def _with_clock(self, fault: Fault) -> bool:
        """Until a site has said that the hub refuses it for its clock; what is borne with is held for a while."""
        name = fault.site or HUB
        before = {site: self.log(site).stat().st_size for site in self.sites}
        limit = time.monotonic() + REFUSED_SECONDS

        def refused() -> bool:
            return any(WRONG_CLOCK in self.log(site).read_bytes()[size:] for site, size in before.items())

        def meanwhile() -> bool:
            if fault.cause is Cause.CLOCK:
                return _held()
            _awaited(refused, lambda: time.monotonic() < limit)
            return True

        self._clocks[name] = CLOCKS[fault.cause]
        return self._restarted(name, self._clocks, meanwhile)

    def _restarted(self, name: str, disturbed: dict[str, Any], meanwhile: Callable[[], bool]) -> bool:
        """Stop a party, let it run disturbed for a while, and start it as it should be; what `meanwhile` says."""
        self.stop(name)
        try:
            self.start_daemon(name)
            return meanwhile()
        finally:
            del disturbed[name]
            self.stop(name)
            self.start_daemon(name)

    def start_daemon(self, name: str) -> None:
        """Start the hub or a site and do not wait for it."""
        if name == HUB:
            self._start(HUB, "fedmvi-server", "start", "--hub", str(self.hub))
        else:
            self._start(name, "fedmvi-site", "start", "--site", str(self.sites[name]))

    def whole(self) -> bool:
        """Whether every part is there and every site connected; starts what a service manager would start."""
        with contextlib.suppress(FedmviError):
            self.restart_if_killed()
        everyone = processes()
        for name, daemon in self._supervisors.items():
            kinds = _PARTS if name == HUB else _SITE_PARTS
            if not all(parts.find(everyone, daemon.pid, kind) for kind in kinds):
                return False
            if name != HUB and not parts.site_is_ready(self.sites[name], daemon.pid):
                return False
        return len(self._supervisors) == len(self.sites) + 1


def _held() -> bool:
    """Let what is disturbed stay so for a while."""
    time.sleep(HOLD_SECONDS)
    return True


def _awaited(happens: Callable[[], bool], going: Callable[[], bool]) -> bool:
    """Wait until something happens, or its run is over."""
    while not (happened := happens()) and going():
        time.sleep(POLL_SECONDS)
    return happened


def _left(mark: Path, going: Callable[[], bool]) -> bool:
    """Wait until an answer was spoilt and the node had time to send it; a site that stops before does not send it."""
    spoilt = _awaited(mark.exists, going)
    if spoilt:
        time.sleep(SEND_SECONDS)
    return spoilt
