"""e2e: `fedmvi-simulate network` shows a whole deployment and leaves folders to look at, and no process.

And what a round costs beside Flower's own, as the guide measures it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulation.network.census import below
from simulation.network.example import HOSPITALS, make_example_hospitals, write_example_study
from tests.docs.reader import Reader, Said

pytestmark = pytest.mark.xdist_group("network")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Somebody with the guide, and with a study that is soon done, over three hospitals."""
    write_example_study(tmp_path / "short.toml", "short")
    there = {"network --out": "network short.toml --json --out", "network study.toml": "network short.toml --json",
             "sites/mine": "mine", "--rounds 8 --repeats 2": "--rounds 2 --repeats 1 --json"}  # fmt: skip
    typed = Reader(tmp_path, monkeypatch, there)
    typed.instead = {"fedmvi-simulate ": typed.alone}
    return typed


def told_by(said: Said) -> dict[str, Any]:
    """What a command printed for programs, before what it said of its steps."""
    found, _ = json.JSONDecoder().raw_decode(said.text)
    return dict(found)


def test_the_command_says_what_happens_and_compares_the_results_with_one_process(reader: Reader):
    folder = reader.folder
    make_example_hospitals(folder / "mine")
    said = reader.type_from("howto/try-the-network.md", "fedmvi-simulate network study.toml")
    shown, out = told_by(said), folder / "runs" / "network-mine"
    assert shown["whole"]
    assert set(shown["releases"]) == set(HOSPITALS)
    assert all(lines >= shown["rounds"] for lines in shown["releases"].values())
    for words in ("provisioned", "hospital-a is enrolled", "3 sites are connected", "hospital-c has approved", "same"):
        assert words in said.text
    assert (folder / shown["run"] / "report.html").exists()
    assert (out / "sites" / "hospital-a" / "enrolment" / "enrolment.toml").exists()
    assert not list((folder / "mine").rglob("enrolment"))
    assert not below(folder)


def test_without_sites_it_takes_those_of_the_demonstration(reader: Reader):
    shown = told_by(reader.type_from("howto/try-the-network.md", "fedmvi-simulate network --out"))
    assert shown["whole"] and set(shown["releases"]) == set(HOSPITALS)
    assert (reader.folder / "runs" / "network" / "sites" / "external-e").is_dir(), "nobody asked it"
    assert not below(reader.folder)


def test_a_round_is_timed_beside_one_of_bare_flower_and_gives_the_same_bytes(reader: Reader):
    told = told_by(reader.type_from("howto/try-the-network.md", "fedmvi-simulate benchmark network"))
    assert told["digest_equal"] and told["repeats"] == 1
    assert set(told["ratios"]) == {"ours", "ours with Flower's node"} and told["ratio"] > 0.0
    assert all(mib > 0.0 for kinds in told["idle_mib"].values() for mib in kinds.values())
