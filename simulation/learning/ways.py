"""simulation: learning: one network trained three ways on the same sites: pooled, each site alone, and federated.

All three are the same conclusion (`server/study/training.py`) over other federations: one site that holds everybody,
one site that holds its own, and all sites. Settings, seeds, folds and first weights are the same. **Pooling is for
simulations only**: no real study brings patients together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.learning.dataset import Learners
from client.learning.work import Works
from client.learning.workbench import Workbench
from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.learning import WHOLE, Job, Member, ScorePatients
from common.federation.ports import InProcess, Meter, SitesPort, ungated
from common.federation.query import Receipt, Task
from common.federation.runner import conclude
from common.study.networks import Network
from common.study.protocol import Study
from common.study.table import FloatArray
from server.strategies.choice import strategy_of
from server.study.checkpoints import MemoryCheckpoints, finished_weights
from server.study.network_development import class_weights, used
from server.study.network_scores import in_batches
from server.study.training import TrainedJob, train_job
from simulation.learning.comparison import Scored
from simulation.learning.no_table import NoTable

Combination = tuple[str, ...]
Cohorts = Mapping[str, Learners]
"""A site's patients for one combination of sequences, by cohort."""


@dataclass(frozen=True)
class BenchView(NoTable):
    """A site that does the tasks of networks."""

    bench: Workbench

    def perform(self, task: Task) -> Receipt:
        """See `Worker`."""
        return self.bench.perform(task)

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        """See `SiteView`."""
        return self.bench.work(task)


@dataclass(frozen=True)
class Trained:
    """What one way of training came to.

    Attributes
    ----------
    study
        With the network as it was trained.
    members
        By seed, what scores: out of fold by fold, and `WHOLE` everybody else.
    rounds
        By seed, rounds of the training on everybody.
    folder
        Where the benches of its sites keep their work: site-local normalisation is there.
    sites
        Those that took part in training.
    meter
        What passed between server and sites.
    steps
        Steps of the sites' optimisers in a round of the training on everybody, by site.
    """

    study: Study
    members: Mapping[int, tuple[Member, ...]]
    rounds: Mapping[int, int]
    folder: Path
    sites: frozenset[str]
    meter: Meter
    steps: Mapping[str, int]


