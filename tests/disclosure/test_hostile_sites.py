"""tests: whatever a hostile hospital sends, the coordinator gets a number that names it, or the very same result.

The study runs over Flower's records and the server's own transport. Each attack is met by a run that the mended
hospital then lets go on, to the same bytes as a run that nobody disturbed.
"""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import CATALOGUE
from common.federation.codec import Packed
from tests.disclosure.consortium import STUDY, make
from tests.disclosure.hostile_attacks import ATTACKS, FIT, OF_MASKS, PLANTED, SPOILING, when
from tests.disclosure.hostile_study import Attack, Exchange, Hospitals, Recorded, names

HOSTILE = "a"
LONGEST_FAILURE = 100_000
"""What is kept of an error, in bytes."""


@pytest.fixture(scope="module", params=["plain", "masked"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A study whose sites add masks, and one whose sites do not."""
    folder = tmp_path_factory.mktemp(request.param)
    made = make(folder / "sites", masked=request.param == "masked")
    (folder / "study.toml").write_text(STUDY)
    return Recorded(Hospitals(made.folders), folder / "study.toml", folder)


@pytest.mark.parametrize(
    ("recorded", "attack"),
    [*(("plain", attack) for attack in ATTACKS), *(("masked", attack) for attack in OF_MASKS)],
    indirect=["recorded"],
)
def test_an_attack_ends_with_a_number_that_names_the_site_and_the_mended_site_with_the_same_bytes(
    recorded: Recorded, attack: str
) -> None:
    error, run = recorded.attempted(attack.replace(" ", "-"), ATTACKS[attack], HOSTILE)
    assert error is not None, "the run went on as if nothing had happened"
    assert names(error, HOSTILE) or (attack in SPOILING and "masked" in recorded.folder.name), error
    assert error.number in CATALOGUE
    assert run.failure_file.stat().st_size < LONGEST_FAILURE
    assert all(c.isprintable() or c == "\n" for c in str(error)), "a terminal would obey it"
    assert not run.results_file.exists()
    assert not PLANTED.exists(), "something was unpickled"
    assert recorded.conduct(run) is None
    assert run.results_file.read_bytes() == recorded.results


def test_a_payload_that_says_it_is_enormous_takes_no_memory(recorded: Recorded) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for attack in ("arrays larger than their bytes", "a zip bomb", "dimensions whose product is nothing"):
        recorded.attempted(f"memory-{attack}", ATTACKS[attack], HOSTILE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


# ----------------------------------------------------------------------------------- whatever it may be


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.sampled_from([10**400, 1e308, "", "0" * 64, {"$array": 0}, {"$array": 99}, {"$array": -1}]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def _mutated(value: object, data: st.DataObject) -> object:
    """The tree with one part replaced, dropped or doubled."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(sorted(value)))
        if not data.draw(st.integers(0, 9)):
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _mutated(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 9)):
        place = data.draw(st.integers(0, len(value) - 1))
        copies = data.draw(st.sampled_from([1, 1, 1, 0, 2]))
        return [*value[:place], *[_mutated(value[place], data)] * copies, *value[place + 1 :]]
    return data.draw(SCALARS | TREES)


def _layout(exchange: Exchange) -> tuple[list[list[object]], bytes]:
    arrays = exchange.reply.arrays
    return [[a.dtype.str, list(a.shape)] for a in arrays], b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)


def _records(exchange: Exchange, data: st.DataObject) -> RecordDict:
    """The honest records with their text, their layout or their bytes changed; numbers of arrays stay as they are.

    A site that sends other numbers of the right kind lies about its patients, and nobody can see that.
    """
    part = data.draw(st.sampled_from(["text", "spelling", "layout", "shorter", "longer"]))
    words, (layout, payload) = exchange.reply.text, _layout(exchange)
    if part == "text":
        words = json.dumps(_mutated(json.loads(words), data))
    elif part == "spelling":
        place = data.draw(st.integers(0, len(words) - 1))
        words = words[:place] + data.draw(st.text(max_size=3)) + words[place + data.draw(st.integers(0, 3)) :]
    elif part == "layout":
        layout = _mutated(layout, data)  # type: ignore[assignment]
    elif part == "shorter":
        payload = payload[: data.draw(st.integers(0, max(0, len(payload) - 1)))]
    else:
        payload += data.draw(st.binary(min_size=1, max_size=9))
    records = RecordDict({"message": ConfigRecord({"text": words, "layout": json.dumps(layout)})})
    if payload:
        records["arrays"] = ArrayRecord({"payload": Array("uint8", (len(payload),), "fedmvi.raw", payload)})
    return records


class Once:
    """Attacks the n-th message of a run."""

    def __init__(self, place: int, data: st.DataObject) -> None:
        self._place, self._data, self._seen = place, data, 0

    def __call__(self, exchange: Exchange) -> RecordDict | None:
        self._seen += 1
        return _records(exchange, self._data) if self._seen == self._place else None


ATTEMPTS = iter(range(10**9))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_answer_ends_in_a_number_or_in_the_very_same_result(recorded: Recorded, data: st.DataObject) -> None:
    attack: Attack = Once(data.draw(st.integers(1, 22)), data)
    error, run = recorded.attempted(f"mutated-{next(ATTEMPTS)}", attack, HOSTILE)
    if error is None:
        assert recorded.estimates_nothing_else(run.results_file.read_bytes())
    else:
        assert error.number in CATALOGUE and error.number != 901
        assert not run.results_file.exists()


def test_an_attack_is_really_sent(recorded: Recorded) -> None:
    """The suite would say nothing if its attacks met no message."""
    met: list[int] = []

    def count(exchange: Exchange) -> Packed:
        met.append(len(exchange.earlier))
        return exchange.reply

    error, run = recorded.attempted("counted", when(FIT, count), HOSTILE)
    assert error is None and run.results_file.read_bytes() == recorded.results
    assert len(met) >= 3 and met[0] >= 2
