"""common/statistics: the reduction keeps its order, never asks a large matrix, and leaves what each step leaves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from common.federation.ports import Meter, SitesPort
from common.federation.query import Query
from common.federation.runner import conclude
from common.statistics.correlation import CrossProducts
from common.statistics.reduction import Reduction, Thresholds, reduce_features
from common.study.recipe import Recipe
from simulation.benchmarks.federated_statistics import SECOND, port_of
from simulation.benchmarks.radiomics_table import RadiomicsTable, radiomics_table
from simulation.views import COHORT


@pytest.fixture(scope="module")
def table() -> RadiomicsTable:
    return radiomics_table(300, 240, 4, 5)


def reduced(table: RadiomicsTable, readers: bool = True, **limits: float) -> tuple[Reduction, Meter]:
    port = port_of(table, masked=False)
    meter = Meter(port.transport)
    second = (tuple(f"{name}{SECOND}" for name in table.names),) if readers else ()
    asked = reduce_features(COHORT, Recipe(), "y", table.names, second, Thresholds(**limits))  # type: ignore[arg-type]
    (result,) = conclude(SitesPort(meter, port.ticket), [asked])
    return result, meter


def test_every_step_leaves_a_part_of_what_the_one_before_left(table: RadiomicsTable):
    result, meter = reduced(table)
    steps = [step for step, _ in result.left_]
    assert steps == ["near-zero variance", "agreement of readers", "univariable", "correlation", "mRMR"]
    parts = [set(features) for _, features in result.left_]
    assert all(after <= before for before, after in pairwise(parts))
    assert len(parts[0]) < 300 and len(parts[1]) < len(parts[0]) and len(parts[2]) < len(parts[1])
    assert len(result.selected_) == 30
    assert meter.rounds <= 25
    constant = {n for n, values in zip(table.names, table.first.T, strict=True) if np.ptp(values) == 0}
    assert constant and not constant & parts[0]


def test_no_matrix_of_more_columns_than_a_third_of_the_patients_is_asked(
    table: RadiomicsTable, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Query] = []
    answer = CrossProducts.answer

    def spy(self: CrossProducts, frame: object) -> object:
        asked.append(self)
        return answer(self, frame)  # type: ignore[arg-type]

    monkeypatch.setattr(CrossProducts, "answer", spy)
    result, _ = reduced(table, fdr=1.0)
    assert len(dict(result.left_)["univariable"]) == int(0.33 * table.y.size)
    assert asked and max(len(query.columns) for query in asked if isinstance(query, CrossProducts)) <= 0.33 * 240


def test_without_second_readings_their_agreement_is_no_step(table: RadiomicsTable):
    result, _ = reduced(table, readers=False)
    assert [row["step"] for row in result.summary][:2] == ["near-zero variance", "univariable"]
