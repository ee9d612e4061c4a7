"""client: what leaves is on disk before: the bytes of the answer and its line of the ledger, whatever is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from itertools import combinations, groupby
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

from client.app import answer as answer_to_flower
from client.cohort.site import load_site
from client.node.folder import SITES_VARIABLE
from client.release.ledger import Ledger, ledger_file
from common.federation.codec import from_bytes, unpack
from common.federation.query import Ask, each, total
from common.federation.records import MESSAGE_TYPE, from_records, to_records
from common.statistics.moments import Deviations
from common.study.loader import parse_study
from common.study.recipe import Recipe, Select
from tests.disclosure.consortium import STUDY, Consortium, columns, make, names

KEPT = "store/runs/run1/replies"
HANDED_OVER = "handed-over"
PLACES = {KEPT: "bytes", "store/differencing": "differencing", "ledger.jsonl": "ledger"}


class Disk:
    """What a power failure leaves: the contents of files, and the names in folders, that were synchronised last."""

    def __init__(self, root: Path) -> None:
        self._root, self._sync = root, os.fsync
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        for path in (root, *root.rglob("*")):  # what was there before the message
            self._know(path.stat().st_ino, path)

    def fsync(self, handle: int) -> None:
        self._sync(handle)
        self._know(os.fstat(handle).st_ino, Path(f"/proc/self/fd/{handle}").readlink())

    def _know(self, number: int, path: Path) -> None:
        if path.is_dir():
            self._names[number] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self._contents[number] = path.read_bytes()

    def read(self, name: str) -> bytes | None:
        number = self._find(name)
        return None if number is None else self._contents.get(number)

    def list(self, name: str) -> set[str]:
        number = self._find(name)
        return set() if number is None else set(self._names.get(number, {}))

    def _find(self, name: str) -> int | None:
        number: int | None = self._root.stat().st_ino
        for part in Path(name).parts:
            number = self._names.get(number, {}).get(part) if number is not None else None
        return number


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make(folder).open()
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    made = Consortium({p.name: p for p in sorted((tmp_path / "sites").iterdir())}, parse_study(STUDY))
    monkeypatch.setenv(SITES_VARIABLE, str(made.folders["a"]))
    for known in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(f"flwr.supercore.task_identity.TaskIdentity.{known}", 1)
    return made


def question(made: Consortium, *chosen: str) -> Ask:
    used = chosen or names(made.study, "clinical")
    return total(Deviations("train", Recipe((Select(columns(made.study, "clinical")),)), used, np.zeros(len(used))))


def handed_over(made: Consortium, *asks: Ask) -> list[dict]:
    """The answers in what Flower gets of site a, as it gets them."""
    message = Message(to_records(made.message(*asks)), 1, MESSAGE_TYPE)
    reply = answer_to_flower(message, Context(1, 1, {}, RecordDict(), {}))
    return list(unpack(from_records(reply.content), dict)["answers"])


def bundled(content: bytes) -> set[str]:
    """Digests of the answers in the file of a message: a line that says where they are, and behind it the answers."""
    index, _, answers = content.partition(b"\n")
    return {from_bytes(answers[begin : begin + size]).digest for begin, size, _ in json.loads(index).values()}


def recorded(content: bytes, folder: Path) -> set[tuple[str, str]]:
    """Question and answer of every line of a ledger whose chain is whole."""
    path = folder / "ledger-as-found.jsonl"
    path.write_bytes(content)
    assert not Ledger(path).verify().broken_at
    return {(entry["question"], entry["answer"]) for entry in Ledger(path).entries()}


def test_bytes_and_ledger_line_survive_a_power_failure_at_the_moment_at_which_flower_gets_the_answer(
    made: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk, asks = Disk(made.folders["a"]), (question(made), question(made, "age"))
    refused = each(asks[0].question)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    handed = handed_over(made, asks[0], refused, asks[1])
    assert [answer["error"] for answer in handed] == [0, 402, 0]
    ledger = disk.read("store/ledger.jsonl")
    assert ledger is not None
    kept = {answer for name in disk.list(KEPT) for answer in bundled(disk.read(f"{KEPT}/{name}") or b"")}
    assert {answer for _, answer in recorded(ledger, tmp_path) if answer in kept} == kept
    assert {ask.digest for ask in (*asks, refused)} <= {question for question, _ in recorded(ledger, tmp_path)}
    assert len(kept) == 2


def test_the_first_line_of_a_ledger_survives_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    disk = Disk(tmp_path)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    Ledger(tmp_path / "store" / "ledger.jsonl").append({"words": "the first"})
    assert disk.read("store/ledger.jsonl") == (tmp_path / "store" / "ledger.jsonl").read_bytes()


def places_of_fsyncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is flushed from now on, in this order: "differencing", "bytes", "ledger" or "other"."""
    order, real = [], os.fsync

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        order.append(next((what for part, what in PLACES.items() if part in str(path)), "other"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return order


def test_the_line_of_the_ledger_comes_after_the_bytes_that_a_repeat_is_answered_with(
    made: Consortium, monkeypatch: pytest.MonkeyPatch
):
    """And both after the record of whose sums left: a kill between may refuse too much later, never too little."""
    order = places_of_fsyncs(monkeypatch)
    handed_over(made, question(made), question(made, "age"), each(question(made).question))
    order.append("handed over")
    assert [what for what, _ in groupby(what for what in order if what != "other")] == [
        "differencing", "bytes", "ledger", "handed over"
    ]  # fmt: skip
    assert order.count("ledger") == 1


def test_a_message_is_flushed_as_often_whatever_the_number_of_its_questions(
    made: Consortium, template: Path, monkeypatch: pytest.MonkeyPatch
):
    chosen, order = names(made.study, "clinical"), places_of_fsyncs(monkeypatch)
    subsets = [used for n in range(1, len(chosen) + 1) for used in combinations(chosen, n)]
    assert len(subsets) > 10
    flushes = []
    for many in (subsets[:2], subsets):
        shutil.rmtree(made.folders["a"])
        shutil.copytree(template / "a", made.folders["a"])
        for _ in ("asked", "repeated"):
            order.clear()
            handed = handed_over(made, *(question(made, *used) for used in many))
            assert [answer["error"] for answer in handed] == [0] * len(many)
            flushes.append(len(order))
    assert flushes[:2] == flushes[2:]
    assert flushes[1] == 1, "of a repeat only the ledger"


def test_no_answer_was_handed_over_that_is_not_in_the_ledger_whichever_write_a_kill_meets(
    made: Consortium, template: Path, tmp_path: Path
):
    """A kill before each write in turn, and once after all of them; then the questions are put again."""
    asks, site, answers = (question(made), question(made, "age")), made.folders["a"], set()
    put = {ask.digest for ask in asks}

    def doomed(fatal: int) -> None:
        real, count = os.fsync, 0

        def fsync(handle: int) -> None:
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            real(handle)

        os.fsync = fsync
        told = handed_over(made, *asks)
        (tmp_path / HANDED_OVER).write_text(" ".join(str(answer["error"]) for answer in told))

    for fatal in range(1, 100):
        shutil.rmtree(site)
        shutil.copytree(template / "a", site)
        process = get_context("fork").Process(target=doomed, args=(fatal,))
        process.start()
        process.join()
        lines = {e["answer"] for e in Ledger(ledger_file(load_site(site))).entries() if e["question"] in put}
        if process.exitcode == 0:
            assert (tmp_path / HANDED_OVER).read_text() == "0 0"
            assert len(lines) == 2
            break
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / HANDED_OVER).exists()
        assert [answer["error"] for answer in handed_over(made, *asks)] == [0, 0]
        after = [e for e in Ledger(ledger_file(load_site(site))).entries() if e["question"] in put]
        assert len({entry["answer"] for entry in after}) == 2
        answers |= {entry["answer"] for entry in after}
    assert fatal > 3, "there were writes to be killed at"
    assert answers == lines
