"""client: answering one message: what is answered, repeated, refused and recorded, whatever arrives."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import answering
from client.answering import answer_message
from client.app import answer as app_answer
from client.app import name as app_name
from client.cohort.site import load_site
from client.preparation.prepare import prepare
from client.release.ledger import Ledger
from common.errors import FedmviError
from common.federation.codec import Packed, pack, unpack
from common.federation.envelope import Answer, error_of, failure, respond_all, write_answers
from common.federation.fixedpoint import decode_count
from common.federation.query import Ask, Mode, each, perform, total
from common.federation.records import from_records, to_records
from common.federation.tasks import Freeze, Open
from common.statistics.counts import Classes, Flow, Missing
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.refinement import ScoreCounts, root_question
from common.statistics.roc import RocAlone
from common.statistics.survival import LifeTable
from common.study.fingerprint import canonical_json, code_fingerprint, study_fingerprint
from common.study.recipe import Recipe, Score, Select
from tests.disclosure.consortium import (
    POLICY,
    STUDY,
    Consortium,
    columns,
    make,
    names,
    recipe,
    rows_of,
    write_site,
)

Made = Callable[..., Consortium]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make(folder).open()
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    """An opened consortium of its own."""
    shutil.copytree(template, tmp_path / "sites")
    study = make_study()
    return Consortium({p.name: p for p in sorted((tmp_path / "sites").iterdir())}, study)


def make_study(text: str = STUDY):
    from common.study.loader import parse_study

    return parse_study(text)


def deviations(made: Consortium, *chosen: str) -> Ask:
    selected = Recipe((Select(columns(made.study, "clinical")),))
    used = chosen or names(made.study, "clinical")
    return total(Deviations("train", selected, used, np.zeros(len(used))))


def newton(made: Consortium, model: str = "clinical", cohort: str = "train") -> Ask:
    used = names(made.study, model)
    return total(LogisticSums(cohort, recipe(made.study, model), "mvi", used, np.zeros(len(used) + 1)))


def policy(made: Consortium, site: str, text: str) -> None:
    write_site(made.folders[site], site, rows_of(site), text)


def ledger(made: Consortium, site: str = "a") -> Ledger:
    return Ledger(made.folders[site] / "store" / "ledger.jsonl")


# ----------------------------------------------------------------------------------------------- repeats


def test_a_repeated_question_gets_the_same_bytes_marked_as_a_repeat_and_both_are_in_the_ledger(made: Consortium):
    ask = deviations(made)
    first, again = made.put("a", ask)[0], made.put("a", ask)[0]
    assert (first.repeat, again.repeat) == (False, True)
    assert pack(first.blocks).digest == pack(again.blocks).digest
    lines = [e for e in ledger(made).entries() if e["question"] == ask.digest]
    assert [line["repeat"] for line in lines] == [False, True]
    assert {line["answer"] for line in lines} == {pack(first.blocks).digest}


def test_a_question_twice_in_one_message_is_answered_and_recorded_once(made: Consortium):
    ask = deviations(made)
    first, second = made.put("a", ask, ask)
    assert pack(first.blocks).digest == pack(second.blocks).digest
    assert sum(e["question"] == ask.digest for e in ledger(made).entries()) == 1


def test_all_that_leaves_is_in_the_ledger_answers_receipts_and_refusals(made: Consortium):
    made.put("a", deviations(made))
    made.put("a", perform(Freeze((), ())))
    made.put("a", each(deviations(made).question))
    assert [e["left"] for e in ledger(made).entries()] == ["receipt", "answer", "receipt", "refusal"]


def test_other_data_after_the_opening_are_refused(made: Consortium):
    rows = rows_of("a")
    rows[0]["age"] = "77"
    write_site(made.folders["a"], "a", rows)
    assert made.number("a", deviations(made)) == 212, "not prepared again: the store is out of date"
    prepare(load_site(made.folders["a"]), made.study)
    assert made.number("a", deviations(made)) == 410
    assert made.number("a", made.opening()) == 410


def test_another_secret_after_the_opening_is_refused_because_it_draws_other_patients(made: Consortium):
    (made.folders["a"] / "site.secret").write_text("6f" * 32)
    assert made.number("a", deviations(made)) == 410


def test_a_deleted_reply_store_stops_the_run(made: Consortium):
    made.put("a", deviations(made))
    shutil.rmtree(made.folders["a"] / "store" / "runs" / "run1" / "replies")
    assert made.number("a", deviations(made)) == 413
    assert made.number("a", deviations(made, "age")) == 413, "nor is anything new answered"


def test_a_single_lost_reply_is_not_answered_anew(made: Consortium):
    made.put("a", deviations(made), deviations(made, "age"))
    for path in (made.folders["a"] / "store" / "runs" / "run1" / "replies").iterdir():
        path.unlink()
    assert made.number("a", deviations(made)) == 413


def test_a_damaged_reply_is_an_error_not_another_answer(made: Consortium):
    made.put("a", deviations(made))
    (path,) = (made.folders["a"] / "store" / "runs" / "run1" / "replies").iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    assert made.number("a", deviations(made)) == 501


# ------------------------------------------------------------------------------------------ opening a run


def test_an_unopened_run_answers_nothing(made: Consortium):
    assert made.with_ticket(run_id="run2").number("a", deviations(made)) == 507


def test_an_unapproved_study_is_not_opened(made: Consortium):
    policy(made, "a", "")
    assert made.with_ticket(run_id="run2").number("a", made.opening()) == 401


def test_an_answer_that_is_being_made_does_not_leave_if_the_study_is_taken_off_the_list(
    made: Consortium, monkeypatch: pytest.MonkeyPatch
):
    site = load_site(made.folders["a"])
    text = (site.folder / "site.toml").read_text()
    made.number("b", deviations(made))
    before = Ledger(site.store / "ledger.jsonl").verify().lines

    def slow(asks, view):
        policy(made, "a", "")
        return respond_all(asks, view)

    monkeypatch.setattr(answering, "respond_all", slow)
    assert made.number("a", deviations(made)) == 401
    left = list(Ledger(site.store / "ledger.jsonl").entries())[before:]
    assert [entry for entry in left if entry["left"] == "answer"] == []
    (site.folder / "site.toml").write_text(text)
    monkeypatch.setattr(answering, "respond_all", respond_all)
    assert made.number("a", deviations(made)) == 0


def test_withdrawn_approval_ends_a_run_that_is_open(made: Consortium):
    policy(made, "a", "")
    assert made.number("a", deviations(made)) == 401


def test_approval_names_one_fingerprint_and_nothing_else(made: Consortium):
    policy(made, "a", f'approved_studies = ["{study_fingerprint(made.study)}"]')
    assert made.with_ticket(run_id="run2").number("a", made.opening()) == 0
    other = Consortium(made.folders, make_study(STUDY.replace("maximum = 60", "maximum = 61")))
    assert other.with_ticket(run_id="run3").number("a", other.opening()) == 401


def test_another_study_under_an_approved_fingerprint_is_refused(made: Consortium):
    other = make_study(STUDY.replace("min_cell = 5", "").replace('title = "A small study"', 'title = "Other"'))
    forged = perform(Open(canonical_json(other.model_dump(mode="json")), code_fingerprint()))
    assert made.with_ticket(run_id="run2").number("a", forged) == 411
    assert made.with_ticket(study="0" * 64).number("a", deviations(made)) == 411


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[" * 100_000, '{"study": {"name": "../x"}}', "\ud83d"])
def test_what_is_no_study_is_refused(made: Consortium, text: str):
    opening = perform(Open(text.encode("utf-8", "replace").decode(), code_fingerprint()))
    assert made.with_ticket(run_id="run2").number("a", opening) == 411


def test_other_code_at_the_coordinator_is_refused(made: Consortium):
    opening = perform(Open(canonical_json(made.study.model_dump(mode="json")), "0" * 64))
    assert made.with_ticket(run_id="run2").number("a", opening) == 502


def test_code_that_changed_at_the_site_during_a_run_is_refused(made: Consortium, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("client.run.code_fingerprint", lambda: "0" * 64)
    assert made.number("a", deviations(made)) == 502


@pytest.mark.parametrize("sites", [("a",), ("a", "b"), ("a", "b", "x"), ("b", "c", "d"), ("a", "b", "c", "d")])
def test_other_rosters_are_refused_at_the_opening_and_later(made: Consortium, sites: tuple[str, ...]):
    rosters = {**made.ticket.rosters, "train": sites}
    assert made.with_ticket(rosters=rosters, run_id="run2").number("a", made.opening()) == 412
    assert made.with_ticket(rosters=rosters).number("a", deviations(made)) == 412


def test_a_cohort_that_is_unknown_or_not_the_sites_is_refused(made: Consortium):
    for cohort in ("external", "nobody", ""):
        query = Classes(cohort, Recipe(), "mvi", 5, guarded=True)
        rosters = {**made.ticket.rosters, "": ("a", "b", "c"), "nobody": ("a", "b", "c")}
        assert made.with_ticket(rosters=rosters).number("a", each(query)) == 412


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../../x", "/tmp/x", "a/b", "a\\b", "-", "a" * 65, "ä", "a\0b", "a\n"]
)
def test_a_run_id_is_never_a_path(made: Consortium, run_id: str):
    before = sorted(str(p) for p in made.folders["a"].parent.rglob("*"))
    reply = answer_message(made.folders["a"], made.with_ticket(run_id=run_id).message(made.opening()))
    assert numbers(reply) == [501]
    after = sorted(str(p) for p in made.folders["a"].parent.rglob("*"))
    assert after == before


def test_models_are_frozen_once_in_a_run_even_within_one_message(made: Consortium):
    first, other = perform(Freeze(("0" * 64,), ())), perform(Freeze(("1" * 64,), ()))
    assert made.number("a", first) == made.number("a", first) == 0
    assert made.number("a", other) == 411
    with pytest.raises(FedmviError, match="411"):
        made.put("b", first, other)


def test_a_manifest_holds_no_more_than_the_studys_models_and_comparisons(made: Consortium):
    # Two recipes of each of the two models: one up to the score, one up to its cut-off.
    assert made.number("a", perform(Freeze(tuple(f"{i:064d}" for i in range(5)), ()))) == 414
    assert made.number("a", perform(Freeze((), ("another",)))) == 414


# ----------------------------------------------------------------------------- each refusal of the gate


def test_402_kinds_that_the_hospital_does_not_answer(made: Consortium):
    for text in ('risks = ["CELLS"]\n', 'refused_queries = ["query.deviations"]\n'):
        policy(made, "a", POLICY + text)
        assert made.number("a", deviations(made)) == 402


def test_402_ranks_where_details_are_binned(made: Consortium):
    policy(made, "a", POLICY + 'pooled_detail = "binned"\n')
    selected = Recipe((Select(columns(made.study, "clinical")),))
    counts = root_question("train", selected, ("age",), "mvi")
    assert made.number("a", total(counts)) == 402


def test_402_results_by_site_that_do_not_hide_small_counts_by_the_limit(made: Consortium):
    assert made.number("a", each(deviations(made).question)) == 402
    for min_cell in (-1, 0, 1, 4, 6, 1000):
        assert made.number("a", each(Classes("train", Recipe(), "mvi", min_cell, guarded=True))) == 402
    assert made.number("a", each(Classes("train", Recipe(), "mvi", 5, guarded=False))) == 402
    assert made.number("a", each(Classes("train", Recipe(), "mvi", 5, guarded=True))) == 0


def test_402_totals_of_hidden_counts(made: Consortium):
    assert made.number("a", total(Missing("train", Recipe(), (), 5, guarded=True))) == 402


def test_403_cohorts_with_too_few_patients(tmp_path: Path):
    made = make(tmp_path, {"a": lambda rows: rows.__delitem__(slice(19, None))}).open()
    assert made.number("a", deviations(made)) == 403
    assert made.number("b", deviations(made)) == 0


def test_404_too_many_parameters(tmp_path: Path):
    made = make(tmp_path, {"a": lambda rows: rows.__delitem__(slice(26, None))}).open()
    assert made.number("a", newton(made, "wide")) == 404
    assert made.number("b", newton(made, "wide")) == 0


def test_405_too_few_in_a_class(tmp_path: Path):
    def few(rows):
        for i, row in enumerate(rows):
            row["mvi"] = "1" if i < 4 else ("" if i < 8 else "0")

    made = make(tmp_path, {"a": few}).open()
    assert made.number("a", newton(made)) == 405


def test_406_totals_over_fewer_than_three_sites(made: Consortium):
    assert made.number("a", total(Classes("alone", Recipe(), "mvi", 5, guarded=False))) == 406


def test_407_endpoints_of_closed_cohorts_before_and_after_the_freeze(made: Consortium):
    assert made.number("d", newton(made, cohort="external")) == 407
    made.put("d", perform(Freeze((), ())))
    assert made.number("d", newton(made, cohort="external")) == 407


def test_408_results_of_this_site_alone(made: Consortium):
    policy(made, "d", 'approved_studies = ["any"]')
    query = RocAlone("external", Recipe(), "mvi", "age", 10, min_cell=5)
    assert made.number("d", each(query)) == 408
    policy(made, "d", POLICY)
    assert made.number("d", total(query)) == 408


def test_409_levels_with_too_few_patients(tmp_path: Path):
    def few(rows):
        for i, row in enumerate(rows):
            row["sex"] = "female" if i < 4 else "male"

    made = make(tmp_path, {"a": few}).open()
    assert made.number("a", deviations(made)) == 409
    assert made.number("a", deviations(made, "age")) == 0
    assert made.number("b", deviations(made)) == 0


def test_414_what_the_study_does_not_have(made: Consortium):
    query = Classes("train", Recipe(), "os.time", 5, guarded=True)
    assert made.number("a", each(query)) == 414


def _split(selected: Recipe, ranges: int, bits: int) -> ScoreCounts:
    low = np.left_shift(np.arange(ranges, dtype=np.uint64), 40)
    each_ = np.ones(ranges, dtype=np.uint64)
    most = np.full(2 * ranges, 1 << 25, dtype=np.uint64)
    size = np.array([ranges], dtype=np.uint64)
    return ScoreCounts("train", selected, ("age",), size, low, 24 * each_, bits * each_, most, "mvi")


def test_415_answers_that_would_fill_the_memory(made: Consortium, monkeypatch: pytest.MonkeyPatch):
    selected = Recipe((Select(columns(made.study, "clinical")),))
    asks = [
        total(_split(selected, 10_000, 10)),
        total(LifeTable("train", Recipe(), "os", 2, 1.0, 10**9)),
        total(LifeTable("train", Recipe(), "os", 10**12, 1.0, 10**12)),
        total(LifeTable("train", Recipe(), "os", -2, 1.0, -4)),
    ]
    assert [answer.error for answer in made.put("a", *asks)] == [415, 414, 414, 414]
    small = [total(_split(selected, 1, bits)) for bits in (7, 8, 9)]
    monkeypatch.setattr("client.release.sizes.MAX_MESSAGE_ELEMENTS", 400)
    assert [answer.error for answer in made.put("a", *small)] == [0, 0, 415]


def test_a_refusal_leaves_the_other_questions_answered(made: Consortium):
    answers = made.put("a", deviations(made), each(deviations(made).question), deviations(made, "age"))
    assert [answer.error for answer in answers] == [0, 402, 0]
    assert decode_count(answers[2].blocks["n"]).tolist() == [60]


def test_ten_thousand_questions_are_answered_and_one_more_is_not(made: Consortium):
    assert numbers(answer_message(made.folders["a"], made.message(*[deviations(made)] * 10_001))) == [501]


# ----------------------------------------------------------------------------------------------- ledger


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "ledger.jsonl"
    for i in range(6):
        Ledger(path).append({"run_id": "r", "words": f"question {i} \u00e4", "bytes": i})
    return path


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tampering_with_any_byte_is_found_in_its_line(chain: Path, tmp_path: Path, data: st.DataObject):
    content = bytearray(chain.read_bytes())
    position = data.draw(st.integers(0, len(content) - 2))  # the last line's end is no content
    content[position] = data.draw(st.integers(0, 255).filter(lambda b: b != content[position]))
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(content)
    line = chain.read_bytes()[:position].count(b"\n") + 1
    assert Ledger(path).verify().broken_at == line


@pytest.mark.parametrize("change", ["remove", "swap", "repeat"])
def test_lines_removed_exchanged_or_inserted_are_found(chain: Path, tmp_path: Path, change: str):
    lines = chain.read_bytes().splitlines(keepends=True)
    lines = {"remove": lines[:2] + lines[3:], "swap": [lines[1], lines[0], *lines[2:]], "repeat": lines[:3] + lines[2:]}
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"".join(lines[change]))
    assert Ledger(path).verify().broken_at == {"remove": 3, "swap": 1, "repeat": 4}[change]


@pytest.mark.parametrize(("code", "number"), [(errno.ENOSPC, 516), (errno.EDQUOT, 516), (errno.EIO, 901)])
def test_a_full_disk_is_told_by_a_number_and_nothing_leaves(
    made: Consortium, monkeypatch: pytest.MonkeyPatch, code: int, number: int
):
    def fsync(handle: int) -> None:
        raise OSError(code, "cannot write", "/patients/P0042")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        assert made.number("a", deviations(made)) == number
    assert made.number("a", deviations(made)) == 0


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_after_a_crash_the_chain_goes_on_and_only_the_cut_line_is_named(chain: Path, tmp_path: Path, cut: int):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(chain.read_bytes()[:-cut])
    Ledger(path).append({"run_id": "later"})
    assert [e["run_id"] for e in Ledger(path).entries()].count("later") == 1, "the new line is whole"
    state = Ledger(path).verify()
    assert (state.broken_at, state.lines, state.cut) == (0, 7, () if cut == 1 else (6,))


def test_what_is_changed_behind_a_cut_line_is_found(chain: Path, tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(chain.read_bytes()[:-30])
    for run in ("one", "two", "three"):
        Ledger(path).append({"run_id": run})
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"owt"'))
    assert (Ledger(path).verify().broken_at, Ledger(path).verify().cut) == (8, (6,))


def test_words_of_the_server_reach_the_ledger_short_and_printable(made: Consortium):
    hostile = ("\x1b[2J\r\n" + "x" * 2000,)
    made.put("a", each(Flow("train", Recipe(), hostile, 5, guarded=True)))
    words = list(ledger(made).entries())[-1]["words"]
    assert words.isprintable() and len(words) < 400
    assert not ledger(made).verify().broken_at


# ------------------------------------------------------------------------------------ nothing ever escapes


def numbers(reply: Packed) -> list[int]:
    return [answer["error"] for answer in json.loads(reply.text)["answers"]]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from([10**400, -(2**63), 1e308, "query.flow", "total", "each", "perform", {"$array": 0}, {"$array": 9}]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(), TREES.map(json.dumps)), arrays=st.lists(st.integers(0, 3), max_size=3))
def test_random_messages_are_answered_with_a_number(made: Consortium, text: str, arrays: list[int]):
    reply = answer_message(made.folders["a"], Packed(text, tuple(np.zeros(n) for n in arrays)))
    assert numbers(reply) == [501]


def _mutate(value, data: st.DataObject):
    """The tree with one part replaced, dropped or doubled."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(sorted(value)))
        changed = _mutate(value[key], data)
        return {**value, key: changed}
    if isinstance(value, list) and value and data.draw(st.integers(0, 9)):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], _mutate(value[place], data), *value[place + 1 :]]
    return data.draw(SCALARS | TREES)


