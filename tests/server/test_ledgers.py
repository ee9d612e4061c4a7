"""server: a hospital's ledger that became shorter or another one is noticed, and the proof is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.errors import FedmviError
from common.federation.records import ToldLedger
from common.federation.signatures import Head, SignedHead, head_is_signed
from server.ledgers import LedgerHeads
from tests.client.enrolled import signer

KEY = signer()


def head(lines: int, letter: str = "a") -> Head:
    return Head(lines, letter * 64)


class Kept(LedgerHeads):
    def __init__(self, folder: Path) -> None:
        self.warned: list[FedmviError] = []
        super().__init__(folder, KEY, self.warned.append)


def test_heads_go_forward_without_a_word_and_the_last_is_signed_on_disk(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "ledgers")
    for told in (head(3), head(3), head(7, "b")):
        kept.take("a", ToldLedger(told, True))
    assert kept.last("a") == Kept(tmp_path / "ledgers").last("a") == head(7, "b")
    assert kept.last("b") is None and not kept.warned
    file = json.loads((tmp_path / "ledgers" / "a.json").read_text())
    assert head_is_signed(KEY.public, "a", SignedHead(head(7, "b"), file["signature"]))
    assert not head_is_signed(KEY.public, "b", SignedHead(head(7, "b"), file["signature"]))


@pytest.mark.parametrize(
    "told",
    [
        ToldLedger(head(6, "b"), True),  # shorter
        ToldLedger(head(7, "c"), True),  # as long, another last line
        ToldLedger(head(9, "d"), False),  # longer, without the line that was countersigned
        ToldLedger(head(0, "0"), False),
    ],
)
def test_a_ledger_that_was_cut_or_written_anew_is_warned_of_and_noted_beside_the_proof(
    tmp_path: Path, told: ToldLedger
) -> None:
    kept = Kept(tmp_path)
    kept.take("a", ToldLedger(head(7, "b"), True))
    for _ in range(2):
        kept.take("a", told)
    assert [error.number for error in kept.warned] == [513, 513]
    assert kept.warned[0].facts == {"site": "a", "lines": 7}
    assert kept.last("a") == head(7, "b"), "what was countersigned is the proof, and is not given up"
    troubles = json.loads((tmp_path / "a.json").read_text())["troubles"]
    assert [(t["lines"], t["hash"]) for t in troubles] == [(told.head.lines, told.head.hash)], "noted once"


def test_a_ledger_that_is_restored_from_a_copy_goes_on_and_the_trouble_stays_noted(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for told in (ToldLedger(head(7, "b"), True), ToldLedger(head(5), False), ToldLedger(head(9, "c"), True)):
        kept.take("a", told)
    assert kept.last("a") == head(9, "c") and len(kept.warned) == 1
    assert len(json.loads((tmp_path / "a.json").read_text())["troubles"]) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"lines": 1}', None])
def test_a_record_that_is_damaged_or_signed_by_another_key_is_514(tmp_path: Path, text: str | None) -> None:
    kept = Kept(tmp_path)
    kept.take("a", ToldLedger(head(7), True))
    path = tmp_path / "a.json"
    path.write_text(path.read_text().replace('"lines": 7', '"lines": 1') if text is None else text)
    for refused in (lambda: kept.last("a"), lambda: kept.take("a", ToldLedger(head(8), True))):
        with pytest.raises(FedmviError, match="514"):
            refused()
