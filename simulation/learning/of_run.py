"""simulation: learning: the baselines of a run that has finished, put beside its networks in its report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.errors import FedmviError
from common.networks.weights import read_weights
from common.published.networks import chosen
from common.published.results import Estimate, Result, read_results
from common.study.fingerprint import study_fingerprint
from common.study.protocol import Study
from server.study.network_development_results import joined_name
from server.study.results import write_results
from server.study.run_directory import RunDirectory
from simulation.learning.compare import FEDERATED, Compared
from simulation.learning.comparison import Row

STATISTIC = "pooled-and-alone"


@dataclass(frozen=True)
class OfRun:
    """A finished run of a study, whose baselines are trained.

    Raises
    ------
    FedmviError
        702 the run has not finished, 704 its results are of another protocol.
    """

    run: RunDirectory
    study: Study

    def __post_init__(self) -> None:
        if read_results(self.run.results_file).study_fingerprint != study_fingerprint(self.study):
            raise FedmviError(704, f"{self.run.folder}: the run is of another protocol than the study that is given")

    def combination(self, network: str | None) -> tuple[str, ...] | None:
        """The sequences that the run chose for a network, None for the first; None where it chose none."""
        name = self.study.networks[0].name if network is None and self.study.networks else network
        results = read_results(self.run.results_file).results
        found = (chosen(result) for result in results if result.id == f"network.{name}.selection")
        return next((tuple(combination.split("+")) for combination in found if combination is not None), None)

    def put(self, done: Compared) -> Compared:
        """Put the comparison into the run's results, in place of an earlier one, and say whether it trained the same.

        Raises
        ------
        FedmviError
            706 another process works on the run.
        """
        told = replace(done, notes=(*done.notes, self._same(done)))
        ours = f"network.{done.network.name}.{STATISTIC}."
        with self.run.locked():
            results = read_results(self.run.results_file)
            kept = [result for result in results.results if not result.id.startswith(ours)]
            write_results(results.model_copy(update={"results": [*kept, *_results(self.study, told)]}),
                          self.run.results_file)  # fmt: skip
        return told

    def _same(self, done: Compared) -> str:
        """Whether the federated training is the run's own, by the weights that the run kept."""
        path = self.run.models / done.network.name / joined_name(done.combination) / "seed0.safetensors"
        if not path.exists():
            return "The run kept no weights of these sequences: whether its training is repeated here is not known."
        _, weights = read_weights(path)
        if np.array_equal(weights, done.weights):
            return "The federated training is the run's own, bit for bit: baselines and run differ in nothing else."
        return (
            "The federated training is not the run's own bit for bit: another machine, other versions or other sites. "
            f"The largest difference of a weight is {float(np.max(np.abs(weights - done.weights))):.2g}."
        )


def _results(study: Study, done: Compared) -> Iterator[Result]:
    for cohort in dict.fromkeys(row.cohort for row in done.rows):
        rows = [row for row in done.rows if row.cohort == cohort]
        base: dict[str, Any] = {
            "id": f"network.{done.network.name}.{STATISTIC}.{cohort}",
            "statistic": STATISTIC,
            "title": f"Federated, pooled and alone: {done.network.title}, cohort {cohort}",
            "cohort": cohort,
            "sites": sorted(study.cohort(cohort).sites),
            "how": "simulated",
            "n": rows[0].patients,
            "note": " ".join(done.notes),
        }
        lacking = [Estimate(name="auc", term=way, value=None, note=why) for way, why in done.not_estimable.items()]
        estimates = [estimate for row in rows for estimate in _estimates(row)]
        yield Result.model_validate({**base, "estimates": [*estimates, *lacking]})


def _estimates(row: Row) -> Iterator[Estimate]:
    yield Estimate(name="auc", term=row.way, value=row.auc.value, low=row.auc.low, high=row.auc.high)
    apart = row.auc_difference
    if row.way != FEDERATED and apart is not None:
        yield Estimate(name="auc_difference", term=row.way, value=apart.value, low=apart.low, high=apart.high)
