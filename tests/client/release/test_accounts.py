"""client/release: what was given is counted from the ledger, from wherever counting stopped, with the same result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from client.cohort.site import Site, load_site
from client.release import accounts
from client.release.accounts import Account, account
from client.release.ledger import Ledger, ledger_file
from common.federation.envelope import Ticket
from tests.disclosure.consortium import rows_of, write_site

OURS = Ticket("run1", "a" * 64, {"train": ("a", "b", "c")})
LATER = Ticket("run2", "a" * 64, {"train": ("a", "b", "c")})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    write_site(tmp_path / "a", "a", rows_of("a", 3))
    return load_site(tmp_path / "a")


def run(site: Site, ticket: Ticket = OURS) -> Path:
    folder = site.store / "runs" / ticket.run_id
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write(site: Site, count: int, begin: int = 0) -> None:
    """Lines of this study and another, of two runs, with repeats, refusals and updates, and one of another kind."""
    ledger = Ledger(ledger_file(site))
    for i in range(begin, begin + count):
        if i % 7 == 6:
            ledger.append({"kind": "withdrawal", "study": "a" * 64})
            continue
        ledger.append({
            "study": ("a" if i % 5 else "b") * 64, "run_id": "run2" if i % 11 == 1 else "run1",
            "left": "refusal" if i % 6 == 3 else "answer", "repeat": i % 4 == 1, "bytes": i,
            "query": "query.round-update" if i % 3 else "query.flow", "question": f"{i % 40:064x}",
            "roster": ["a", "b", "c"],
        })  # fmt: skip


def told(found: Account) -> tuple[int, int, set[str]]:
    return found.answers, found.update_bytes, found.given


def afresh(site: Site, ticket: Ticket) -> tuple[int, int, set[str]]:
    (run(site, ticket) / "account.json").unlink(missing_ok=True)
    return told(account(site, ticket, run(site, ticket)))


def test_counting_goes_on_where_it_stopped_and_comes_to_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "EVERY", 10)
    for step in range(6):
        write(site, 17, 17 * step)
        on = {ticket.run_id: told(account(site, ticket, run(site, ticket))) for ticket in (OURS, LATER)}
    assert (run(site) / "account.json").exists()
    assert on["run1"][:2] == on["run2"][:2], "answers and bytes are of the study, in all its runs"
    assert on["run1"][2] != on["run2"][2]
    for ticket in (OURS, LATER):
        assert on[ticket.run_id] == afresh(site, ticket)
    assert on["run1"][0] > 20 and on["run1"][1] > 0


def test_what_was_counted_is_read_from_there_on_only(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "EVERY", 10)
    write(site, 30)
    account(site, OURS, run(site))
    read: list[bytes] = []
    original = Ledger.since
    monkeypatch.setattr(Ledger, "since", lambda *a: (read.append(line[0]) or line for line in original(*a)))
    write(site, 3, 30)
    account(site, OURS, run(site))
    assert len(read) == 3


def _cut(site: Site) -> None:
    path = ledger_file(site)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:12]))


def _rewritten(site: Site) -> None:
    ledger_file(site).unlink()
    write(site, 40, 3)


def _kept(**changes: object) -> Callable[[Site], None]:
    def damage(site: Site) -> None:
        path = run(site) / "account.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _cut, _rewritten, lambda site: (run(site) / "account.json").write_text("{"), _kept(lines=-1), _kept(hash="x"),
        _kept(end=10**9), _kept(end="x"), _kept(study="b" * 64), _kept(run_id="run2"),
    ],
)  # fmt: skip
def test_what_was_counted_of_another_ledger_or_is_damaged_is_counted_again(
    site: Site, damage: Callable[[Site], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "EVERY", 10)
    write(site, 30)
    account(site, OURS, run(site))
    damage(site)
    assert told(account(site, OURS, run(site))) == afresh(site, OURS)
