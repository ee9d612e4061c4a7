"""e2e: what strangers and thieves can do at a real hub: they are shut out, and no hospital answers them."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flwr.app import Message, RecordDict
from flwr.common.serde import run_from_proto
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from client.release.ledger import Ledger
from common.federation.envelope import Ticket, write_envelope
from common.federation.query import perform
from common.federation.records import MESSAGE_TYPE, read_wire, signed_records, to_wire, wire_records
from common.federation.signatures import Signer
from common.federation.tasks import Sign
from common.flower.executor import ACQUIRE
from common.study.fingerprint import canonical_json, code_fingerprint, study_fingerprint
from common.study.loader import load_study
from server.hub.control import Control, packed_bundle
from server.hub.executor import SERVER_APP
from server.hub.folder import Hub, load_hub
from simulation.network.example import HOSPITALS

SECONDS = 120.0
pytestmark = pytest.mark.xdist_group("hostile")


def lines(consortium, name: str) -> int:
    ledger = consortium.folder / "sites" / name / "store" / "ledger.jsonl"
    return len(list(Ledger(ledger).entries()))


def task_of(hub: Hub, limit: float) -> str:
    """The token of the waiting ServerApp task, taken with the executor's secret."""
    secret = (hub.state / "executor.secret").read_bytes()
    known = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=frozenset({ACQUIRE}))
    with RuntimeHttpClient.from_server_address(
        server_address=f"127.0.0.1:{hub.superlink_port}", insecure=False, root_certificates=hub.ca.read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec"), known],
    ) as client:  # fmt: skip
        while True:
            given = client.AcquireTask(AcquireTaskRequest(supported_task_types=[SERVER_APP]))
            if given.HasField("task"):
                return str(given.token)
            assert time.monotonic() < limit, "no task"
            time.sleep(0.1)


@pytest.fixture
def thief(consortium, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpGrid]:
    """Whoever holds the executor's secret, took the ServerApp's task before the hub, and speaks to the nodes."""
    network, hub = consortium.network, load_hub(consortium.network.hub)
    assert network.kill("server-executor", signal.SIGSTOP)
    try:
        with Control(hub) as control:
            settings = {"run-dir": "/nowhere", "action": "run", "site-names": "registered", "attempt": "guessed"}
            number = control.start(packed_bundle(), settings)
            token = task_of(hub, time.monotonic() + SECONDS)
            address, ca = f"127.0.0.1:{hub.superlink_port}", hub.ca.read_bytes()
            grid = HttpGrid(runtime_api_address=address, root_certificates=ca, token=token)
            told = grid._runtime_client.PullTaskInput(PullTaskInputRequest())
            grid.set_run(run_from_proto(told.run))
            for name, value in (
                ("_run_id", told.run.run_id), ("_task_id", told.task_id), ("_node_id", told.context.node_id)
            ):  # fmt: skip
                monkeypatch.setattr(TaskIdentity, name, value)
            yield grid
            grid.close()
            control.stop(number)
    finally:
        network.kill("server-executor", signal.SIGCONT)


def asked(grid: HttpGrid, site: str, content: RecordDict) -> list[int]:
    """The numbers of the errors that a site answers a message with; 0 for an answer."""
    node = next(node.node_id for node in grid.get_nodes() if node.name == site)
    message = Message(content, dst_node_id=node, message_type=MESSAGE_TYPE, ttl=SECONDS)
    [pushed] = grid.push_messages([message])
    limit = time.monotonic() + SECONDS
    while not (replies := list(grid.pull_messages([pushed]))):
        assert time.monotonic() < limit, "no answer"
        time.sleep(0.1)
    return [answer["error"] for answer in json.loads(read_wire(replies[0].content).text)["answers"]]


def test_with_the_executors_secret_and_without_the_coordinators_key_no_hospital_answers(consortium, thief: HttpGrid):
    """Every hospital answers the question to its coordinator: only the signature is missing, or a stranger's."""
    study = load_study(consortium.short)
    rosters = {cohort.name: tuple(sorted(cohort.sites)) for cohort in study.cohorts}
    question = perform(Sign(canonical_json(study.model_dump(mode="json")), code_fingerprint()))
    wire = to_wire(write_envelope(Ticket("stolen-run", study_fingerprint(study), rosters), [question]))
    before = {name: lines(consortium, name) for name in HOSPITALS}
    stranger = Signer(Ed25519PrivateKey.generate())
    for name in HOSPITALS:
        assert asked(thief, name, wire_records(wire)) == [425]
        assert asked(thief, name, signed_records(wire, name, stranger, None)) == [425]
    coordinator = Signer.read(load_hub(consortium.network.hub).coordinator_key)
    assert asked(thief, "hospital-a", signed_records(wire, "hospital-b", coordinator, None)) == [425]
    assert {name: lines(consortium, name) for name in HOSPITALS} == before, "something left"
    # The same question is answered once it is signed: what was refused was the signature and nothing else.
    assert asked(thief, "hospital-a", signed_records(wire, "hospital-a", coordinator, None)) == [0], (
        "or it says nothing"
    )


def test_a_stranger_who_registers_on_the_hubs_machine_is_shut_out(consortium):
    """With the authority's certificate alone, on the loopback address, one can register: the hub undoes it."""
    key = generate_private_key(SECP384R1())
    with Control(load_hub(consortium.network.hub)) as control:
        control.register("hospital-x", public_key_to_bytes(key.public_key()))
        limit = time.monotonic() + SECONDS
        while "hospital-x" in {node.site for node in control.nodes()}:
            assert time.monotonic() < limit, "the stranger stays"
            time.sleep(0.2)
        assert {node.site for node in control.nodes() if node.online} == set(HOSPITALS)


def test_a_stolen_certificate_with_another_node_key_is_not_let_in(consortium, tmp_path: Path):
    """The second factor alone: the proxy lets the certificate pass, and the SuperLink does not know the key."""
    stolen = tmp_path / "stolen"
    shutil.copytree(consortium.folder / "sites" / "hospital-a", stolen, ignore=shutil.ignore_patterns("store"))
    own = generate_private_key(SECP384R1())
    pem = own.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (stolen / "enrolment" / "node.key").write_bytes(pem)
    public = own.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (stolen / "enrolment" / "node.pub").write_bytes(public + b" hospital-a\n")
    said = consortium.network.command("fedmvi-site", "connect", "--site", str(stolen), "--json")
    assert said.code == 1, said
    steps = {step["step"]: step["state"] for step in said.json()["steps"]}
    assert steps["certificate of the site"] == "passed"
    assert steps["node key"] == "failed", steps
