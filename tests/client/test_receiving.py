"""client: an enrolled site answers what its coordinator has signed for it, and nothing else."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from flwr.app import RecordDict

from client.cohort.site import load_site
from client.forgetting import forget
from client.receiving import receive
from client.release.countersigned import read_countersigned
from client.release.ledger import Ledger, ledger_file
from common.federation.query import Ask, total
from common.federation.records import from_records, read_ledger, signed_records, to_records, to_wire, wire_records
from common.federation.signatures import Head, SignedHead, Signer
from common.observing.context import subject
from common.statistics.moments import Deviations
from common.study.recipe import Recipe, Select
from tests.client.enrolled import answers, enrol, head, numbers, put, records, signer
from tests.disclosure.consortium import Consortium, columns, make, names

SIGNED = signer().public


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    made = make(folder).open()
    for site in ("a", "b"):
        enrol(made.folders[site], SIGNED)
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    from common.study.loader import parse_study
    from tests.disclosure.consortium import STUDY

    shutil.copytree(template, tmp_path / "sites")
    folders = {p.name: p for p in sorted((tmp_path / "sites").iterdir())}
    return Consortium(folders, parse_study(STUDY))


def question(made: Consortium, *chosen: str) -> Ask:
    used = chosen or names(made.study, "clinical")
    recipe = Recipe((Select(columns(made.study, "clinical")),))
    return total(Deviations("train", recipe, used, np.zeros(len(used))))


def lines(made: Consortium, site: str = "a") -> list[dict[str, object]]:
    return list(Ledger(ledger_file(load_site(made.folders[site]))).entries())


# ------------------------------------------------------------------------------------------- signatures


def test_a_signed_message_is_answered(made: Consortium) -> None:
    ask = question(made)
    assert answers(made, "a", put(made, "a", ask), ask)[0].blocks["n"].size


def _unsigned(made: Consortium, ask: Ask) -> RecordDict:
    return to_records(made.message(ask))


def _by_another(made: Consortium, ask: Ask) -> RecordDict:
    return records(made, "a", ask, by=signer(2))


def _for_another_site(made: Consortium, ask: Ask) -> RecordDict:
    return records(made, "b", ask)


def _with_another_text(made: Consortium, ask: Ask) -> RecordDict:
    sent = records(made, "a", ask)
    sent["message"]["text"] = str(sent["message"]["text"]).replace('"run1"', '"run2"')
    return sent


def _with_another_byte(made: Consortium, ask: Ask) -> RecordDict:
    sent = records(made, "a", ask)
    changed = bytearray(sent["message"]["payload"])
    changed[0] ^= 1
    sent["message"]["payload"] = bytes(changed)
    return sent


def _with_another_layout(made: Consortium, ask: Ask) -> RecordDict:
    sent = records(made, "a", ask)
    sent["message"]["layout"] = str(sent["message"]["layout"]).replace(" ", "")
    return sent


def _signed_as_a_head(made: Consortium, ask: Ask) -> RecordDict:
    """A signature of the coordinator over another kind of statement, with the digest in the place of the hash."""
    wire = to_wire(made.message(ask))
    sent = wire_records(wire)
    sent["message"]["proof.signature"] = signer().head("a", Head(1, wire.digest)).signature
    return sent


def _with_a_strange_proof(made: Consortium, ask: Ask) -> RecordDict:
    sent = to_records(made.message(ask))
    sent["message"]["proof.signature"] = b"\x00" * 64
    return sent


@pytest.mark.parametrize(
    ("forged", "number"),
    [
        (_unsigned, 425), (_by_another, 425), (_for_another_site, 425), (_with_another_text, 425),
        (_with_another_byte, 425), (_with_another_layout, 425), (_signed_as_a_head, 425), (_with_a_strange_proof, 501),
    ],
)  # fmt: skip
def test_what_the_coordinator_has_not_signed_for_this_site_gets_a_number_and_no_more(
    made: Consortium, forged: object, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lines(made)

    def read(*_: object) -> None:
        raise AssertionError("the message was read")

    monkeypatch.setattr("client.receiving.from_wire", read)
    monkeypatch.setattr("client.receiving.answer_message", read)
    reply = receive(made.folders["a"], forged(made, question(made)))  # type: ignore[operator]
    assert numbers(reply) == [number]
    assert read_ledger(reply) is None, "nor is anything told of the ledger"
    assert lines(made) == before


def test_the_layout_and_the_arrays_of_an_unsigned_message_are_not_even_parsed(made: Consortium) -> None:
    sent = to_records(made.message(question(made)))
    sent["message"]["layout"] = "[" * 100_000
    assert numbers(receive(made.folders["a"], sent)) == [425]


def test_a_replayed_message_gets_the_bytes_that_left_before_and_is_recorded_as_a_repeat(made: Consortium) -> None:
    ask = question(made)
    sent = records(made, "a", ask)
    first, again = (receive(made.folders["a"], sent) for _ in range(2))
    assert to_wire(from_records(first)).payload == to_wire(from_records(again)).payload
    assert [line["repeat"] for line in lines(made) if line["question"] == ask.digest] == [False, True]


def test_a_message_of_a_forgotten_run_is_refused_however_well_signed(made: Consortium) -> None:
    sent = records(made, "a", question(made))
    assert numbers(receive(made.folders["a"], sent)) == [0]
    forget(load_site(made.folders["a"]), "run1")
    assert numbers(receive(made.folders["a"], sent)) == [413]
    assert numbers(put(made, "a", question(made, "age"))) == [413], "nor is anything new answered"


def test_a_site_that_is_neither_enrolled_nor_simulated_answers_nothing_over_the_wire(made: Consortium) -> None:
    text = (made.folders["c"] / "site.toml").read_text()
    real = text.replace("simulated = true", "simulated = false").replace('["any"]', "[]")
    assert real != text
    (made.folders["c"] / "site.toml").write_text(real)
    ask = question(made)
    for sent in (to_records(made.message(ask)), records(made, "c", ask)):
        assert numbers(receive(made.folders["c"], sent)) == [426]


def test_a_simulated_site_needs_no_signature_unless_it_is_enrolled(made: Consortium) -> None:
    sent = to_records(made.message(question(made)))
    assert numbers(receive(made.folders["c"], sent)) == [0]
    assert numbers(receive(made.folders["a"], sent)) == [425]


def test_an_enrolment_that_is_damaged_expired_or_anothers_answers_nothing(made: Consortium) -> None:
    path = made.folders["a"] / "enrolment" / "enrolment.toml"
    text = path.read_text()
    sent = records(made, "a", question(made))
    for changed, number in (
        (text.replace('site = "a"', 'site = "b"'), 735),
        ("[", 731),
        (text.replace("expires = ", "expires = 2001-01-01 #"), 732),
    ):
        path.write_text(changed)
        assert numbers(receive(made.folders["a"], sent)) == [number]


# ------------------------------------------------------------------------------------- countersigned heads


def tampered(made: Consortium, keep: int) -> None:
    """Cut the ledger after so many lines."""
    path = ledger_file(load_site(made.folders["a"]))
    path.write_bytes(b"".join(line + b"\n" for line in path.read_bytes().split(b"\n")[:keep]))


def test_an_answer_tells_the_head_of_the_ledger_as_it_leaves(made: Consortium) -> None:
    told = head(put(made, "a", question(made)))
    assert (told.lines, told.hash) == (len(lines(made)), lines(made)[-1]["hash"])


def test_the_countersigned_head_is_kept_and_only_ever_goes_forward(made: Consortium) -> None:
    first = head(put(made, "a", question(made)))
    second = head(put(made, "a", question(made, "age"), last=first))
    put(made, "a", question(made, "afp"), last=second)
    site = load_site(made.folders["a"])
    for last in (second, first):
        put(made, "a", question(made, "afp"), last=last)
        kept = read_countersigned(site)
        assert kept is not None and kept.signed.head == second


def test_a_ledger_that_was_cut_or_written_anew_does_not_agree_and_the_proof_is_kept(made: Consortium) -> None:
    full = head(put(made, "a", question(made), question(made, "age")))
    shutil.copy(ledger_file(load_site(made.folders["a"])), made.folders["a"] / "copy")
    tampered(made, full.lines - 1)
    told = read_ledger(put(made, "a", question(made, "afp"), last=full))
    assert told is not None and told.head.lines == full.lines and not told.agrees, "as many lines, but another one"
    kept = read_countersigned(load_site(made.folders["a"]))
    assert kept is not None and kept.signed.head == full and kept.place is None
    shutil.copy(made.folders["a"] / "copy", ledger_file(load_site(made.folders["a"])))
    told = read_ledger(put(made, "a", question(made, "albumin", "age"), last=full))
    assert told is not None and told.agrees, "the copy is what was countersigned"


def test_a_head_that_another_key_has_signed_is_refused_and_not_kept(made: Consortium) -> None:
    last = head(put(made, "a", question(made)))
    sent = records(made, "a", question(made, "age"), last=last)
    forged: SignedHead = Signer.head(signer(2), "a", last)
    sent["message"]["proof.countersignature"] = forged.signature
    assert numbers(receive(made.folders["a"], sent)) == [425]
    sent["message"]["proof.countersignature"] = signer().head("b", last).signature
    assert numbers(receive(made.folders["a"], sent)) == [425]
    assert read_countersigned(load_site(made.folders["a"])) is None


# ------------------------------------------------------------------------------------------------ the log


class Told(logging.Handler):
    """The study, run and round that each line is about."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, str | int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append({name: subject().get(name, "") for name in ("study", "run", "round")} | {"is": record.msg})


def test_a_line_of_the_log_tells_the_round_that_the_hub_has_in_its_own(
    made: Consortium, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told, log = Told(), logging.getLogger("fedmvi.site")
    monkeypatch.setattr(log, "handlers", [told])
    caplog.set_level(logging.INFO, log.name)
    wire = to_wire(made.message(question(made)))
    assert numbers(receive(made.folders["a"], signed_records(wire, "a", signer(), None, 17))) == [0]
    (line,) = [line for line in told.lines if "answered" in str(line["is"])]
    assert (line["study"], line["run"], line["round"]) == (made.ticket.study, made.ticket.run_id, 17)


@pytest.mark.parametrize("number", [-1, 10**6 + 1, 2**62, True, "17", 1.0, b"1", [17]])
def test_what_is_no_number_of_a_round_is_refused_before_anything_is_read(made: Consortium, number: object) -> None:
    sent, before = records(made, "a", question(made)), lines(made)
    sent["message"]["round"] = number
    assert numbers(receive(made.folders["a"], sent)) == [501]
    assert lines(made) == before
