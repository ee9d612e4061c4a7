"""e2e: a short campaign of faults: everything is survived, and every run gives the bytes of one without faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from simulation.network.example import make_example_hospitals, write_example_study
from simulation.processes import private_folder, short_temporary_folder
from tests.docs.reader import Reader

# Kinds that need root, or a compiler, are left out where there is none; the campaign says so.
CLOCKS = ("clock-behind", "hub-clock-ahead")
KINDS = (
    *("kill serverapp", "kill clientapp", "kill executor", "kill whole-hub", "cut", "slow", "reply-duplicated"),
    *("site-disk-full", "reply-corrupted"),
    *CLOCKS,
)

pytestmark = [
    pytest.mark.xdist_group("chaos"),
    pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None, reason="needs nginx"),
]


def test_a_short_campaign_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, because it moves into namespaces of its own."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    with private_folder("fedmvi-chaos-", short_temporary_folder()) as name:
        folder = Path(name)
        write_example_study(folder / "short.toml", "short")
        make_example_hospitals(folder / "hospitals")
        kinds = " ".join(f"--kind '{kind}'" for kind in KINDS)
        fewer = f"chaos short.toml --sites hospitals --out out --json {kinds} --faults {len(KINDS)} --seed 3"
        reader = Reader(folder, monkeypatch, {"chaos --faults 24 --seed 1": fewer})
        reader.instead = {"fedmvi-simulate chaos": reader.alone}
        said = reader.type_from("howto/rehearse-failures.md", "fedmvi-simulate chaos")
        logs = [file.read_text(errors="replace") for file in sorted(folder.glob("out/network/log/hospital-*.log"))]
    told, _ = json.JSONDecoder().raw_decode(said.text)
    possible = [kind for kind in KINDS if kind not in told["skipped"]]
    assert {fault["kind"] for fault in told["faults"]} == set(possible)
    assert all(fault["survived"] for fault in told["faults"])
    assert told["runs"] and all(run["same"] for run in told["runs"])
    spoilt = sum(fault["kind"] == "reply-corrupted" for fault in told["faults"])
    assert sum(run["resumed"] for run in told["runs"]) <= spoilt, "no run needed a person but after a spoilt answer"
    assert not told["left"] and not told["broken"]
    assert all(lines > 0 for lines in told["ledgers"].values())
    wrong = [line for log in logs for line in log.splitlines() if "FEDMVI-778" in line]
    assert len(logs) == 3 and (bool(wrong) or not set(CLOCKS) & set(possible)), "a wrong clock is told as what it is"
