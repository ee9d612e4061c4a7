"""simulation: benchmarks compare like with like, report in one form, and the chain keeps to its rounds."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from common.federation.ports import Meter, SitesPort
from common.federation.runner import conclude
from common.statistics.elastic_net import elastic_net_cv
from common.statistics.logistic import logistic
from common.statistics.univariable import univariable
from common.study.recipe import Recipe
from simulation.benchmarks import statistics as benchmarked
from simulation.benchmarks.baselines import pooled_statistics
from simulation.benchmarks.chain import Chain, Settings
from simulation.benchmarks.federated_statistics import port_of, run
from simulation.benchmarks.radiomics_table import RadiomicsTable, radiomics_table
from simulation.benchmarks.statistics import TOLERANCE, benchmark_statistics
from simulation.cli import app
from simulation.views import COHORT

SMALL = Settings(lambdas=20, folds=5, replicates=200)
KEYS = {"name", "ratio", "ratios", "ours", "baselines", "machine", "versions", "repeats", "digest_equal"}


@pytest.fixture(scope="module")
def table() -> RadiomicsTable:
    return radiomics_table(200, 400, 4, SMALL.folds)


def test_both_sides_of_the_benchmark_give_the_same_features_penalty_and_numbers_within_sixty_rounds():
    report = benchmark_statistics(200, 400, 4, 1, masked=True, settings=SMALL).report()
    assert set(report) == KEYS
    assert report["digest_equal"]
    assert report["ours"]["rounds"] <= 60
    left = report["ours"]["features_left"]
    assert left == sorted(left, reverse=True) and 200 > left[0] > left[2] > left[-1] > 3, "every step has work to do"
    assert report["ratio"] == report["baselines"][0]["median_s"] / report["ours"]["median_s"]
    json.dumps(report, allow_nan=False)


def test_a_benchmark_whose_sides_differ_says_so(table: RadiomicsTable, monkeypatch: pytest.MonkeyPatch):
    chain, _, _ = run(table, SMALL, masked=False)
    other = Chain(chain.decisions, {**chain.numbers, "auc": chain.numbers["auc"] + 2 * TOLERANCE})
    assert not chain.equals(other, {}, TOLERANCE)
    assert not chain.equals(Chain((*chain.decisions[:-1], (99,)), chain.numbers), {}, TOLERANCE)
    assert chain.equals(chain, {}, TOLERANCE)
    monkeypatch.setattr(pooled_statistics, "_net_benefit", lambda *_: np.ones(99))
    monkeypatch.setattr(benchmarked, "benchmark_statistics", partial(benchmark_statistics, settings=SMALL))
    done = CliRunner().invoke(
        app, ["benchmark", "statistics", "--features", "80", "--patients", "300", "--sites", "3", "--repeats", "1"]
    )
    assert done.exit_code == 1
    assert "differ" in done.output


def test_several_models_together_cost_the_rounds_of_the_slowest(table: RadiomicsTable):
    first, second, third = (table.names[i : i + 6] for i in (0, 40, 80))

    def rounds(*parts: int) -> int:
        port = port_of(table, masked=False)
        meter = Meter(port.transport)
        makers = (
            lambda: logistic(COHORT, Recipe(), "y", first),
            lambda: univariable(COHORT, Recipe(), "y", second),
            lambda: elastic_net_cv(COHORT, Recipe(), "y", third, folds=5, count=10),
        )
        conclude(SitesPort(meter, port.ticket), [makers[i]() for i in parts])
        return meter.rounds

    assert rounds(0, 1, 2) == max(rounds(0), rounds(1), rounds(2))
