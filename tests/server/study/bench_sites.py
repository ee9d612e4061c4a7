"""Sites with a workbench over tiny drawn stacks in memory: no gate and no files, so that networks train in seconds."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.learning.dataset import Learners
from client.learning.work import Works
from client.learning.workbench import Workbench, dealt_folds
from common.federation.envelope import Ticket
from common.federation.ports import InProcess, SitesPort, ungated
from common.federation.query import Query, Receipt, Task
from common.study.declarations import as_tuples
from common.study.features import LANDMARKS
from common.study.networks import Network
from common.study.protocol import Study
from common.study.recipe import Fold, Frame, Made
from common.study.table import FloatArray, SiteTable

SIZE = 32
TRAIN = ("a", "b", "c")
TEST = ("d", "e", "f")

STUDY = """
[study]
name = "tiny-network"
title = "A tiny network"
description = "For tests."
simulated = true
sources = ["drawn"]

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]

[[endpoints]]
name = "grade"
kind = "ordinal"
columns = ["grade"]
levels = [["M0"], ["M1"], ["M2"]]

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "test"
role = "external-test"
sites = ["d", "e", "f"]

[preparation]
modality = "mr"
phases = ["t1", "t1v"]
reference = "t1v"

[preparation.stacks]
slices = 3
size = 32

[[networks]]
name = "net"
label = "Net"
endpoint = "grade"
present = "mvi"
cohort = "train"
evaluate = ["test"]
combinations = [["t1"], ["t1", "t1v"]]
width = 8
blocks = 1
size = 32
seeds = 1

[networks.training]
learning_rate = 1e-2
precision = "fp32"

[networks.federation]
rounds = 1
epochs_per_round = 3
"""


def study_of(network: Mapping[str, Any] | None = None, **tables: Mapping[str, Any]) -> Study:
    """The study with other fields of its network, or of the network's tables."""
    data = tomllib.loads(STUDY)
    data["networks"][0] |= network or {}
    for name, fields in tables.items():
        data["networks"][0][name] = data["networks"][0].get(name, {}) | fields
    return Study.model_validate(as_tuples(data))


def draw(site: str, patients: int, *, effect: float = 1.0, seed: int = 0) -> tuple[NDArray[np.int64], Any, Any]:
    """Grades, images (n, 2, 3, SIZE, SIZE) whose middle in the second sequence is brighter by grade, percentiles."""
    rng = np.random.default_rng([seed, *site.encode()])
    grades = rng.permutation(np.resize([0, 0, 1, 2], patients))
    images = rng.normal(100.0, 10.0, (patients, 2, 3, SIZE, SIZE)).astype(np.float32)
    images[:, 1, :, 8:24, 8:24] += 10.0 * effect * grades[:, np.newaxis, np.newaxis, np.newaxis]
    images[:, 0, :, 8:24, 8:24] += 4.0 * effect * (grades > 0)[:, np.newaxis, np.newaxis, np.newaxis]
    body = np.percentile(images, LANDMARKS, axis=(2, 3, 4)).transpose(1, 2, 0).astype(np.float32)
    return grades, images, body


@dataclass
class BenchSite:
    """A view of one site in one cohort: frames, tasks, and nothing that a gate would do."""

    study: Study
    name: str
    cohort: str
    folder: Path
    patients: int = 20
    effect: float = 1.0
    bench: Workbench = field(init=False)
    table: SiteTable = field(init=False)
    keys: NDArray[np.uint64] = field(init=False)

    def __post_init__(self) -> None:
        grades, self._images, self._body = draw(self.name, self.patients, effect=self.effect)
        ids = tuple(f"{self.name}-{i}" for i in range(self.patients))
        endpoints = {"grade": grades.astype(np.float64), "mvi": (grades > 0).astype(np.float64)}
        failed: dict[str, NDArray[np.bool_]] = {}
        self.table = SiteTable(ids, {}, endpoints, failed, ("",) * self.patients)
        self.keys = np.random.default_rng(list(self.name.encode())).integers(0, 2**63, self.patients).astype(np.uint64)
        works = Works(self.folder / self.name)
        self.bench = Workbench(self.study, works, self.learners, self.name.encode(), site=self.name)

    def learners(self, cohort: str, network: Network, combination: tuple[str, ...]) -> Learners:
        """The site's patients; their folds are dealt as a site deals them."""
        rows = [("t1", "t1v").index(sequence) for sequence in combination]
        training = cohort == network.cohort
        labels = self.table.endpoints[network.endpoint].astype(np.int64)
        frame = Frame({}, {network.endpoint: self.table.endpoints[network.endpoint]}, self.patients, self.keys)
        folds = Fold(dealt_folds(network), network.endpoint).apply(frame).columns["fold"].astype(np.int64)
        return Learners(
            ids=self.table.patients,
            images=self._images[:, rows],
            present=np.ones((self.patients, len(rows)), dtype=np.bool_),
            labels=labels if training else np.full(self.patients, -1),
            folds=folds if training else np.full(self.patients, -1),
            body=self._body[:, rows],
            sequences=combination,
        )

    def frame(self, query: Query) -> Frame:
        """See `SiteView`."""
        models = {model for step in query.recipe.steps if isinstance(step, Made) for model in step.models}
        made: dict[str, Mapping[str, FloatArray]] = {
            model: self.bench.columns(query.cohort, model, self.table.patients) for model in models
        }
        table = SiteTable(self.table.patients, {}, self.table.endpoints, {}, self.table.labels, made)
        everybody = np.ones(self.patients, dtype=np.bool_)
        return query.recipe.apply(table, everybody, tuple(table.endpoints), self.keys)

    def perform(self, task: Task) -> Receipt:
        """See `Worker`."""
        return self.bench.perform(task)

    def work(self, task: str) -> Mapping[str, NDArray[Any]]:
        """See `SiteView`."""
        return self.bench.work(task)

    def flow(self, cohort: str) -> Sequence[tuple[str, int]]:
        """See `SiteView`."""
        raise NotImplementedError(cohort)

    def classes(self, cohort: str, endpoint: str) -> tuple[int, int, int]:
        """See `SiteView`."""
        raise NotImplementedError(f"{cohort}, {endpoint}")


def sites_of(study: Study, folder: Path, *, patients: int = 20, effect: float = 1.0) -> dict[str, BenchSite]:
    """Every site of the study by name, each in the one cohort that it is in."""
    return {
        site: BenchSite(study, site, cohort.name, folder, patients, effect)
        for cohort in study.cohorts
        for site in cohort.sites
    }


def port_of(study: Study, sites: Mapping[str, BenchSite]) -> SitesPort:
    """A port to the sites."""
    rosters = {cohort.name: tuple(sorted(cohort.sites)) for cohort in study.cohorts}
    return SitesPort(InProcess({name: ungated(site) for name, site in sites.items()}), Ticket("run", "", rosters))