@dataclass(frozen=True)
class Ways:
    """Trains and scores.

    Attributes
    ----------
    study, network, combination
        What is trained.
    sites
        Patients by site and cohort.
    folder
        Where benches keep their work; a new one.
    secrets
        Of the sites, from which they draw: with them the federated training is that of a run. A site without one draws
        by its name.
    """

    study: Study
    network: Network
    combination: Combination
    sites: Mapping[str, Cohorts]
    folder: Path
    secrets: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def training_sites(self) -> tuple[str, ...]:
        """Those that have training patients, in order."""
        return tuple(sorted(site for site, cohorts in self.sites.items() if self.network.cohort in cohorts))

    def federated(self) -> Trained:
        """All training sites, with the protocol's federated optimiser.

        Raises
        ------
        FedmviError
            602 no patient of one of the grades; 680, 681, 682 and those of the sites.
        """
        mine = {site: self.sites[site][self.network.cohort] for site in self.training_sites}
        return self._trained("federated", mine, self.network)

    def on_everybody(self, rounds: Mapping[int, int]) -> Trained:
        """As `federated`, for so many rounds by seed, and without folds: nobody is scored out of fold."""
        mine = {site: self.sites[site][self.network.cohort] for site in self.training_sites}
        return self._trained("federated", mine, self.network, rounds)

    def pooled(self) -> Trained:
        """One site that holds the patients of all: for simulations only. Raises as `federated`."""
        first, *others = (self.sites[site][self.network.cohort] for site in self.training_sites)
        return self._trained("pooled", {"pooled": first.joined(*others)}, self._central)

    def alone(self, site: str) -> Trained:
        """One training site by itself. Raises as `federated`."""
        return self._trained(f"alone-{site}", {site: self.sites[site][self.network.cohort]}, self._central)

    def _secret(self, site: str) -> bytes:
        """In every way of training the same site draws the same numbers."""
        return self.secrets.get(site, site.encode())

    @property
    def central_layers(self) -> str:
        """Normalisation of pooled and alone, where there is nothing to keep from other sites."""
        return "batch" if self.network.statistics_stay else self.network.normalisation

    @property
    def _central(self) -> Network:
        """One site's network has no federated optimiser, and its statistics go with it wherever it scores."""
        federation = self.network.federation.model_copy(update={"strategy": "fedavg"})
        return self.network.model_copy(update={"federation": federation, "normalisation": self.central_layers})

    def _trained(
        self, way: str, patients: Mapping[str, Learners], network: Network, told: Mapping[int, int] | None = None
    ) -> Trained:
        cohort = network.cohort
        study = self.study.model_copy(update={"networks": (network,)})
        benches = {
            site: Workbench(
                study, Works(self.folder / way / site), _of({cohort: learners}), self._secret(site), site=site
            )
            for site, learners in patients.items()
        }
        handlers = {site: ungated(BenchView(bench)) for site, bench in benches.items()}
        meter = Meter(InProcess(handlers))
        port = SitesPort(meter, Ticket(way, "", {cohort: tuple(sorted(benches))}))
        checkpoints = MemoryCheckpoints()
        known = np.concatenate([each.labels[each.labels >= 0] for each in patients.values()])
        levels = np.bincount(known, minlength=self._classes)
        self._refuse_empty(levels)
        train = partial(self._train, port, network, class_weights(network, levels), checkpoints)
        if told is None:
            done, folds = self._jobs(train, network), network.held_out
        else:
            done, folds = train({self._job(seed, WHOLE): told[seed] for seed in range(network.seeds)}), ()
        members, rounds = {}, {}
        for seed in range(network.seeds):
            final = used(network, (self.combination, seed))
            of_folds = (self._member(done[self._job(seed, fold)], fold, checkpoints) for fold in folds)
            members[seed] = (*of_folds, self._member(done[final], WHOLE, checkpoints))
            rounds[seed] = done[final].rounds
        steps = {site: _steps(network, learners) for site, learners in patients.items()}
        return Trained(study, members, rounds, self.folder / way, frozenset(benches), meter, steps)

    def _refuse_empty(self, levels: NDArray[np.int64]) -> None:
        names = self.study.endpoint(self.network.grades).level_names
        empty = [name for name, count in zip(names, levels, strict=True) if count == 0]
        if empty:
            local = f"no patient of grade {', '.join(empty)}"
            raise FedmviError(602, local, endpoint=self.network.grades, cohort=self.network.cohort)

    def _jobs(
        self, train: Callable[[Mapping[Job, int]], dict[Job, TrainedJob]], network: Network
    ) -> dict[Job, TrainedJob]:
        """All trainings of a protocol: one a fold, then those on everybody for as many rounds as the folds' median.

        As in a study, where that is no round there is no network: error 682.
        """
        seeds, folds = range(network.seeds), network.held_out
        done = train({self._job(seed, fold): network.federation.rounds for seed in seeds for fold in folds})
        if network.development == "published":
            return done
        kept = {seed: math.floor(np.median([done[self._job(seed, fold)].rounds for fold in folds])) for seed in seeds}
        if min(kept.values()) == 0:
            raise FedmviError(682)
        return {**done, **train({self._job(seed, WHOLE): rounds for seed, rounds in kept.items()})}

    def _train(
        self,
        port: SitesPort,
        network: Network,
        weights: tuple[float, ...],
        checkpoints: MemoryCheckpoints,
        jobs: Mapping[Job, int],
    ) -> dict[Job, TrainedJob]:
        """All jobs in lock-step; the first error that one meets is raised."""
        strategy = strategy_of(network.federation)
        makers: list[Callable[[], Any]] = [
            partial(train_job, network, job, len(weights), weights, strategy, rounds, checkpoints)
            for job, rounds in jobs.items()
        ]
        (found,) = conclude(port, [in_batches(makers, network.federation.lock_step)])
        for each in found:
            if isinstance(each, FedmviError):
                raise each
        return dict(zip(jobs, found, strict=True))

    def _member(self, job: TrainedJob, fold: int, checkpoints: MemoryCheckpoints) -> Member:
        return Member(fold, finished_weights(checkpoints, job.job), job.local)

    def _job(self, seed: int, fold: int) -> Job:
        return Job(self.network.name, self.combination, seed, fold)

    @property
    def _classes(self) -> int:
        return len(self.study.endpoint(self.network.grades).level_names)

    def scored(self, trained: Trained, cohort: str) -> Scored:
        """What a way's networks say of a cohort: of the training cohort out of fold, of others by the final network.

        Every site's patients are scored at their own site, with its own normalisation where it took part in training
        and otherwise, as at a hospital that did not, with one estimated from its images. Sites are in order; a
        patient whom the protocol's development leaves unscored is NaN.
        """
        parts = [self._scored_at(site, trained, cohort) for site in sorted(self.sites) if cohort in self.sites[site]]
        present, likeliest = (np.concatenate([part[i] for part in parts], axis=1) for i in range(2))
        return Scored(present, likeliest)

    def _scored_at(self, site: str, trained: Trained, cohort: str) -> tuple[FloatArray, FloatArray]:
        """(seeds, n) probabilities of presence, and likeliest classes."""
        own = site in trained.sites
        own_works, mine = Works(trained.folder / site), _of(self.sites[site])
        bench = Workbench(trained.study, own_works, mine, self._secret(site), site=site)
        training, found = cohort == self.network.cohort, []
        for seed, members in trained.members.items():
            chosen = tuple(
                Member(member.fold, member.weights, member.local if own else "")
                for member in members
                if (member.fold != WHOLE) == training
            )
            task = ScorePatients(cohort, self.network.name, self.combination, seed, chosen)
            bench.perform(task)
            columns = bench.columns(cohort, task.model, [str(patient) for patient in self.sites[site][cohort].ids])
            found.append([columns[name] for name in (self.network.inference, f"{self.network.inference}.grade")])
        present, likeliest = np.array(found).transpose(1, 0, 2)
        return present, likeliest


def _steps(network: Network, learners: Learners) -> int:
    """Of one site's optimiser in a round; with batch normalisation a last patient alone may join the step before."""
    known = int((learners.labels >= 0).sum())
    in_a_step = network.training.batch * network.training.accumulate
    return network.federation.epochs_per_round * math.ceil(known / in_a_step)


def _of(cohorts: Cohorts) -> Callable[[str, Network, Combination], Learners]:
    return lambda cohort, _network, _combination: cohorts[cohort]
