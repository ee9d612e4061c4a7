"""server/hub: what is pulled of a run is what is published, and nothing of the inner circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import FedmviError
from server.hub.orders import Attempt, HubRun
from server.hub.pulling import pull
from server.study.action import Action
from server.study.progress import ProgressFile
from server.study.run_directory import RunDirectory
from tests.server.hub.test_orders import STUDY, written

SECRET = b"pooled sums of four patients"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with everything that a run can have; the inner circle's files all hold the secret."""
    run = RunDirectory.create(tmp_path / "run", written(tmp_path, "tiny", STUDY))
    for folder in ("tables", "figures", "models/net/t1", "journal", "checkpoints"):
        (run.folder / folder).mkdir(parents=True)
    published = {
        "results.json": b"{}",
        "plan.json": b"{}",
        "report.html": b"<p>",
        "nomogram.html": b"<p>",
        "tables/auc.csv": b"auc",
        "figures/roc.svg": b"<svg>",
        "models/net/t1/seed1.safetensors": b"weights",
    }
    inner = (
        "journal/000000.npz", "checkpoints/x.npz", "log.txt", "local.log", "tables/.auc.csv.tmp", "later.bin",
    )  # fmt: skip
    for name, content in {**published, **dict.fromkeys(inner, SECRET)}.items():
        (run.folder / name).write_bytes(content)
    run.write_failure(FedmviError(503, SECRET.decode(), site="a"))
    hub_run = HubRun(run)
    hub_run.give(Action.RUN)
    order = hub_run.order
    assert order is not None
    hub_run.write_attempt(Attempt(order=order.given, hub_start="", ticket=SECRET.decode()))
    ProgressFile(run.progress_file)
    return run


def test_only_what_is_published_is_copied(run: RunDirectory, tmp_path: Path):
    copied = pull(run, tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {
        "study.toml",
        "run.json",
        "plan.json",
        "results.json",
        "report.html",
        "nomogram.html",
        "tables/auc.csv",
        "figures/roc.svg",
        "models/net/t1/seed1.safetensors",
    }
    assert found == {str(path.relative_to(tmp_path / "out")) for path in copied}
    assert not any(SECRET in path.read_bytes() for path in copied)


def test_a_link_leads_no_copy_out_of_what_is_published(run: RunDirectory, tmp_path: Path):
    (run.folder / "tables" / "sums.csv").symlink_to(run.folder / "journal" / "000000.npz")
    (run.folder / "tables" / "all").symlink_to(run.folder / "journal")
    (run.folder / "report.html").unlink()
    (run.folder / "report.html").symlink_to(run.folder / "log.txt")
    copied = pull(run, tmp_path / "out")
    assert not any(SECRET in path.read_bytes() for path in copied)
    assert not (tmp_path / "out" / "tables" / "all").exists()


def test_nothing_is_written_over(run: RunDirectory, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(FedmviError) as caught:
        pull(run, tmp_path / "out")
    assert caught.value.number == 213
