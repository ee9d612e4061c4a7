"""simulation: benchmarks: a radiomics study's whole chain of statistics, federated in this process, beside pooled."""

from __future__ import annotations

import numpy as np

from common.study.drafting import drawn_times
from common.study.table import FloatArray
from simulation.benchmarks import federated_statistics
from simulation.benchmarks.baselines import pooled_statistics
from simulation.benchmarks.chain import Settings
from simulation.benchmarks.measuring import Benchmark, Stopwatch, Timed, in_turn, median_steps
from simulation.benchmarks.radiomics_table import RadiomicsTable, radiomics_table
from simulation.views import row_keys

TOLERANCE = 1e-8
"""How far numbers may be apart; decisions must be equal."""

LASSO_TOLERANCE = 1e-4
"""How far the cross-validated deviance may be apart: `saga` stops at a tolerance, not at the optimum."""


def benchmark_statistics(
    features: int, patients: int, sites: int, repeats: int, *, masked: bool, settings: Settings | None = None
) -> Benchmark:
    """Time the chain on both sides, in turn, after both gave the same features, penalty and numbers."""
    settings = settings or Settings()
    table = radiomics_table(features, patients, sites, settings.folds)
    resamples = _resamples(table, settings.replicates)
    ours, _, meter = federated_statistics.run(table, settings, masked=masked)
    theirs, _ = pooled_statistics.run(table, settings, resamples)
    watches: dict[str, list[Stopwatch]] = {"federated": [], "pooled": []}

    def federated() -> None:
        watches["federated"].append(federated_statistics.run(table, settings, masked=masked)[1])

    def pooled() -> None:
        watches["pooled"].append(pooled_statistics.run(table, settings, resamples)[1])

    seconds = in_turn({"federated": federated, "pooled": pooled}, repeats)
    facts = {
        "rounds": meter.rounds,
        "kib_per_site": meter.bytes_from_sites / 1024 / sites,
        "masked": masked,
        "differences": ours.distances(theirs),
        "features_left": [len(part) for part in ours.decisions[:-1]],
    }
    return Benchmark(
        "statistics",
        Timed("federated", tuple(seconds["federated"]), facts, median_steps(watches["federated"])),
        (Timed("pooled", tuple(seconds["pooled"]), {}, median_steps(watches["pooled"])),),
        ours.equals(theirs, {"cvm": LASSO_TOLERANCE}, TOLERANCE),
        ("numpy", "scipy", "scikit-learn", "statsmodels", "mrmr-selection"),
    )


def _resamples(table: RadiomicsTable, replicates: int) -> FloatArray:
    """(replicates, n) the weights that the sites draw."""
    keys, weights = row_keys(table.y.size), np.zeros((replicates, table.y.size))
    for k in np.unique(table.site):
        rows = np.flatnonzero(table.site == k)
        weights[:, rows] = drawn_times(keys[rows], table.y[rows], 1, replicates)
    return weights
