"""tests: what a hostile hospital may send: each is a change of the honest records of one exchange."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from common.federation.codec import Packed
from common.federation.records import to_records
from tests.disclosure.hostile_study import Attack, Exchange

Tree = dict[str, Any]
PLANTED = Path(gettempdir(), "fedmvi-unpickled")


def when(asked: str, change: Callable[[Exchange], Packed | RecordDict | None]) -> Attack:
    """Attack each message that holds the question `asked`, such as `total query.logistic`."""

    def attack(exchange: Exchange) -> RecordDict | None:
        if asked not in exchange.asked:
            return None
        made = change(exchange)
        return to_records(made) if isinstance(made, Packed) else made

    return attack


def text(change: Callable[[Tree], Any]) -> Callable[[Exchange], Packed]:
    """Change the JSON of the answers."""

    def changed(exchange: Exchange) -> Packed:
        tree = json.loads(exchange.reply.text)
        other = change(tree)
        return Packed(json.dumps(tree if other is None else other), exchange.reply.arrays)

    return changed


def answer(asked: str, change: Callable[[Tree], Any]) -> Attack:
    """Change the JSON of the answer to the first question of the kind."""

    def changed(exchange: Exchange) -> Packed:
        tree = json.loads(exchange.reply.text)
        change(tree["answers"][exchange.asked.index(asked)])
        return Packed(json.dumps(tree), exchange.reply.arrays)

    return when(asked, changed)


def block(asked: str, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Attack:
    """Change one array of the first answer to a question of the kind."""

    def changed(exchange: Exchange) -> Packed:
        tree, arrays = json.loads(exchange.reply.text), list(exchange.reply.arrays)
        offered = (a["blocks"] for a, kind in zip(tree["answers"], exchange.asked, strict=True) if kind == asked)
        blocks = next((blocks for blocks in offered if name in blocks), None)
        if blocks is None:  # the site refuses it, as it may
            return exchange.reply
        place = blocks[name]["$array"]
        arrays[place] = np.ascontiguousarray(change(arrays[place]))
        return Packed(exchange.reply.text, tuple(arrays))

    return when(asked, changed)


def raw(asked: str, layout: Any, payload: bytes, words: str | None = None) -> Attack:
    """Records that no honest site writes: any layout over any bytes."""

    def changed(exchange: Exchange) -> RecordDict:
        config = ConfigRecord({"text": exchange.reply.text if words is None else words, "layout": json.dumps(layout)})
        arrays = ArrayRecord({"payload": Array("uint8", (len(payload),), "fedmvi.raw", payload)})
        return RecordDict({"message": config, "arrays": arrays})

    return when(asked, changed)


def filled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """An array of the same type and shape that holds one value."""
    return lambda array: np.full_like(array, value)


def told(name: str, word: Any) -> Callable[[Tree], None]:
    """Another word in the receipt."""
    return lambda answer: answer["receipt"].update({name: word})


def zip_bomb() -> bytes:
    """Some kilobytes that say that they are a NumPy archive of gigabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.npy", b"\0" * (1 << 24))
    return buffer.getvalue()


def pickled() -> bytes:
    """Bytes that would make a file if anything unpickled them; they are never made into an object here."""
    return f"cposix\nsystem\n(S'touch {PLANTED}'\ntR.".encode()


EACH, SUM, ALONE, FIT = "each query.classes", "total query.flow", "each query.survival_alone", "total query.logistic"
RANKS = "total query.score_counts"
SIGN, OPEN, FREEZE = "perform task.sign", "perform task.open", "perform task.freeze"

FORMS: dict[str, Attack] = {
    "an answer that is no JSON": when(FIT, lambda e: Packed("{", ())),
    "JSON of a hundred thousand brackets": when(FIT, lambda e: Packed("[" * 100_000, ())),
    "numbers that JSON does not have": when(FIT, lambda e: Packed(e.reply.text.replace(":0", ":NaN"), e.reply.arrays)),
    "another version of the wire": when(FIT, text(lambda t: t.update(version=2))),
    "another run": when(FIT, text(lambda t: t.update(run_id="20200101-000000-00000000"))),
    "fields that nobody knows": when(FIT, text(lambda t: t.update(__class__="x"))),
    "no answers": when(FIT, text(lambda t: t.update(answers=[]))),
    "too few answers": when(FIT, text(lambda t: t.update(answers=t["answers"][:-1]))),
    "too many answers": when(FIT, text(lambda t: t["answers"].append(t["answers"][0]))),
    "answers in another order": when(FIT, text(lambda t: t["answers"].reverse())),
    "an answer to a question that was not asked": answer(FIT, lambda a: a.update(digest="0" * 64)),
    "its answers of an earlier round": when(FIT, lambda e: e.earlier[-2]),
    "its receipt of the opening": when(FIT, lambda e: e.earlier[1]),
    "no records": when(FIT, lambda e: RecordDict()),
    "no bytes for its arrays": when(FIT, lambda e: Packed(e.reply.text, ())),
    "one array less": when(FIT, lambda e: Packed(e.reply.text, e.reply.arrays[:-1])),
    "arrays larger than their bytes": raw(FIT, [["<u8", [1 << 40]]], b"\0" * 8),
    "dimensions whose product is nothing": raw(FIT, [["<u8", [0, 1 << 62, 1 << 62]]], b""),
    "negative dimensions": raw(FIT, [["<u8", [-1, -8]]], b"\0" * 64),
    "a layout that is no list": raw(FIT, {"<u8": 1}, b"\0" * 8),
    "a type with control characters": raw(FIT, [["\x1b[2J" * 10**5, [1]]], b"\0" * 8),
    "arrays of objects": raw(FIT, [["|O", [1]]], pickled()),
    "a pickle in the place of arrays": raw(FIT, [["<u8", [4]]], pickled()),
    "a zip bomb": raw(FIT, [["<u8", [1 << 21]]], zip_bomb()),
    "a pickled array of Flower's": when(
        FIT,
        lambda e: RecordDict(
            {
                "message": ConfigRecord({"text": e.reply.text, "layout": "[]"}),
                "arrays": ArrayRecord({"payload": Array("object", (1,), "numpy.ndarray", pickled())}),
            }
        ),
    ),
    "text that is a number": when(
        FIT, lambda e: RecordDict({"message": ConfigRecord({"text": 5, "layout": "[]"})})
    ),
}  # fmt: skip
"""What cannot be read, or is no answer to what was asked."""

