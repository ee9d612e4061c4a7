"""client/release: what was answered is given again byte for byte, or not at all, however it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.cohort.site import load_site
from client.forgetting import forget
from client.release.ledger import Ledger, ledger_file
from client.release.replies import MAX_BUNDLE, ReplyStore
from common.errors import FedmviError
from common.federation.codec import Packed, pack, to_bytes
from common.statistics.moments import Deviations
from common.study.recipe import Recipe
from tests.client.test_answering import deviations, made, template  # noqa: F401 - fixtures
from tests.disclosure.consortium import Consortium, names


def answer(number: int, size: int = 5) -> Packed:
    return pack({"n": np.arange(number, number + size)})


QUESTION = Deviations("train", Recipe(()), ("age",), np.zeros(1))
"""Of no series."""


def stored(folder: Path, **answers: Packed) -> ReplyStore:
    store = ReplyStore(folder)
    for key, packed in answers.items():
        store.put(key, QUESTION, packed)
    store.write()
    return ReplyStore(folder)


def test_the_answers_of_a_message_are_one_file_and_each_is_found_by_its_key(tmp_path: Path):
    stored(tmp_path, a=answer(1), b=answer(2), c=answer(3))
    store = stored(tmp_path, d=answer(4))
    assert len(list(tmp_path.iterdir())) == 2 and store.count() == 4
    for key, number in zip("abcd", range(1, 5), strict=True):
        found = store.get(key, QUESTION)
        assert found is not None and found.digest == answer(number).digest
    assert store.get("e", QUESTION) is None


def test_an_answer_in_a_file_of_its_own_as_an_earlier_version_kept_it_is_found_too(tmp_path: Path):
    (tmp_path / "a.npz").write_bytes(to_bytes(answer(1)))
    store = stored(tmp_path, b=answer(2))
    assert [store.get(key, QUESTION).digest for key in "ab"] == [answer(1).digest, answer(2).digest]  # type: ignore[union-attr]
    assert store.count() == 2


def test_wherever_a_bundle_is_cut_short_or_changed_no_other_answer_is_read_of_it(tmp_path: Path):
    stored(tmp_path, a=answer(1), b=answer(2))
    (path,) = tmp_path.iterdir()
    content, right = path.read_bytes(), {"a": answer(1).digest, "b": answer(2).digest}

    def read() -> list[str]:
        told = []
        for key in "ab":
            try:
                found = ReplyStore(tmp_path).get(key, QUESTION)
            except FedmviError as error:
                told.append(str(error.number))
            else:
                assert found is not None and found.digest == right[key], (
                    "another answer, or none: it would be made anew"
                )
                told.append("right")
        return told

    assert read() == ["right", "right"]
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert read()[1] == "501"
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        # A flip in the index may rename a key: that answer is not found, which the ledger then knows (413).
        if at > content.index(b"\n"):
            assert sorted(read()) == ["501", "right"]


def test_large_answers_fill_further_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert answer(1, 1000).nbytes < MAX_BUNDLE
    monkeypatch.setattr("client.release.replies.MAX_BUNDLE", 20_000)
    store = stored(tmp_path, **{f"k{i}": answer(i, 1000) for i in range(7)})
    assert len(list(tmp_path.iterdir())) == 4, "two of 8 kB each"
    for i in range(7):
        assert store.get(f"k{i}", QUESTION).digest == answer(i, 1000).digest  # type: ignore[union-attr]


def test_killed_between_the_bytes_and_the_ledger_a_repeat_is_answered_with_those_bytes(
    made: Consortium,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
):
    asks, site = (deviations(made), deviations(made, "age")), load_site(made.folders["a"])
    lines = Ledger(ledger_file(site)).verify().lines

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "append", kill)
        with pytest.raises(KeyboardInterrupt):
            made.put("a", *asks)
    (bundle,) = (site.store / "runs" / "run1" / "replies").iterdir()
    kept = bundle.read_bytes()
    assert Ledger(ledger_file(site)).verify().lines == lines, "nothing has left"

    with monkeypatch.context() as patched:  # nothing is computed anew, for what comes out would not leave
        patched.setattr("client.answering.outgoing", kill)
        answers = made.put("a", *asks)
    assert [(one.error, one.repeat) for one in answers] == [(0, True)] * 2
    assert all(to_bytes(pack(dict(one.blocks))) in kept for one in answers)
    assert bundle.read_bytes() == kept and len(list(bundle.parent.iterdir())) == 1
    added = list(Ledger(ledger_file(site)).entries())[lines:]
    assert [entry["question"] for entry in added] == [ask.digest for ask in asks]


def test_the_answers_that_are_forgotten_with_a_run_are_counted(made: Consortium):  # noqa: F811
    made.put("a", deviations(made), deviations(made, "age"))
    made.put("a", deviations(made, names(made.study, "clinical")[2]))
    assert forget(load_site(made.folders["a"]), "run1").answers == 3
