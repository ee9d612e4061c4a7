"""server/hub: Flower's control API, by which the hub registers its sites and hands in its runs.

The API asks nobody who they are. It is reached on the loopback address of the hub's machine alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from common.errors import FedmviError
from server.bundle import stage_bundle
from server.hub.folder import Hub

UNREGISTERED = "unregistered"
PENDING, FINISHED = "pending", "finished"


@dataclass(frozen=True)
class Node:
    """A registered SuperNode: the site whose key it has, and whether it is connected."""

    number: int
    site: str
    key: bytes
    status: str
    """`registered` (never seen), `online` or `offline`."""
    since: str
    """When it came or went (ISO, UTC); "" if it was never seen."""

    @property
    def online(self) -> bool:
        """Whether it is connected."""
        return self.status == "online"


class Control:
    """The control API of a hub's SuperLink; every method raises error 745 if that does not answer."""

    def __init__(self, hub: Hub) -> None:
        for name in ("no_proxy", "NO_PROXY"):
            # What is on this machine is not asked for at a proxy.
            os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), "127.0.0.1"]))
        try:
            self._client = ControlHttpClient.from_server_address(
                server_address=f"127.0.0.1:{hub.superlink_port}",
                insecure=False,
                root_certificates=hub.ca.read_bytes(),
                interceptors=[RuntimeVersionHttpInterceptor(component_name="fedmvi-server")],
            )
        except (OSError, ValueError) as error:
            raise FedmviError(739, f"{hub.ca}: {error}") from error

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def nodes(self) -> list[Node]:
        """The SuperNodes that are registered now."""
        with _answering():
            answer = self._client.ListNodes(ListNodesRequest())
        return [
            Node(
                number=info.node_id,
                site=info.name,
                key=info.public_key,
                status=info.status,
                since=info.last_activated_at if info.status == "online" else info.last_deactivated_at,
            )
            for info in answer.nodes_info
            if info.status != UNREGISTERED
        ]

    def register(self, site: str, key: bytes) -> None:
        """Admit a site's SuperNode; error 759 if its key was used before."""
        try:
            with _answering():
                self._client.RegisterNode(RegisterNodeRequest(public_key=key, name=site))
        except httpx.HTTPStatusError as error:
            raise FedmviError(759, error.response.text[:200], site=site) from error

    def unregister(self, node: Node) -> None:
        """Shut a SuperNode out; one that is not there any more is none of this hub's."""
        with suppress(httpx.HTTPStatusError), _answering():
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node.number))

    def start(self, bundle: bytes, config: Mapping[str, str | float | bool]) -> int:
        """Hand in a run, and return Flower's number of it; error 703 if Flower does not take it."""
        fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
        request = StartRunRequest(fab=fab_to_proto(fab), override_config=user_config_to_proto(dict(config)))
        try:
            with _answering():
                answer = self._client.StartRun(request)
        except httpx.HTTPStatusError as error:
            raise FedmviError(703, f"Flower does not take the run: {error.response.text[:200]}") from error
        if not answer.HasField("run_id"):
            raise FedmviError(703, "Flower does not take the run")
        return int(answer.run_id)

    def stop(self, number: int) -> None:
        """End a run; one that has ended already stays as it is."""
        with suppress(httpx.HTTPStatusError), _answering():
            self._client.StopRun(StopRunRequest(run_id=number))

    def status(self, number: int) -> str:
        """`pending`, `starting`, `running` or `finished`; the last, too, of a run that Flower knows nothing of."""
        try:
            with _answering():
                answer = self._client.ListRuns(ListRunsRequest(run_id=number))
        except httpx.HTTPStatusError:
            return FINISHED
        return next((str(run.status.status) for run in answer.run_dict.values()), FINISHED)

    def find(self, key: str, value: str) -> int:
        """The number of a run by a value of its configuration, among the latest ones; 0 if there is none."""
        with _answering():
            answer = self._client.ListRuns(ListRunsRequest(limit=20))
        runs = answer.run_dict.values()
        return next((int(run.run_id) for run in runs if run.override_config[key].string == value), 0)


@contextmanager
def _answering() -> Iterator[None]:
    """Error 745 where nobody answers; what the SuperLink refuses is for the caller."""
    try:
        yield
    except httpx.HTTPStatusError:
        raise
    except (httpx.HTTPError, ValueError) as error:
        raise FedmviError(745, f"the SuperLink does not answer: {error}") from error


def public_key(site: str, path: Path) -> bytes:
    """The public key of a site's SuperNode in the form in which it is registered; error 759 if it is none."""
    try:
        return public_key_to_bytes(load_ssh_public_key(path.read_bytes()))  # type: ignore[arg-type]
    except (OSError, ValueError, AttributeError, UnsupportedAlgorithm) as error:
        raise FedmviError(759, f"{path}: {error}", site=site) from error


def packed_bundle() -> bytes:
    """The code that is installed here, as Flower sends it to sites: they compare it and run their own."""
    # Loaded here, because it takes a second, and only the steward packs.
    from flwr.cli.build import build_fab_from_disk

    with TemporaryDirectory(prefix="fedmvi-bundle-") as folder:
        return bytes(build_fab_from_disk(stage_bundle(Path(folder, "app"))))