def _honest_body(made: Consortium, ask: Ask, data: st.DataObject) -> Packed | None:
    """A question mutated in its body, with the digest that belongs to it: only the content is hostile."""
    body = json.loads(ask.packed.text)
    mutated = _mutate(body, data)
    try:
        question = unpack(Packed(json.dumps(mutated), ask.packed.arrays), type(ask.question))
        return made.message(Ask(ask.mode, question))
    except (FedmviError, ValueError, TypeError, RecursionError):
        return None


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_messages_are_answered_never_raised(made: Consortium, data: st.DataObject):
    frozen = Score("clinical", "mvi", names(made.study, "clinical"), (0.0, 0.0, 0.0, 0.0), 0.0)
    asks = [
        deviations(made), newton(made), perform(Freeze((), ())), made.opening(), made.signing(),
        each(Classes("train", Recipe(), "mvi", 5, guarded=True)),
        total(root_question("train", recipe(made.study, "clinical").then(frozen), ("age",), "mvi")),
    ]  # fmt: skip
    ask = data.draw(st.sampled_from(asks))
    message = _honest_body(made, ask, data) if data.draw(st.booleans()) else None
    if message is None:
        whole = made.message(ask)
        message = Packed(json.dumps(_mutate(json.loads(whole.text), data)), whole.arrays)
    reply = answer_message(made.folders["a"], message)
    assert all(isinstance(number, int) for number in numbers(reply))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "site.toml").unlink(),
        lambda f: (f / "site.toml").write_text("["),
        lambda f: (f / "site.toml").write_bytes(b"\xff"),
        lambda f: (f / "patients.csv").unlink(),
        lambda f: (f / "store" / "runs" / "run1" / "open.npz").write_bytes(b"PK"),
        lambda f: next(f.glob("store/prepared/*/patients.parquet")).write_bytes(b"PAR1"),
        lambda f: next(f.glob("store/prepared/*/prepared.json")).write_text("{}"),
        lambda f: (f / "store" / "ledger.jsonl").write_bytes(b"\xff\n[1]\n"),
        shutil.rmtree,
    ],
)
def test_a_damaged_folder_is_answered_with_a_number(made: Consortium, damage: Callable[[Path], object]):
    damage(made.folders["a"])
    assert all(n == 0 or n >= 201 for n in numbers(answer_message(made.folders["a"], made.message(deviations(made)))))


