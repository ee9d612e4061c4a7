"""client/node: the way to the hub, tested step by step; each step that fails has a number and what to do.

The last question to the hub is one that changes nothing: Flower's request to activate a node, with a heartbeat interval
that it refuses. It looks the node's key up first, so the refusal tells whether the key is registered.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from client.node.clock import BEHIND_SECONDS, refuse_wrong_clock, seconds_ahead
from client.node.enrolment import Enrolment
from common.deployment.versions import HEADER, Versions, installed_versions, read_versions
from common.errors import FedmviError

SECONDS = 15.0
_UNEASY_SECONDS = 2
_ACTIVATE = "/v1/fleet/activate-node"
_REFUSED_INTERVAL = 2003
"""Flower's code of the answer to a registered key."""
_EXPIRED_OR_EARLY, _OTHER_NAME = (9, 10), (62, 64)
"""OpenSSL's codes of what is wrong with a certificate (X509_V_ERR_...)."""
_MAX_ANSWER = 65_536


class State(StrEnum):
    """How a step went."""

    PASSED = "passed"
    NOTED = "noted"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Step:
    """One step of the way, in words; `error` says what to do if it failed."""

    name: str
    state: State
    words: str
    error: FedmviError | None = None

    @property
    def failed(self) -> bool:
        """Whether there is something to do."""
        return self.state is State.FAILED


@dataclass
class _Way:
    """What is learned on the way."""

    enrolment: Enrolment
    proxy: tuple[str, int] | None = None
    proxy_login: str = ""
    connection: http.client.HTTPConnection | None = None
    secure: bool = False
    status: int = 0
    answer: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    ahead: float | None = None

    @property
    def first(self) -> tuple[str, int]:
        """Whom this machine itself connects to."""
        return self.proxy or (self.enrolment.host, self.enrolment.port)


def connect(enrolment: Enrolment) -> Iterator[Step]:
    """Go the way step by step; after one that fails the others are not tried."""
    way, failed = _Way(enrolment), False
    try:
        for name, test in _STEPS.items():
            if failed:
                yield Step(name, State.NOT_TRIED, "")
                continue
            try:
                state, words = test(way)
                yield Step(name, state, words)
            except FedmviError as error:
                failed = True
                yield Step(name, State.FAILED, error.what, error)
    finally:
        if way.connection is not None:
            way.connection.close()


def _proxy(way: _Way) -> tuple[State, str]:
    """A hospital's own proxy, as the environment names it; Flower's node heeds the same settings."""
    host = way.enrolment.host
    url = "" if proxy_bypass(host) else getproxies().get("https", "") or getproxies().get("all", "")
    if not url:
        kept_off = " (NO_PROXY keeps it off the proxy)" if getproxies().get("https") else ""
        return State.PASSED, f"none: straight to {host}{kept_off}"
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http" or not parts.hostname:
        words = "HTTPS_PROXY names a proxy of another kind than http://"
        raise FedmviError(771, words, host=host, port=way.enrolment.port)
    way.proxy = parts.hostname, parts.port or 80
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        way.proxy_login = "Basic " + b64encode(login.encode()).decode("ascii")
    return State.NOTED, f"HTTPS_PROXY leads by way of {parts.hostname}:{way.proxy[1]}; NO_PROXY={host} would avoid it"


def _name(way: _Way) -> tuple[State, str]:
    host, port = way.first
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError) as error:
        raise FedmviError(770, str(error), host=host) from error
    return State.PASSED, f"{host} is {', '.join(found)}"


def _port(way: _Way) -> tuple[State, str]:
    """Connect, and through a proxy also ask it for the tunnel; TLS comes after."""
    (host, port), target = way.first, way.enrolment
    way.connection = connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    if way.proxy is not None:
        headers = {"Proxy-Authorization": way.proxy_login} if way.proxy_login else {}
        connection.set_tunnel(target.host, target.port, headers)
    try:
        connection.connect()
    except (OSError, http.client.HTTPException) as error:
        raise FedmviError(771, f"{host}:{port}: {error}", host=target.host, port=target.port) from error
    through = f" through the proxy {host}:{port}" if way.proxy else ""
    return State.PASSED, f"{target.host}:{target.port} answers{through}"


