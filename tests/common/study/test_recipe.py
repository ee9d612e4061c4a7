"""common: recipes: coding of cells, censored values, and scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from common.errors import FedmviError
from common.study.coding import CodedColumn
from common.study.recipe import Complete, Impute, Recipe, Score, Select, logistic_function
from common.study.table import Column, SiteTable


def column(values: list[float], censored: list[int] | None = None, levels: tuple[str, ...] = ()) -> Column:
    return Column(np.array(values), levels, np.array(censored or [0] * len(values), dtype=np.int8))


def table(**columns: Column) -> SiteTable:
    n = len(next(iter(columns.values())).values)
    return SiteTable(tuple(f"p{i}" for i in range(n)), columns, {}, {}, ("",) * n)


ABOVE = CodedColumn("afp>20", "afp", "above", cutoff=20.0)


def test_censored_cells_count_where_the_cut_off_decides_them() -> None:
    afp = column([20.0, 1210.0, 20.0, np.nan, 20.0], [-1, 1, 1, 0, 0])  # <=20, >1210, >20, missing, 20
    assert ABOVE.code(afp).tolist()[:3] == [0.0, 1.0, 1.0]
    assert np.isnan(ABOVE.code(afp)[3])
    assert ABOVE.code(afp)[4] == 0.0


@pytest.mark.parametrize(("value", "sign"), [(25.0, -1), (15.0, 1)])
def test_censored_cells_that_the_cut_off_does_not_decide_are_refused(value: float, sign: int) -> None:
    with pytest.raises(FedmviError, match="305"):
        ABOVE.code(column([value], [sign]))


def test_a_censored_cell_is_never_used_as_a_number() -> None:
    with pytest.raises(FedmviError, match="305"):
        CodedColumn("afp", "afp", "linear").code(column([20.0], [-1]))


def test_a_censored_cell_of_a_patient_outside_the_cohort_does_no_harm() -> None:
    data = table(afp=column([25.0, 7.0], [-1, 0]))
    frame = Recipe((Select((ABOVE,)),)).apply(data, np.array([False, True]), ())
    assert frame.columns["afp>20"].tolist() == [0.0]


def test_steps_apply_in_order() -> None:
    data = table(afp=column([10.0, np.nan, 30.0]), sex=column([0, 1, 1], levels=("female", "male")))
    recipe = Recipe(
        (
            Select((ABOVE, CodedColumn("sex=male", "sex", "equals", level="male"))),
            Impute(("afp>20",), (0.25,)),
            Complete(("afp>20", "sex=male"), ()),
            Score("m", "mvi", ("afp>20", "sex=male"), (2.0, -1.0), 0.5),
        )
    )
    frame = recipe.apply(data, np.ones(3, bool), ())
    assert frame.columns["score.m"] == pytest.approx(
        np.round(expit([0.5, 0.5 + 0.5 - 1.0, 0.5 + 2.0 - 1.0]), 4), rel=1e-15
    )


def test_a_step_that_reads_the_table_may_not_come_late() -> None:
    with pytest.raises(FedmviError, match="501"):
        Recipe((Complete((), ()), Select((ABOVE,)))).apply(table(afp=column([1.0])), np.ones(1, bool), ())


@given(st.floats(-700, 700))
def test_the_logistic_function_keeps_its_relative_precision(x: float) -> None:
    assert logistic_function(np.array([x]))[0] == pytest.approx(float(expit(x)), rel=1e-14)