def test_one_array_cannot_be_used_by_many_questions(made: Consortium):
    asks = [deviations(made), deviations(made, "age")]
    whole = made.message(*asks)
    shared = whole.text.replace('{"$array":1}', '{"$array":0}')
    assert shared != whole.text
    assert numbers(answer_message(made.folders["a"], Packed(shared, whole.arrays))) == [501]


def test_the_flower_app_answers_a_number_where_the_machine_fails(monkeypatch: pytest.MonkeyPatch):
    from flwr.app import ConfigRecord, Context, Message, RecordDict

    def broken(_context):
        raise RuntimeError("secret-detail")

    monkeypatch.setattr("client.app.site_folder", broken)
    for known in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(f"flwr.supercore.task_identity.TaskIdentity.{known}", 1)
    message = Message(RecordDict({"message": ConfigRecord({"text": "", "layout": "[]"})}), 1, "query.answer")
    context = Context(1, 1, {}, RecordDict(), {})
    told = from_records(app_answer(message, context).content)
    assert numbers(told) == [901] and "secret-detail" not in told.text
    assert dict(app_name(message, context).content["name"]) == {"error": 901}


# ---------------------------------------------------------------------------- a hostile site at the server


def test_facts_of_a_hostile_site_are_cut_cleaned_and_never_formatted():
    facts = {
        "cohort": "{0.__class__}\x1b[31m" + "x" * 9999, "limit": float("nan"), "local": "forged", "number": 1,
        "unknown": "x" * 10**6, "fraction": 10**300,
    }  # fmt: skip
    error = error_of(Answer("", error=403, facts=facts), "a")
    assert set(error.facts) == {"cohort", "limit", "fraction"}
    assert "{0.__class__}" in error.what and "<class" not in error.what
    assert error.what.isprintable() and len(error.what) < 400
    assert error.local == "site a"


