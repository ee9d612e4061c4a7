"""simulation/chaos: an answer is spoilt once."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from simulation.chaos.disturbed import Reply, spoil_first_reply


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What leaves, in the place of Flower's function."""
    found: list[str] = []

    def push_message(client: object, message: Message, context: object) -> None:
        found.append(str(message.content["message"]["text"]))

    import flwr.supernode.runtime.run_clientapp  # noqa: F401

    module: types.ModuleType = sys.modules["flwr.supernode.runtime.run_clientapp"]
    monkeypatch.setattr(module, "push_message", push_message)
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    return found


@pytest.mark.parametrize(
    ("how", "left"),
    [(Reply.DUPLICATED, ["abcde", "abcde", "abcde"]), (Reply.CORRUPTED, ["abbde", "abcde"])],
)
def test_the_first_answer_is_spoilt_and_no_other(sent: list[str], tmp_path: Path, how: Reply, left: list[str]) -> None:
    spoil_first_reply(how, tmp_path / "mark")
    module = sys.modules["flwr.supernode.runtime.run_clientapp"]
    for _ in range(2):
        message = Message(RecordDict({"message": ConfigRecord({"text": "abcde"})}), 1, "query.answer")
        module.push_message(None, message, None)
    assert sent == left
    assert (tmp_path / "mark").exists()
