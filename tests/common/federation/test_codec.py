"""common: what travels is exact, validated, and free of pickle."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import common.statistics  # noqa: F401
from common.errors import FedmviError
from common.federation.codec import Packed, from_bytes, pack, to_bytes, unpack
from common.federation.query import Ask, Mode, Query, read_ask, total
from common.federation.records import from_records, to_records
from common.statistics.logistic import LogisticSums
from common.study.coding import CodedColumn
from common.study.recipe import Complete, Group, Impute, Recipe, Score, Select, Standardise

RECIPE = Recipe(
    (
        Select((CodedColumn("afp>20", "afp", "above", cutoff=20.0),)),
        Group("mvi", ("no", "yes")),
        Impute(("afp>20",), (0.1 + 0.2,)),
        Complete(("afp>20",), ("mvi",)),
        Standardise(("afp>20",), (1 / 3,), (5e-324,)),
        Score("clinical", "mvi", ("afp>20",), (1e300,), -0.0),
    )
)


def question(beta: np.ndarray) -> LogisticSums:
    return LogisticSums("train", RECIPE, "mvi", ("afp>20",), beta)


@given(hnp.arrays(np.float64, 2, elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_a_question_arrives_as_it_was_sent_bit_for_bit(beta: np.ndarray) -> None:
    ask = total(question(beta))
    over_flower = from_records(to_records(from_bytes(to_bytes(ask.packed))))
    again = read_ask("total", ask.question.name, over_flower)
    assert again.digest == ask.digest
    assert isinstance(again.question, LogisticSums)
    assert again.question.coefficients.tobytes() == beta.tobytes()
    assert again.question.recipe == RECIPE


def test_an_int_in_a_float_field_does_not_change_the_digest() -> None:
    as_float = Recipe((Impute(("a",), (1.0,)),))
    as_int = Recipe((Impute(("a",), (1,)),))
    first = Ask(Mode.TOTAL, LogisticSums("c", as_float, "mvi", ("a",), np.zeros(2)))
    second = Ask(Mode.TOTAL, LogisticSums("c", as_int, "mvi", ("a",), np.zeros(2)))
    assert first.digest == second.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "null",
        "NaN",
        '{"cohort":"c"}',
        '{"cohort":1,"recipe":{"steps":[]},"endpoint":"e","columns":[],"coefficients":{"$array":0}}',
        '{"cohort":"c","recipe":{"steps":[]},"endpoint":"e","columns":[],"coefficients":{"$array":7}}',
        '{"cohort":"c","recipe":{"steps":[]},"endpoint":"e","columns":[],"coefficients":[0.0]}',
        '{"cohort":"c","recipe":{"steps":[]},"endpoint":"e","columns":[],"coefficients":{"$array":0},"more":1}',
        '{"cohort":"c","recipe":{"steps":[{"step":"eval","code":"1"}]},"endpoint":"e","columns":[],"coefficients":{"$array":0}}',
    ],
)
def test_anything_malformed_is_refused_by_number(text: str) -> None:
    with pytest.raises(FedmviError, match="501"):
        read_ask("total", "query.logistic", Packed(text, (np.zeros(1),)))


def test_values_that_are_not_finite_are_refused() -> None:
    ask = pack(
        {"cohort": "c", "recipe": {"steps": []}, "endpoint": "e", "columns": [], "coefficients": np.array([np.nan])}
    )
    with pytest.raises(FedmviError, match="501"):
        read_ask("total", "query.logistic", ask)


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(FedmviError, match="501"):
        read_ask("total", "query.rows", Packed("{}", ()))


def test_a_pickled_array_is_never_loaded(tmp_path: object) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, text=np.array([{"a": object()}], dtype=object), allow_pickle=True)
    with pytest.raises(FedmviError, match="501"):
        from_bytes(buffer.getvalue())


def test_arrays_of_other_types_cannot_travel() -> None:
    with pytest.raises(FedmviError, match="501"):
        pack({"a": np.array([1.0], dtype=np.int32)})


def test_flower_records_with_a_wrong_layout_are_refused() -> None:
    records = to_records(pack({"a": np.arange(3.0)}))
    for layout in (
        '[["<f8",[4]]]',
        '[["|O",[3]]]',
        '[["<f8",[-3]]]',
        '[["<f8",[true]]]',
        "[]",
        "{}",
        '[["<f8",[99999999999]]]',
    ):
        records.config_records["message"]["layout"] = layout
        with pytest.raises(FedmviError, match="501"):
            from_records(records)


def test_plain_values_come_back() -> None:
    value = {"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": ("x", 1, 2.5), "c": {"d": np.zeros(())}}
    again = unpack(pack(value), dict)
    assert again["b"] == ("x", 1, 2.5)
    assert again["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert again["c"]["d"].shape == ()


def test_two_questions_cannot_have_one_name() -> None:
    class First(Query):
        name: ClassVar[str] = "query.named_twice"

    with pytest.raises(TypeError, match="named_twice"):

        class Second(Query):
            name: ClassVar[str] = "query.named_twice"

    del Query.registry["query.named_twice"]