@pytest.mark.parametrize("number", [-1, 1, 999, 10**30])
def test_unknown_numbers_of_a_site_become_506(number: int):
    assert error_of(Answer("", error=number), "a").number == 506


def test_answers_to_other_questions_or_runs_or_of_other_kinds_are_refused(made: Consortium):
    from common.federation.envelope import read_answers

    ask = deviations(made)
    good = made.put("a", ask)[0]
    for run_id, answers in (
        ("other", [good]),
        ("run1", []),
        ("run1", [good, good]),
        ("run1", [Answer("0" * 64, blocks=good.blocks)]),
    ):
        with pytest.raises(FedmviError, match=r"50[15]"):
            read_answers(write_answers(run_id, answers), made.ticket, [ask], "a")


@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"n": np.zeros(4)},
        {"n": np.zeros((1, 4), np.uint64), "sum": np.zeros((1, 4), np.uint64), "square": np.zeros((2, 4), np.uint64)},
        {"n": 1, "sum": 1, "square": 1},
        {"n": np.zeros((1, 4)), "sum": np.zeros((2, 4)), "square": np.zeros((2, 4))},
    ],
)
def test_blocks_of_another_shape_or_kind_are_refused_by_the_server(made: Consortium, blocks):
    ask = deviations(made)
    port = made.port()
    honest = dict(port.transport.sites)
    port.transport.sites["c"] = lambda message: write_answers("run1", [Answer(ask.digest, blocks=blocks)])
    assert set(honest) == set(port.transport.sites)
    with pytest.raises(FedmviError, match="505"):
        port.ask([ask])


def test_a_site_that_reports_an_error_is_named_and_no_sum_is_made(made: Consortium):
    port = made.port()
    port.transport.sites["c"] = lambda message: write_answers("run1", [failure("", FedmviError(901))])
    with pytest.raises(FedmviError, match="site c"):
        port.ask([deviations(made)])


@pytest.mark.parametrize("layout", ["[" * 100_000, '[["<f8", [0, 4611686018427387904, 4611686018427387904]]]', "{}"])
def test_hostile_layouts_are_501_on_either_side(layout: str):
    records = to_records(Packed("{}", ()))
    records["message"]["layout"] = layout
    with pytest.raises(FedmviError, match="501"):
        from_records(records)


def test_modes_and_questions_do_not_mix(made: Consortium):
    whole = json.loads(made.message(deviations(made)).text)
    arrays = made.message(deviations(made)).arrays
    for mode in (*Mode, "TOTAL", "", None, 1):
        for name in ("query.flow", "task.open", "task.freeze", "__class__", None):
            whole["asks"][0] |= {"mode": mode, "name": name}
            assert numbers(answer_message(made.folders["a"], Packed(json.dumps(whole), arrays))) == [501]