def _hub(way: _Way) -> tuple[State, str]:
    host = way.enrolment.host
    connection = _connection(way)
    if connection.sock is None:
        raise FedmviError(771, "the connection was closed", host=host, port=way.enrolment.port)
    try:
        connection.sock = secured = way.enrolment.tls().wrap_socket(connection.sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        number = 774 if error.verify_code in _EXPIRED_OR_EARLY else 773 if error.verify_code in _OTHER_NAME else 772
        raise FedmviError(number, error.verify_message, host=host) from error
    except (ssl.SSLError, OSError) as error:
        raise FedmviError(772, f"no TLS connection: {error}", host=host) from error
    ends = str((secured.getpeercert() or {}).get("notAfter", ""))
    return State.PASSED, f"certified by the authority of {way.enrolment.consortium} until {ends}, {secured.version()}"


def _site(way: _Way) -> tuple[State, str]:
    """Ask the one question; whoever refuses the site's certificate does it here: with TLS 1.3 not before."""
    connection, sent = _connection(way), time.time()
    content, headers = _question(way.enrolment)
    try:
        connection.request("POST", _ACTIVATE, content, headers)
        answer = connection.getresponse()
        way.status, way.answer = answer.status, answer.read(_MAX_ANSWER)
        way.headers = {name.lower(): value for name, value in answer.getheaders()}
    except http.client.RemoteDisconnected as error:
        raise FedmviError(776, str(error), status="none") from error
    except (ssl.SSLError, ConnectionError) as error:
        raise FedmviError(775, str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise FedmviError(776, str(error), status="none") from error
    with suppress(ValueError, KeyError, TypeError):
        way.ahead = seconds_ahead(way.headers["date"], (sent + time.time()) / 2)
    if way.status == http.HTTPStatus.BAD_REQUEST and b"SSL certificate" in way.answer:  # nginx
        raise FedmviError(775, re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", way.answer.decode("latin-1"))).strip())
    return State.PASSED, f"admitted, valid until {way.enrolment.expires}"


def _clock(way: _Way) -> tuple[State, str]:
    if way.ahead is None:
        return State.NOTED, "the hub does not tell its time"
    seconds, direction = abs(round(way.ahead)), "ahead of" if way.ahead > 0 else "behind"
    refuse_wrong_clock(way.ahead)
    uneasy = way.ahead > _UNEASY_SECONDS or way.ahead < -BEHIND_SECONDS / 2
    words = f"{seconds} s {direction} the hub's" if seconds > 1 else "agrees with the hub's"
    return (State.NOTED, f"{words}: set it by NTP") if uneasy else (State.PASSED, words)


def _flower(way: _Way) -> tuple[State, str]:
    """Flower itself answered, and not only the proxy before it."""
    if way.status == http.HTTPStatus.UNAUTHORIZED or _code(way) is not None:
        return State.PASSED, "Flower's Fleet API answers"
    raise FedmviError(776, way.answer[:200].decode("latin-1"), status=way.status)


def _node_key(way: _Way) -> tuple[State, str]:
    if _code(way) == _REFUSED_INTERVAL:
        return State.PASSED, f"registered as {way.enrolment.site}"
    raise FedmviError(777, f"status {way.status}, Flower's code {_code(way)}")


def _versions(way: _Way) -> tuple[State, str]:
    hub = read_versions(way.headers.get(HEADER.lower(), ""))
    if hub is None:
        return State.NOTED, "the hub does not tell its versions; a run compares them again"
    here = installed_versions()
    if _minor(hub.flower) != _minor(here.flower):
        raise FedmviError(779, hub=hub.flower, site=here.flower)
    if hub.code != here.code:
        return State.NOTED, _differs(hub, here)
    return State.PASSED, f"FedMVI {here.fedmvi} and Flower {here.flower} at both ends, with the same code"


def _differs(hub: Versions, here: Versions) -> str:
    return (
        f"the hub has FedMVI {hub.fedmvi} (code {hub.code[:12]}), this site {here.fedmvi} ({here.code[:12]}): a run is "
        "refused (502) unless the hub's version is installed here, too"
    )


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


_STEPS: dict[str, Callable[[_Way], tuple[State, str]]] = {
    "proxy": _proxy,
    "name": _name,
    "port": _port,
    "certificate of the hub": _hub,
    "certificate of the site": _site,
    "clock": _clock,
    "Flower": _flower,
    "node key": _node_key,
    "versions": _versions,
}


def _connection(way: _Way) -> http.client.HTTPConnection:
    if way.connection is None:
        raise RuntimeError("the steps go in their order")
    return way.connection


def _code(way: _Way) -> int | None:
    """Flower's code in an answer that is an error of its own."""
    try:
        code = json.loads(way.answer)["code"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return code if isinstance(code, int) else None


def _question(enrolment: Enrolment) -> tuple[bytes, dict[str, str]]:
    """The request to activate the node with an interval that is refused, signed as Flower's node signs."""
    # Loaded here: the command does other things, too, and Flower takes a second.
    from flwr.common.constant import TIMESTAMP_HEADER
    from flwr.proto.fleet_pb2 import ActivateNodeRequest
    from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
    from flwr.supercore.date import now
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
    from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

    key = load_ssh_private_key(enrolment.node_key.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FedmviError(731, f"{enrolment.node_key}: no key of an elliptic curve")
    public, moment = public_key_to_bytes(key.public_key()), now().isoformat()
    headers = {
        "content-type": PROTOBUF_MEDIA_TYPE,
        "accept": PROTOBUF_MEDIA_TYPE,
        FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public).decode("ascii"),
        TIMESTAMP_HEADER: moment,
        FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(key, moment.encode("ascii"))).decode("ascii"),
    }
    request = ActivateNodeRequest(public_key=public, heartbeat_interval=0.0)
    return request.SerializeToString(deterministic=True), headers
