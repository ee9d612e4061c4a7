"""client/node: the numbers of a site are those of its ledger, read on and not again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.cohort.site import load_site
from client.node.folder import Health, NodeFolder, NodeState, now
from client.node.metrics import SiteMetrics
from client.release.ledger import Ledger
from common.observing.metrics import Measure
from tests.disclosure.consortium import rows_of, write_site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_site(tmp_path / "a", "a", rows_of("a"))
    return tmp_path / "a"


def release(folder: Path, left: str, size: int, words: str = "sums of age", **more: object) -> None:
    entry = {"study": "s", "query": "query.x", "left": left, "bytes": size, "words": words, **more}
    Ledger(folder / "store" / "ledger.jsonl").append(entry)


def looked(metrics: SiteMetrics) -> dict[str, dict[tuple[str, ...], float]]:
    measures: list[Measure] = list(metrics())
    return {measure.name: dict(measure.samples) for measure in measures}


def test_what_left_is_counted_by_kind_and_refusals_by_number(folder: Path) -> None:
    metrics = SiteMetrics(load_site(folder))
    assert looked(metrics)["ledger_lines"] == {(): 0.0}
    release(folder, "answer", 800)
    release(folder, "answer", 200)
    release(folder, "refusal", 50, "refused (402): sums of age")
    seen = looked(metrics)
    assert seen["ledger_lines"] == {(): 3.0}
    assert seen["releases"] == {("answer",): 2.0, ("refusal",): 1.0}
    assert seen["released_bytes"] == {("answer",): 1000.0, ("refusal",): 50.0}
    assert seen["refusals"] == {("402",): 1.0}
    release(folder, "answer", 1)
    assert looked(metrics)["releases"][("answer",)] == 3.0


def test_only_new_lines_are_read_and_a_line_being_written_is_left_for_later(folder: Path) -> None:
    metrics, path = SiteMetrics(load_site(folder)), folder / "store" / "ledger.jsonl"
    release(folder, "answer", 10)
    assert looked(metrics)["ledger_lines"] == {(): 1.0}
    before = path.read_bytes()
    path.write_bytes(b"x" * (len(before) - 1) + b"\n" + b'{"left": "ans')
    assert looked(metrics)["releases"] == {("answer",): 1.0}, "the first line is not read again, the half one not yet"
    path.write_bytes(before + before)
    assert looked(metrics)["releases"] == {("answer",): 2.0}
    path.write_bytes(before)
    assert looked(metrics)["releases"] == {("answer",): 1.0}, "a file that became shorter is counted anew"


def test_what_is_not_known_of_the_node_has_no_sample(folder: Path) -> None:
    site = load_site(folder)
    metrics, node = SiteMetrics(site), NodeFolder(site)
    site.store.mkdir()
    for content in (b"", b"{", b"[1]"):
        node.health_file.write_bytes(content)
        assert looked(metrics)["node_ready"] == {}
    node.tell(Health(NodeState.READY, os.getpid(), 2, "2026-01-02T03:04:05+00:00", heard=now()))
    seen = looked(metrics)
    assert seen["node_ready"] == {(): 1.0}
    assert seen["node_started_seconds"] == {(): 1767323045.0}
    assert seen["last_message_seconds"] == {}
    assert seen["certificate_expiry_seconds"] == {}
