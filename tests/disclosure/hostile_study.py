"""tests: a study over Flower's records and transport, recorded once, in which one site may answer as it likes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from client.answering import answer_message
from common.errors import FedmviError
from common.federation.codec import Packed
from common.federation.envelope import read_envelope
from common.federation.records import from_records, to_records
from server.study.execution import Action, execute
from server.study.run_directory import RunDirectory
from server.transport import FlowerTransport

Attack = Callable[["Exchange"], RecordDict | None]
"""What a hostile site makes of an exchange: other records than the honest ones, or None to answer honestly."""


@dataclass(frozen=True)
class Exchange:
    """One message to a site, and what it would honestly answer; `earlier` are its own answers before this one."""

    site: str
    message: Packed
    reply: Packed
    earlier: tuple[Packed, ...]

    @property
    def asked(self) -> list[str]:
        """The questions of the message: `each query.flow`."""
        return [f"{ask.mode.value} {ask.question.name}" for ask in read_envelope(self.message)[1]]


@dataclass
class Hospitals(Grid):
    """Flower's grid over the sites' own answers; a message that was answered before is answered from memory.

    One grid serves many runs with one run id, because an honest site repeats its bytes.
    """

    folders: Mapping[str, Path]
    known: dict[tuple[str, str], Packed] = field(default_factory=dict)
    attack: Attack | None = None
    hostile: str = ""
    replies: dict[str, Message] = field(default_factory=dict)
    history: dict[str, list[Packed]] = field(default_factory=dict)

    @property
    def nodes(self) -> dict[str, int]:
        """A node for each site."""
        return {site: node for node, site in enumerate(sorted(self.folders), start=100)}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed = []
        for message in messages:
            number = str(len(self.replies) + 1)
            message.metadata.__dict__["_message_id"] = number
            site = next(s for s, node in self.nodes.items() if node == message.metadata.dst_node_id)
            self.replies[number] = Message(self._answer(site, from_records(message.content)), reply_to=message)
            pushed.append(number)
        return pushed

    def _answer(self, site: str, message: Packed) -> RecordDict:
        key = site, message.digest
        if key not in self.known:
            self.known[key] = answer_message(self.folders[site], message)
        reply, before = self.known[key], self.history.setdefault(site, [])
        other = None
        if self.attack is not None and site == self.hostile:
            other = self.attack(Exchange(site, message, reply, tuple(before)))
        before.append(reply)
        return to_records(reply) if other is None else other

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self.replies.pop(number) for number in message_ids]

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes.values())

    run = property(lambda self: None)

    def set_run(self, run: object) -> None: ...

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise AssertionError("the transport does not use it")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError("the transport does not use it")


@dataclass
class Recorded:
    """A study whose honest answers are known; every attempt is a run of its own directory with the same run id."""

    hospitals: Hospitals
    study_file: Path
    folder: Path
    results: bytes = b""

    def __post_init__(self) -> None:
        first = RunDirectory.create(self.folder / "first", self.study_file)
        self._run_id = first.facts()["run_id"]
        self.conduct(first)
        self.results = first.results_file.read_bytes()

    def conduct(self, run: RunDirectory, attack: Attack | None = None, hostile: str = "") -> FedmviError | None:
        """Run or resume; gives the error that it ends with. Whatever else is raised is a finding."""
        grid = Hospitals(self.hospitals.folders, self.hospitals.known, attack, hostile)
        try:
            # A message takes the run and node that it comes from out of the process, which is none of Flower's here.
            with patch.multiple(TaskIdentity, _run_id=1, _node_id=1, _task_id=1):
                execute(run, FlowerTransport(grid, grid.nodes), Action.RUN, lambda step: None)
        except FedmviError as error:
            return error
        return None

    def fresh(self, name: str) -> RunDirectory:
        """The directory of another attempt at the very same run."""
        run = RunDirectory.create(self.folder / name, self.study_file)
        run.write_facts({**run.facts(), "run_id": self._run_id})
        return run

    def estimates_nothing_else(self, results: bytes) -> bool:
        """Whether every result is the undisturbed one, or says that it was refused: a site may always refuse."""
        known = {result["id"]: result for result in json.loads(self.results)["results"]}
        told = json.loads(results)["results"]
        return all(known.get(result["id"]) == result or result["status"] != "estimated" for result in told)

    def attempted(self, name: str, attack: Attack, hostile: str) -> tuple[FedmviError | None, RunDirectory]:
        """The error that a run with a hostile site ends with, and its directory."""
        run = self.fresh(name)
        return self.conduct(run, attack, hostile), run


def names(error: FedmviError, site: str) -> bool:
    """Whether the error tells the coordinator whose answer it was."""
    return error.site == site or f"site {site}" in error.local or error.facts.get("site") == site
