"""client/release: tampering with any byte of a ledger is found and located, and so are lines that were cut off."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.cohort.site import load_site
from client.release.countersigned import countersign, countersigned_file
from client.release.extracts import Chosen, copy_of, table_of, verify_copy
from client.release.ledger import GENESIS, Ledger, LedgerState, Place, ledger_file
from common.errors import FedmviError
from common.federation.query import each, perform
from common.federation.signatures import Head
from common.federation.tasks import Freeze
from tests.client.enrolled import enrol, signer
from tests.client.test_answering import deviations, made, newton, template  # noqa: F401 - fixtures
from tests.disclosure.consortium import Consortium

run = CliRunner()


@pytest.fixture
def site(made: Consortium) -> Path:  # noqa: F811
    """A site that has answered, refused and repeated."""
    made.put("a", deviations(made), newton(made))
    made.put("a", perform(Freeze((), ())))
    made.put("a", each(deviations(made).question), deviations(made))
    return made.folders["a"]


def ledger(site: Path) -> Ledger:
    return Ledger(ledger_file(load_site(site)))


def head(site: Path, lines: int) -> Head:
    return Head(lines, json.loads(ledger(site).lines()[lines - 1])["hash"])


# ------------------------------------------------------------------------------------------- what is recorded


def test_a_release_records_whom_it_counts_and_what_limits_it_was_held_to(site: Path) -> None:
    newton_line = next(e for e in ledger(site).entries() if e["query"] == "query.logistic")
    assert newton_line["patients"] == newton_line["counted"] == 60
    assert set(newton_line["shapes"]) and all(newton_line["shapes"].values())
    held, limits = newton_line["held"], newton_line["limits"]
    assert held["patients"] >= limits["min_patients"] and held["frame"] >= limits["min_cell"]
    assert held["parameters"] <= limits["max_parameters"] * held["parameters_of"]
    assert held["class"] >= limits["min_class"] and held["column"] >= limits["min_cell"]


def test_a_refusal_records_no_numbers_of_patients(site: Path) -> None:
    (refusal,) = (e for e in ledger(site).entries() if e["left"] == "refusal")
    assert "held" not in refusal and "patients" not in refusal


def test_lines_of_an_earlier_version_verify_before_those_of_this_one(made: Consortium) -> None:  # noqa: F811
    site = made.folders["b"]
    old = {"run_id": "run0", "study": "0" * 64, "query": "query.flow", "words": "flow", "left": "answer",
           "mode": "total", "alone": False, "cohort": "train", "roster": ["a"], "bytes": 8, "question": "1" * 64,
           "answer": "2" * 64, "repeat": False}  # fmt: skip
    path = ledger_file(load_site(site))
    path.unlink()
    ledger(site).append(old)
    made.put("b", deviations(made))
    assert ledger(site).verify().broken_at == 0
    assert [("held" in e) for e in ledger(site).entries()] == [False, True]


def test_entries_that_are_added_together_are_a_chain_and_are_flushed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, flushed, real = Ledger(tmp_path / "ledger.jsonl"), [], os.fsync
    written.append({"words": "first"})
    monkeypatch.setattr(os, "fsync", lambda handle: (flushed.append(handle), real(handle)))
    written.append(*({"words": f"line {i}"} for i in range(20)))
    written.append()
    assert len(flushed) == 1
    assert written.verify() == LedgerState(21, json.loads(written.lines()[-1])["hash"], 0)
    assert [entry["words"] for entry in written.entries()] == ["first", *(f"line {i}" for i in range(20))]


# ------------------------------------------------------------------------------------------------- tampering


def test_a_flip_of_any_byte_is_found_at_its_line(site: Path) -> None:
    path = ledger_file(load_site(site))
    content = path.read_bytes()
    line, missed = 1, []
    for position, byte in enumerate(content):
        path.write_bytes(content[:position] + bytes([byte ^ 1]) + content[position + 1 :])
        if ledger(site).verify().broken_at != line:
            missed.append(position)
        line += byte == ord("\n")
    assert len(content) > 3000
    assert not missed


def test_a_line_with_a_hash_of_its_own_breaks_the_chain_at_the_next(site: Path) -> None:
    from common.study.fingerprint import canonical_json, digest

    path = ledger_file(load_site(site))
    lines = path.read_bytes().splitlines()
    forged = json.loads(lines[1]) | {"words": "nothing"}
    del forged["hash"]
    forged["hash"] = digest(canonical_json(forged))
    path.write_bytes(b"\n".join([lines[0], canonical_json(forged).encode(), *lines[2:]]) + b"\n")
    assert ledger(site).verify().broken_at == 3


def test_lines_cut_off_the_end_are_missed_up_to_the_countersigned_one(site: Path) -> None:
    key = signer()
    enrol(site, key.public)
    lines = ledger(site).verify().lines
    countersign(load_site(site), key.public, key.head("a", head(site, lines - 1)))
    path = ledger_file(load_site(site))
    content = path.read_bytes().splitlines(keepends=True)
    for keep, found in ((lines, 0), (lines - 1, 0), (lines - 2, 1), (1, 1), (0, 1)):
        path.write_bytes(b"".join(content[:keep]))
        assert ledger(site).verify() == LedgerState(keep, head_of(content[:keep]), 0), "the chain itself is whole"
        told = run.invoke(app, ["ledger", "verify", "--site", str(site), "--json"])
        assert (told.exit_code, json.loads(told.stdout)["countersigned_line_missing"]) == (found, bool(found))
        assert json.loads(told.stdout)["countersigned"] == lines - 1


def head_of(lines: list[bytes]) -> str:
    return json.loads(lines[-1])["hash"] if lines else GENESIS


def test_a_countersigned_head_by_another_key_or_changed_is_told(site: Path) -> None:
    enrol(site, signer().public)
    countersign(load_site(site), signer(2).public, signer(2).head("a", head(site, 2)))
    told = run.invoke(app, ["ledger", "verify", "--site", str(site)])
    assert told.exit_code == 1 and "another key" in told.stdout
    path = countersigned_file(load_site(site))
    path.write_text(path.read_text().replace('"lines": 2', '"lines": 1'))
    told = run.invoke(app, ["ledger", "verify", "--site", str(site)])
    assert isinstance(told.exception, FedmviError) and told.exception.number == 429


@pytest.mark.parametrize("known", [None, 0, 1, 3, 4])
def test_the_place_of_a_line_is_found_from_any_line_before_it_or_from_none(site: Path, known: int | None) -> None:
    written = ledger(site)
    ends = [0]
    for line in written.lines():
        ends.append(ends[-1] + len(line) + 1)
    heads = [Head(0, GENESIS), *(head(site, n) for n in range(1, len(ends)))]
    start = None if known is None else Place(heads[known], ends[known])
    for at, end in zip(heads, ends, strict=True):
        assert written.find(at, start) == Place(at, end)
    assert written.head(start) == heads[-1]
    assert written.find(Head(2, "f" * 64), start) is None
    assert written.find(Head(len(ends), heads[-1].hash), start) is None


def test_a_place_that_is_no_longer_true_is_not_believed(site: Path) -> None:
    written, last = ledger(site), head(site, 4)
    for place in (Place(head(site, 2), 17), Place(Head(2, "f" * 64), 400), Place(head(site, 3), 10**9)):
        assert written.head(place).lines == written.verify().lines
        found = written.find(last, place)
        assert found is not None and found.head == last


# -------------------------------------------------------------------------------------------------- copies


def test_a_copy_of_the_whole_verifies_as_the_ledger_does(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy.jsonl"
    assert run.invoke(app, ["ledger", "export", "--out", str(out), "--site", str(site)]).exit_code == 0
    assert out.read_bytes() == ledger_file(load_site(site)).read_bytes()
    told = run.invoke(app, ["ledger", "verify", "--file", str(out), "--json"])
    assert (told.exit_code, json.loads(told.stdout)["lines"]) == (0, ledger(site).verify().lines)
    out.write_bytes(out.read_bytes().replace(b"repeat", b"repeet", 1))
    assert run.invoke(app, ["ledger", "verify", "--file", str(out)]).exit_code == 1


def test_an_extract_has_the_lines_of_its_study_and_shows_its_gaps_and_changes(made: Consortium, tmp_path: Path) -> None:  # noqa: F811
    site = made.folders["a"]
    ledger(site).append({"run_id": "other", "study": "f" * 64, "words": "of another study", "left": "answer"})
    made.put("a", deviations(made))
    study = made.ticket.study
    content = copy_of(ledger(site), "a", Chosen(study=study))
    out = tmp_path / "extract.jsonl"
    out.write_bytes(content)
    state = verify_copy(out)
    assert (state.lines, state.gaps, state.broken_at, state.extract) == (2, 1, 0, True)
    assert b"of another study" not in content
    out.write_bytes(content.replace(b'"bytes":', b'"bytez":', 1))
    assert verify_copy(out).broken_at == 2
    assert verify_copy(_written(out, copy_of(ledger(site), "a", Chosen(since="2999-01-01")))).lines == 0


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"[1]\n", b'{"extract": {}}\n', b"[" * 100_000])
def test_what_is_no_ledger_is_515(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FedmviError, match="515"):
        verify_copy(_written(tmp_path / "x.jsonl", content))
    with pytest.raises(FedmviError, match="515"):
        verify_copy(tmp_path / "absent.jsonl")


def test_words_that_a_spreadsheet_would_compute_are_shown_as_text(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for words in ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"):
        Ledger(path).append({"run_id": "r", "words": words})
    table = table_of(Ledger(path), Chosen()).decode("utf-8-sig").splitlines()
    assert len(table) == 5 and all(",'" in row for row in table[1:])


def test_a_copy_is_readable_by_its_owner_only_and_needs_a_known_ending(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "ledger.csv"
    assert run.invoke(app, ["ledger", "export", "--out", str(out), "--site", str(site)]).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert run.invoke(app, ["ledger", "export", "--out", str(tmp_path / "x.txt"), "--site", str(site)]).exit_code == 2


def test_a_study_that_cannot_be_meant_is_no_empty_list(site: Path) -> None:
    """An empty list would tell a data-protection officer that nothing left."""
    whole = next(iter(ledger(site).entries()))["study"]
    listed = CliRunner().invoke(app, ["ledger", "show", "--site", str(site), "--study", whole[:8], "--json"])
    assert len(json.loads(listed.stdout)) == len(list(ledger(site).entries()))
    wrong = CliRunner().invoke(app, ["ledger", "show", "--site", str(site), "--study", "small"])
    assert wrong.exit_code == 2
