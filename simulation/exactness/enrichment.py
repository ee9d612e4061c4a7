"""simulation: exactness of enrichment scores, which the server works out, against the C++ code of R's fgsea."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray
from server.study.enrichment import running_score
from simulation.exactness.measuring import Case, Difference, largest, public_data
from simulation.exactness.tables import ranked_genes


def scores() -> Case:
    """Enrichment scores of 20 sets, and of every beginning of one of them; nothing is asked of any site."""
    table = ranked_genes()
    return Case(table, lambda: [], lambda _: _scores(table.columns["stats"], table.columns["batchcpp_stats"]))


def _scores(statistics: FloatArray, weights: FloatArray) -> list[Difference]:
    oracle, folder = "fgsea, its C++ code", public_data("genesets") / "fgsea_reference"
    lines = (folder / "inputs" / "pathways.tsv").read_text(encoding="utf-8").splitlines()
    sets = [np.array(line.split("\t"), dtype=np.intp) - 1 for line in lines]
    theirs = [float(row["ES"]) for row in _rows(folder / "refs" / "ref_calcGseaStatBatchCpp.tsv")]
    chosen = np.loadtxt(folder / "inputs" / "cumulative_selectedStats.tsv", dtype=np.intp) - 1
    cumulative = [row for row in _rows(folder / "refs" / "ref_calcGseaStatCumulative.tsv") if row["scoreType"] == "std"]
    beginnings = [score_of(statistics, chosen[: k + 1]) for k in range(chosen.size)]
    return [
        Difference(
            "enrichment score, 20 sets", oracle, largest([score_of(weights, one) for one in sets], theirs), 1e-12
        ),
        Difference(
            "enrichment score, beginnings of a set",
            oracle,
            largest(beginnings, [float(row["value"]) for row in cumulative]),
            1e-12,
        ),
    ]


def score_of(statistics: FloatArray, members: NDArray[np.intp]) -> float:
    """The largest deviation of the running sum from 0, with its sign."""
    running = running_score(statistics, members)
    return float(running[np.abs(running).argmax()])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


CASES = (scores,)
