"""disclosure: a coordinator that signs what it likes gets numbers: no data, no code run, no memory taken.

What it may ask in well-formed messages is in `test_attacks`, `test_server_chosen` and `test_differencing`, and another
study under an approved fingerprint in `tests/client/test_answering`.
"""

from __future__ import annotations

import io
import pickle
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.cohort.site import load_site
from client.receiving import receive
from client.release.ledger import ledger_file
from common.federation.query import Ask, total
from common.federation.records import Wire, from_records, signed_records, to_wire, wire_records
from common.federation.signatures import Head
from common.statistics.moments import Deviations
from common.study.loader import parse_study
from common.study.recipe import Recipe, Select
from tests.client.enrolled import enrol, numbers, signer
from tests.disclosure.consortium import STUDY, Consortium, columns, make, names

KEY = signer()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "sites"
    made = make(folder).open()
    enrol(made.folders["a"], KEY.public)
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    return Consortium({p.name: p for p in sorted((tmp_path / "sites").iterdir())}, parse_study(STUDY))


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """For attacks that leave no trace."""
    folder = tmp_path_factory.mktemp("shared") / "sites"
    shutil.copytree(template, folder)
    return Consortium({p.name: p for p in sorted(folder.iterdir())}, parse_study(STUDY))


def question(made: Consortium) -> Ask:
    used = names(made.study, "clinical")
    return total(Deviations("train", Recipe((Select(columns(made.study, "clinical")),)), used, np.zeros(len(used))))


def put(made: Consortium, wire: Wire) -> RecordDict:
    return receive(made.folders["a"], signed_records(wire, "a", KEY, None))


def ledger(made: Consortium) -> bytes:
    return ledger_file(load_site(made.folders["a"])).read_bytes()


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.trace, "code of the coordinator ran here")


def _pickled(trace: Path) -> bytes:
    return pickle.dumps(Planted(trace))


def _npy(trace: Path) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Planted(trace)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [_pickled, _npy])
@pytest.mark.parametrize(
    "layout", ['[["|O", [1]]]', '[["O", [1]]]', '[["|V8", [1]]]', '[["<f8", [4]]]', '[["|u1", [{n}]]]']
)
def test_pickled_bytes_are_never_loaded_whatever_the_layout_calls_them(
    made: Consortium, tmp_path: Path, content: Any, layout: str
) -> None:
    trace = tmp_path / "trace"
    before, payload = ledger(made), content(trace)
    wire = to_wire(made.message(question(made)))
    told = put(made, Wire(wire.text, layout.replace("[n]", f"[{len(payload)}]"), payload))
    assert numbers(told) == [501]
    assert not trace.exists() and ledger(made) == before
    pickle.loads(payload if content is _pickled else payload[payload.index(b"\x80") :])
    assert trace.exists(), "the bytes do run where somebody loads them"


def test_flowers_own_arrays_are_read_as_bytes_and_never_inflated(made: Consortium, tmp_path: Path) -> None:
    """Flower's stype says how its own `Array.numpy()` would read the data; nobody here calls that."""
    trace = tmp_path / "trace"
    wire = to_wire(made.message(question(made)))
    records = signed_records(wire, "a", KEY, None)
    for stype in ("numpy.ndarray", "pickle", "fedmvi.raw"):
        data = _npy(trace)
        signature = KEY.message("a", Wire(wire.text, wire.layout, data).digest)
        told = {"text": wire.text, "layout": wire.layout, "proof.signature": signature}
        records["message"] = ConfigRecord(told)  # type: ignore[arg-type]
        records["arrays"] = ArrayRecord({"payload": Array("object", (1,), stype, data)})
        assert numbers(receive(made.folders["a"], records)) == [501]
    assert not trace.exists()


@pytest.mark.parametrize(
    "layout",
    [
        '[["<f8", [1099511627776]]]',
        '[["<f8", [67108865]]]',
        '[["<f8", [65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536]]]',
        '[["<f8", [0, 4611686018427387904]]]',
        '[["<f8", [-1, -4]]]',
        '[["<f8", [4]], ["<f8", [4]]]',
        '[["<f8", [4.0]]]',
        '[["<f8", [true]]]',
        "[" + ", ".join(['["<f8", [1099511627776]]'] * 10_000) + "]",
    ],
)
def test_arrays_that_say_they_are_larger_than_what_came_are_refused_before_memory_is_taken(
    shared: Consortium, layout: str
) -> None:
    wire = to_wire(shared.message(question(shared)))
    tracemalloc.start()
    told = put(shared, Wire(wire.text, layout, wire.payload))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers(told) == [501]
    assert peak < 32 << 20


def test_what_else_comes_in_a_message_is_not_looked_at(made: Consortium) -> None:
    records = signed_records(to_wire(made.message(question(made))), "a", KEY, None)
    records["code"] = ConfigRecord({"run": b"import os"})
    records["metrics"] = MetricRecord({"x": 1.0})
    assert numbers(receive(made.folders["a"], records)) == [0]


_VALUES = st.one_of(
    st.text(max_size=70), st.integers(-(2**62), 2**62), st.floats(), st.booleans(), st.binary(max_size=70),
    st.lists(st.text(max_size=2), max_size=64), st.just("0" * 64), st.just(["0"] * 64), st.just(0),
)  # fmt: skip
_PROOFS = st.dictionaries(
    st.sampled_from(["signature", "lines", "hash", "countersignature", "other"]), _VALUES, max_size=5
)


@given(proof=_PROOFS, valid=st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_proof_makes_a_site_raise_or_keep_a_head_that_is_not_signed(
    shared: Consortium, proof: dict[str, Any], valid: bool
) -> None:
    wire = to_wire(shared.message(question(shared)))
    records = wire_records(wire)
    signature = {"signature": KEY.message("a", wire.digest)} if valid else {}
    records["message"].update({f"proof.{name}": value for name, value in (proof | signature).items()})
    (number,) = numbers(receive(shared.folders["a"], records))
    assert number in ((0, 425, 501) if valid and set(proof) <= {"signature"} else (425, 501))
    assert not (shared.folders["a"] / "store" / "ledger.countersigned.json").exists()


def test_a_head_that_is_signed_and_untrue_stops_nothing_and_is_told_to_the_hospital(
    made: Consortium, caplog: Any
) -> None:
    """A coordinator can only say with it that lines are missing, which the hospital can check with its own copies."""
    wire = to_wire(made.message(question(made)))
    told = receive(made.folders["a"], signed_records(wire, "a", KEY, Head(10**9, "f" * 64)))
    assert numbers(told) == [0]
    assert "FEDMVI-513" in caplog.text
    assert from_records(told).text
