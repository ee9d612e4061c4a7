"""simulation: learning: bytes of one round of training, as they pass between server and site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.federation.envelope import Ticket
from common.federation.learning import Job, RoundLoss, RoundUpdate, TrainRound
from common.federation.ports import InProcess, Meter, SitesPort, ungated
from common.federation.query import Ask, Receipt, Task, perform, total
from common.networks.architecture import architecture_of
from common.networks.weights import vector_size
from common.study.networks import Network
from common.study.recipe import Recipe
from simulation.learning.no_table import NoTable
from simulation.views import named_masks

SITES = ("one", "three", "two")
CHANGE = 1e-3
"""Standard deviation of a weight's change; bytes do not depend on it."""


@dataclass(frozen=True)
class Traffic:
    """One round at one site.

    Attributes
    ----------
    way
        `plain` or `masked`, with or without SCAFFOLD's variates.
    parameters
        Weights of the network.
    to_site, from_site
        Bytes, with all that frames them.
    """

    way: str
    parameters: int
    to_site: int
    from_site: int

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        each = {"to_site": self.to_site / self.parameters, "from_site": self.from_site / self.parameters}
        return {
            "way": self.way,
            "parameters": self.parameters,
            "bytes_to_site": self.to_site,
            "bytes_from_site": self.from_site,
            "bytes_a_parameter": each,
        }


def traffic(network: Network, combination: tuple[str, ...], classes: int) -> list[Traffic]:
    """Meter one round of a network on three sites in this process, four ways; nothing is trained."""
    size = vector_size(architecture_of(network, combination, classes))
    rows = []
    for variates in (False, True):
        for masked in (False, True):
            name = ("masked" if masked else "plain") + (", SCAFFOLD" if variates else "")
            views = {site: _Updated(size, at) for at, site in enumerate(SITES)}
            hide = {site: named_masks(site, SITES) if masked else None for site in SITES}
            meter = Meter(InProcess({site: ungated(view, hide[site]) for site, view in views.items()}))
            port = SitesPort(meter, Ticket("local", "", {network.cohort: SITES}))
            port.ask(_round(network, Job(network.name, combination, 0), size, classes, variates=variates))
            rows.append(Traffic(name, size, meter.bytes_to_sites // len(SITES), meter.bytes_from_sites // len(SITES)))
    return rows


def _round(network: Network, job: Job, size: int, classes: int, *, variates: bool) -> Sequence[Ask]:
    weights = np.zeros(size, dtype=np.float32)
    variate = weights if variates else np.empty(0, dtype=np.float32)
    task = perform(TrainRound(network.cohort, job, 0, weights, variate, (1.0,) * classes, ""))
    return (
        task,
        total(RoundLoss(network.cohort, Recipe(), job, 0, task.digest)),
        total(RoundUpdate(network.cohort, Recipe(), job, 0, task.digest, size, variates)),
    )


@dataclass(frozen=True)
class _Updated(NoTable):
    """A site whose network has changed at random."""

    size: int
    seed: int

    def perform(self, task: Task) -> Receipt:
        """Nothing is trained."""
        return {"work": perform(task).digest}

    def work(self, _: str) -> Mapping[str, NDArray[Any]]:
        """See `SiteView`."""
        rng = np.random.default_rng(self.seed)
        update, variate = (rng.normal(0, CHANGE, self.size).astype(np.float32) for _ in range(2))
        counts = {name: np.array(40) for name in ("patients", "training_patients", "validation_patients")}
        losses = {name: np.array(1.0) for name in ("training_loss", "validation_loss")}
        return {"update": update, "variate": variate, **counts, **losses}
