"""server/study: how far a run is can be read while it goes on, and counts on when it is taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from common.errors import FedmviError
from common.federation.codec import Packed, pack
from server.study.progress import ProgressFile, Watched, read_progress

MESSAGES = {"hospital-b": pack({}), "hospital-a": pack({})}


class Sites:
    """Answers one site after the other; the last one may fail."""

    def __init__(self, path: Path, *, fails: bool = False) -> None:
        self._path, self._fails = path, fails
        self.seen: list[tuple[str, ...]] = []

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        progress = read_progress(self._path)
        assert progress is not None and progress.asked_since
        self.seen.append(progress.waiting_for)
        for site in messages:
            if self._fails:
                raise FedmviError(508, site=site)
            yield site, messages[site]


def test_a_round_that_is_under_way_names_the_sites_that_it_waits_for(tmp_path: Path):
    file = ProgressFile(tmp_path / "progress.json")
    file.step("count patients and events")
    sites = Sites(tmp_path / "progress.json")
    assert len(list(Watched(sites, file).send(MESSAGES, 1.0))) == 2
    assert sites.seen == [("hospital-a", "hospital-b")]
    after = read_progress(tmp_path / "progress.json")
    assert after is not None
    assert (after.step, after.rounds, after.waiting_for, after.asked_since) == ("count patients and events", 1, (), "")


def test_a_run_that_is_taken_up_again_counts_on(tmp_path: Path):
    for _ in range(3):
        file = ProgressFile(tmp_path / "progress.json")
        list(Watched(Sites(tmp_path / "progress.json"), file).send(MESSAGES, 1.0))
    after = read_progress(tmp_path / "progress.json")
    assert after is not None
    assert (after.rounds_before, after.rounds) == (2, 1)


def test_a_round_that_fails_is_not_counted_and_still_says_whom_it_waited_for(tmp_path: Path):
    file = ProgressFile(tmp_path / "progress.json")
    with pytest.raises(FedmviError):
        list(Watched(Sites(tmp_path / "progress.json", fails=True), file).send(MESSAGES, 1.0))
    after = read_progress(tmp_path / "progress.json")
    assert after is not None
    assert (after.rounds, after.waiting_for) == (0, ("hospital-a", "hospital-b"))


@pytest.mark.parametrize("content", [b"", b"{", b'{"started": 5}', b"\xff"])
def test_a_damaged_file_is_no_progress_and_stops_nothing(tmp_path: Path, content: bytes):
    (tmp_path / "progress.json").write_bytes(content)
    assert read_progress(tmp_path / "progress.json") is None
    ProgressFile(tmp_path / "progress.json")
    assert read_progress(tmp_path / "progress.json") is not None
