"""tests: a small study of gene expression over frames in this process: three hospitals, a set of genes that differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.federation.ports import SitesPort
from common.federation.runner import conclude
from common.study.genomics import gene_columns
from common.study.loader import parse_study
from common.study.protocol import Study
from common.study.recipe import Frame, Recipe
from server.study.expression import Compared, Grouped, Groups, compare_expression
from simulation.cohorts.gene_sets import GLUCOSE_METABOLISM
from simulation.shift_views import port_of

OTHERS = tuple(f"OTHER{i}" for i in range(260))
GENES = (*GLUCOSE_METABOLISM, *OTHERS)
SETS = {
    "Glucose metabolism": GLUCOSE_METABOLISM,
    **{f"Others {k}": OTHERS[12 * k : 12 * k + 24] for k in range(9)},
    "Too small": GENES[:3],
}
SITES = ("alpha", "beta", "gamma")
_DIFFERING = 30
"""So many of the first genes rise, and of the last fall."""
_TEXT = """
[study]
name = "expressed"
title = "Genes by predicted invasion"
description = "Three hospitals have RNA."
simulated = true
[[endpoints]]
name = "mvi"
kind = "binary"
label = "Microvascular invasion"
columns = ["mvi"]
positive = ["present"]
negative = ["absent"]
[[cohorts]]
name = "train"
role = "train"
label = "train"
sites = ["alpha", "beta", "gamma"]
[[cohorts]]
name = "rna"
role = "genomics"
label = "rna"
sites = [{sites}]
[[models]]
name = "clinical"
label = "Clinical model"
endpoint = "mvi"
cohort = "train"
predictors = ["afp", "age"]
[limits]
min_patients = 12
[genomics]
scale = "{scale}"
genes = [{genes}]
[genomics.gene_sets]
file = "sets.gmt"
sha256 = "{digest}"
smallest = 10
[[genomics.comparisons]]
name = "by-group"
cohort = "rna"
group = "score.clinical"
covariates = ["age"]
[[genomics.comparisons]]
name = "by-score"
cohort = "rna"
group = "score.clinical"
by = "score"
"""


def quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def protocol(
    scale: str = "counts",
    sites: tuple[str, ...] = SITES,
    digest: str = "0" * 64,
    genes: tuple[str, ...] = GENES,
) -> str:
    """The study as it is written."""
    return _TEXT.format(scale=scale, sites=quoted(sites), genes=quoted(genes), digest=digest)


def expressed_study(scale: str = "counts", sites: tuple[str, ...] = SITES) -> Study:
    """Genes by a model's group and by its score."""
    return parse_study(protocol(scale, sites))


def frames(sites: tuple[str, ...] = SITES, n: int = 30, seed: int = 4) -> dict[str, Frame]:
    """Negative binomial counts; with a high score genes of the first set are 2.8 times as high, others as low.

    Every gene has a level of its own at each site, and one gene is never found at the first.
    """
    rng = np.random.default_rng(seed)
    share = np.exp(rng.standard_normal(len(GENES)))
    made = {}
    for i, site in enumerate(sites):
        score = rng.uniform(0.05, 0.95, n)
        group = (score >= 0.5).astype(float)
        level = share * np.exp(0.5 * rng.standard_normal(len(GENES)))
        depth = 3e4 * np.exp(0.3 * rng.standard_normal(n))
        change = np.zeros(len(GENES))
        change[:_DIFFERING], change[-_DIFFERING - 1 :] = 1.5, -1.5
        mean = depth[:, None] * (level / level.sum()) * 2.0 ** (group[:, None] * change)
        counts = rng.negative_binomial(10.0, 10.0 / (10.0 + mean)).astype(float)
        if i == 0:
            counts[:, -1] = 0.0
        columns = dict(zip(gene_columns(GENES), counts.T, strict=True))
        own = {"library": counts.sum(axis=1), "group": group, "score.clinical": score, "age": rng.normal(55, 9, n)}
        made[site] = Frame({**columns, **own}, {}, n, rng.integers(0, 2**64, size=n, dtype=np.uint64))
    return made


GROUPED: Groups = {name: Grouped(Recipe(), "score.clinical") for name in ("by-group", "by-score")}
"""Groups and scores that the frames have already."""


@dataclass(frozen=True)
class Made:
    """A study, and a port over the frames of its hospitals."""

    study: Study
    port: SitesPort

    def compare(self, groups: Groups = GROUPED) -> list[Compared]:
        """What its comparisons find."""
        found: list[Compared] = conclude(self.port, [compare_expression(self.study, groups)])[0]
        return found


def expressed(scale: str = "counts", sites: tuple[str, ...] = SITES, n: int = 30) -> Made:
    """The study with its hospitals."""
    return Made(expressed_study(scale, sites), port_of({"rna": frames(sites, n)}))
