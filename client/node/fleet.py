"""client/node: the node's connection to the hub: shows the site's certificate, and comes back soon after a kill."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    DeactivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.node.clock import refuse_wrong_clock, seconds_ahead
from common.errors import FedmviError
from common.files import write_whole

AWAY_SECONDS = 3.0
"""How long a node that was killed stays away, so that the server learns that its message is lost."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class EnrolledClient(FleetHttpClient):
    """Flower's client of the hub, which trusts the consortium's authority only and shows the site's certificate.

    The hub takes a node that was killed for connected, and refuses it, for about a minute. As nobody else on this
    machine can have been connected in its name (the site's folder is locked), the node then takes its predecessor's
    leave first.
    """

    tls: ClassVar[ssl.SSLContext]
    remembered: ClassVar[Path]
    """The file with the hub's number for the node, while it is connected."""

    heard: ClassVar[Callable[[], None]]
    """Called when the hub has answered a sign of life; from another thread, also while a message is worked on."""

    unheard: ClassVar[Callable[[], None]]
    """Called when it did not answer one, or a look for messages, or refused it; Flower then tries again for ever."""

    mistimed: ClassVar[Callable[[FedmviError], None]]
    """Called when it refused whatever it was because of this machine's clock, with the error that says so."""

    @classmethod
    def from_server_address(
        cls,
        server_address: str,
        insecure: bool,
        root_certificates: bytes | str | None,
        interceptors: Sequence[ProtobufClientInterceptor],
        *,
        retry_invoker: Any = None,
    ) -> Self:
        """As Flower makes it, with our TLS; there is no connection without."""
        del insecure, root_certificates
        return cls(f"https://{server_address}", interceptors=interceptors, verify=cls.tls, retry_invoker=retry_invoker)

    def ActivateNode(self, request: ActivateNodeRequest) -> ActivateNodeResponse:  # noqa: N802 - Flower's name
        """Connect; in place of a predecessor that was killed, if there was one."""
        try:
            response = super().ActivateNode(request)
        except httpx.HTTPStatusError as error:
            self._look_at_clock(error)
            number = self._predecessor()
            if number is None:
                raise
            with suppress(httpx.HTTPStatusError):
                super().DeactivateNode(DeactivateNodeRequest(node_id=number))
            time.sleep(AWAY_SECONDS)
            response = super().ActivateNode(request)
        write_whole(self.remembered, json.dumps([response.node_id, _boot()]).encode())
        return response

    def DeactivateNode(self, request: DeactivateNodeRequest) -> DeactivateNodeResponse:  # noqa: N802 - Flower's name
        """Take leave."""
        response = super().DeactivateNode(request)
        self.remembered.unlink(missing_ok=True)
        return response

    def SendNodeHeartbeat(self, request: SendNodeHeartbeatRequest) -> SendNodeHeartbeatResponse:  # noqa: N802
        """Give a sign of life."""
        with self._listening():
            response = super().SendNodeHeartbeat(request)
        type(self).heard()
        return response

    def PullMessages(self, request: PullMessagesRequest) -> PullMessagesResponse:  # noqa: N802 - Flower's name
        """Look for messages."""
        with self._listening():
            return super().PullMessages(request)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            type(self).unheard()
            self._look_at_clock(error)
            raise

    def _look_at_clock(self, error: httpx.HTTPError) -> None:
        """Tell a clock that is wrong: of all that Flower refuses a node for it is what no new kit mends."""
        if not isinstance(error, httpx.HTTPStatusError) or error.response.status_code != httpx.codes.UNAUTHORIZED:
            return
        try:
            refuse_wrong_clock(seconds_ahead(error.response.headers["date"], time.time()))
        except (KeyError, ValueError):  # the hub does not tell its time
            return
        except FedmviError as wrong:
            type(self).mistimed(wrong)

    def _predecessor(self) -> int | None:
        """The hub's number for a node that was connected from this folder since the machine was started."""
        try:
            number, boot = json.loads(self.remembered.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return None
        return int(number) if boot == _boot() else None


def _boot() -> str:
    return _BOOT.read_text(encoding="ascii").strip()
