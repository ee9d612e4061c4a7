from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from flwr.common.constant import Status
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run

from server.hub.control import packed_bundle
from tests.client.node.test_replying import RUN, Node
from tests.common.flower.test_executor import ROOT, Rig

PATIENT = "HCC-4711-MUELLER"
WORK = """
import os, sys
from pathlib import Path
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from client.node.executor import Work

def raises(message, context):
    raise ValueError(sys.argv[3])

def errs(message, context):
    return Message(Error(ErrorCode.UNKNOWN, sys.argv[3]), reply_to=message)

def is_killed(message, context):
    os.kill(os.getpid(), 15)

token = sys.stdin.read()
sys.exit(Work(Path(sys.argv[1]), globals()[sys.argv[4]]).run(sys.argv[2], token))
"""


class Case(Node):
    """A real Runtime API that has one message for the task, and the process that does it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.rig = Rig(folder)
        self.rig.state = self.state
        self.rig.factory.state_instance = self.state
        bundle = packed_bundle()
        fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
        run = Run.create_empty(RUN)
        run.fab_hash = fab.hash_str
        self.state.store_run(run)
        self.state.store_fab(fab)
        self.state.set_run_series_context(run.series_id, Context(RUN, 1, {}, RecordDict(), {}))
        (folder / "site.toml").write_text('[site]\nname = "alpha"\nsimulated = true\n')

    def work(self, how: str) -> tuple[int, str]:
        token = self.state.claim_task(self.task)
        assert token
        done = subprocess.run(
            [sys.executable, "-c", WORK, str(self.rig.folder), f"127.0.0.1:{self.rig.port}", PATIENT, how],
            input=token, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    def told(self) -> str:
        """All that a node could send: its messages and what it knows of its tasks."""
        messages = [str(entry.message) for entry in self.state.msg_store.values()]
        return "\n".join(messages + [str(task) for task in self.state.get_tasks()])


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    case.rig.open()
    yield case
    case.rig.close()


@pytest.mark.parametrize("how", ["raises", "errs"])
def test_the_text_of_an_exception_does_not_even_reach_the_node(case: Case, how: str) -> None:
    code, local = case.work(how)
    assert code == 0
    (task,) = case.state.get_tasks()
    assert task.status.status == Status.FINISHED
    (reply,) = [e.message for e in case.state.msg_store.values() if e.message.metadata.reply_to_message_id]
    if how == "errs":
        assert reply.error.reason == "FEDMVI-901"
    else:
        assert PATIENT in local
    assert PATIENT not in case.told()


def test_work_that_is_told_to_end_says_nothing_and_fails(case: Case) -> None:
    code, _ = case.work("is_killed")
    assert code == 1
    # Whoever watches it reports the task, and the node answers.
    assert case.state.get_tasks()[0].status.status == Status.RUNNING
