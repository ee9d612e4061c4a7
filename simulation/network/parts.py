"""simulation/network: the parts of a deployment by name: which processes they are, and when a daemon is ready.

`hub` is its supervisor, and `superlink`, `proxy`, `steward`, `server-executor` and `serverapp` (a run that goes on) are
the processes below it. `site:NAME` is a site's supervisor, `node:NAME`, `executor:NAME` and `clientapp:NAME` (a message
that is answered) those below it. `whole-hub` and `whole-site:NAME` are all of them at once, as when the power fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from client.cohort.site import load_site
from client.node.folder import NodeFolder, NodeState
from common.errors import FedmviError
from server.hub.folder import load_hub
from server.hub.start import read_state
from simulation.network.census import Process, descendants

SUPERVISOR = "supervisor"
_BELOW_HUB = {
    "superlink": "server.hub.superlink",
    "proxy": "nginx",
    "steward": "server.hub.steward",
    "server-executor": "server.hub.executor",
}
_BELOW_SITE = {"node": "client.node.launcher", "executor": "client.node.executor"}
_WORDS = _BELOW_HUB | _BELOW_SITE
_FORKS = {"serverapp": "server-executor", "clientapp": "executor"}
HUB_PARTS = ("superlink", "proxy", "steward", "server-executor", "serverapp", "hub", "whole-hub")
SITE_PARTS = ("node", "executor", "clientapp", "site", "whole-site")
"""Written with `:NAME` of the site."""


def find(everyone: Mapping[int, Process], supervisor: int, kind: str) -> list[int]:
    """The processes of a part below (or at) a supervisor; none while the part is not there.

    Raises
    ------
    FedmviError
        819 there is no part of that kind.
    """
    if kind not in HUB_PARTS + SITE_PARTS:
        raise FedmviError(819, f"there are {', '.join(HUB_PARTS + SITE_PARTS)}", part=kind)
    if supervisor not in everyone or everyone[supervisor].zombie:
        return []
    if kind in ("hub", "site"):
        return [supervisor]
    if kind in ("whole-hub", "whole-site"):
        return sorted(pid for pid in descendants(everyone, [supervisor]) if not everyone[pid].zombie)
    if kind in _FORKS:
        return [pid for executor in find(everyone, supervisor, _FORKS[kind]) for pid in _children(everyone, executor)]
    return [pid for pid in _children(everyone, supervisor) if _WORDS[kind] in " ".join(everyone[pid].command)]


def by_kind(everyone: Mapping[int, Process], supervisor: int) -> dict[str, list[Process]]:
    """The processes at and below a supervisor by what they are; what a part starts counts as that part."""
    kinds: dict[str, list[Process]] = {}
    if supervisor in everyone:
        kinds[SUPERVISOR] = [everyone[supervisor]]
    for pid in _children(everyone, supervisor):
        words = " ".join(everyone[pid].command)
        kind = next((name for name, word in _WORDS.items() if word in words), "other")
        kinds.setdefault(kind, []).extend(everyone[one] for one in descendants(everyone, [pid]))
    return kinds


def hub_is_ready(folder: Path, supervisor: int) -> bool:
    """Whether the hub that this supervisor runs says that it is ready."""
    state = read_state(load_hub(folder))
    return state is not None and state["pid"] == supervisor and state["ready"] is True


def site_is_ready(folder: Path, supervisor: int) -> bool:
    """Whether the node that this supervisor runs says that it is connected."""
    health = NodeFolder(load_site(folder)).health()
    return health is not None and health.supervisor == supervisor and health.state is NodeState.READY


def _children(everyone: Mapping[int, Process], parent: int) -> list[int]:
    return sorted(pid for pid, one in everyone.items() if one.parent == parent and not one.zombie)