NUMBERS: dict[str, Attack] = {
    "numbers that are none": block(ALONE, "curve", filled(float("nan"))),
    "infinite numbers": block(ALONE, "curve", filled(float("inf"))),
    "another type for a count": block(EACH, "classes", lambda a: a.astype(np.float64)),
    "another type for a part of a sum": block(FIT, "score", lambda a: a.astype(np.float64)),
    "another shape": block(FIT, "score", lambda a: a[:, :-1]),
    "one dimension more": block(FIT, "score", lambda a: a[np.newaxis]),
    "negative counts of its own": block(EACH, "classes", filled(-7)),
    "more patients than there are people": block(EACH, "classes", filled(2**62)),
    "negative counts in a sum": block(SUM, "flow", filled(2**64 - 7)),
    "a count in a sum that overflows": block(SUM, "flow", filled(2**63 - 1)),
    "digits that no patients have": block(RANKS, "counts", filled(2**53 - 1)),
    "a block too few": answer(FIT, lambda a: a["blocks"].pop("score")),
    "a block too many": answer(FIT, lambda a: a["blocks"].update(more={"$array": 0})),
    "numbers without an array": answer(FIT, lambda a: a["blocks"].update(score=[0.0])),
}
"""Answers in the right form whose numbers cannot be."""

RECEIPTS: dict[str, Attack] = {
    "another site's name": answer(SIGN, told("site", "b")),
    "a name with control characters": answer(OPEN, told("site", "a\x1b[2J\r\n")),
    "an enormous name": answer(OPEN, told("site", "a" * 10**6)),
    "no name": answer(OPEN, lambda a: a["receipt"].pop("site")),
    "other code": answer(OPEN, told("code", "0" * 64)),
    "no receipt": answer(OPEN, lambda a: a.update(receipt={})),
    "a receipt of lists": answer(OPEN, lambda a: a.update(receipt={"site": ["a"]})),
    "warnings that are no JSON": answer(OPEN, told("under_limits", "[{")),
    "warnings of another kind": answer(OPEN, told("under_limits", '[{"number": "x", "facts": 1}]')),
    "endless warnings": answer(OPEN, told("under_limits", "[" * 10**5)),
    "a receipt that the freezing never gives": answer(FREEZE, lambda a: a.update(receipt={"openings": -1})),
}
"""Receipts that lie, or that would spoil a terminal or a file."""

ERRORS: dict[str, Attack] = {
    "an error that does not exist": answer(FIT, lambda a: a.update(blocks={}, error=999)),
    "a negative error": answer(FIT, lambda a: a.update(blocks={}, error=-1)),
    "an enormous error": answer(FIT, lambda a: a.update(blocks={}, error=10**30)),
    "facts that would format": answer(
        SUM, lambda a: a.update(blocks={}, error=403, facts={"cohort": "{0.__class__}\x1b[31m", "limit": 10**300})
    ),
    "facts of a megabyte": answer(
        SUM, lambda a: a.update(blocks={}, error=403, facts={"cohort": "x" * 10**6, "limit": 1})
    ),
    "facts that are trees": answer(SUM, lambda a: a.update(blocks={}, error=403, facts={"cohort": {"a": 1}})),
    "an error for the whole message": when(
        FIT, text(lambda t: {**t, "answers": [{**t["answers"][0], "digest": "", "blocks": {}, "error": 901}]})
    ),
    "an error of the coordinator's own": when(
        FIT, text(lambda t: {**t, "answers": [{**t["answers"][0], "digest": "", "blocks": {}, "error": 706}]})
    ),
}
"""Errors that a site makes up."""

ATTACKS = {**FORMS, **NUMBERS, **RECEIPTS, **ERRORS}

OF_MASKS = (*NUMBERS, *RECEIPTS, "its answers of an earlier round", "its receipt of the opening")
"""Attacks that go another way where parts of sums are masked, and keys are signed: the others are met where a reply is
read, before anybody looks whether it is masked."""

SPOILING = ("negative counts in a sum", "a count in a sum that overflows", "digits that no patients have")
"""Under masks no part of a sum is a true number: the sum is refused, and nobody can see who spoilt it."""
