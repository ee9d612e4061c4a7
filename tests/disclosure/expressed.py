"""tests: a small consortium of which three sites have sequenced tumours, and what may be asked of their genes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.federation.query import Ask, perform, total
from common.federation.tasks import Freeze
from common.statistics.voom_sums import ExpressionProducts
from common.statistics.voom_weights import WeightedProducts
from common.study.comparing import declared_groups, frozen_names, scored_groups
from common.study.expressed import EffectiveLibrary
from common.study.genomics import LIBRARY, gene_columns
from common.study.loader import parse_study
from common.study.recipe import Impute, Recipe, Score
from common.study.scoring import Parts, frozen_prefixes
from simulation.importers.folder import introduce
from tests.disclosure.consortium import POLICY, STUDY, Consortium, Row, columns, names, rows_of, write_site

SEQUENCED = ("d", "e", "f")
GENES = tuple(f"G{i:02d}" for i in range(40))
RARE = "G00"
"""A gene that one patient of each site has."""
WITHOUT_RNA = 4
"""Patients of a site, the last."""

GENOMIC = (
    STUDY
    + f"""
[[cohorts]]
name = "rna"
role = "genomics"
sites = ["d", "e", "f"]

[genomics]
libraries = "total"
genes = [{", ".join(f'"{gene}"' for gene in GENES)}]

[[genomics.comparisons]]
name = "by-mvi"
cohort = "rna"
group = "mvi"
covariates = ["age"]

[[genomics.comparisons]]
name = "by-risk"
cohort = "rna"
group = "score.clinical"
by = "score"
"""
)

Counts = NDArray[np.int64]


def counts_of(site: str, n: int = 60) -> Counts:
    """(genes, n) counts of patients of much the same depth."""
    rng = np.random.default_rng(100 + ord(site))
    mean = np.exp(rng.normal(4.5, 1.0, (len(GENES), 1))) * np.exp(rng.normal(0.0, 0.2, n))
    counts = rng.negative_binomial(5.0, 5.0 / (5.0 + mean)) + 1
    counts[GENES.index(RARE)] = 0
    counts[GENES.index(RARE), 7] = 900
    return np.asarray(counts, dtype=np.int64)


def write_genes(folder: Path, patients: list[str], counts: Counts) -> None:
    """A table of counts, with a gene besides that the study has not and that makes libraries of about a million."""
    lines = [",".join(["gene", *patients])]
    lines += [",".join([gene, *map(str, row)]) for gene, row in zip(GENES, counts.tolist(), strict=True)]
    other = np.random.default_rng(len(patients)).integers(700_000, 1_300_000, len(patients))
    lines.append(",".join(["OTHER", *map(str, other.tolist())]))
    (folder / "expression.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def sequenced(
    folder: Path,
    change: Mapping[str, Callable[[list[Row], Counts], None]] | None = None,
    *,
    study: str = GENOMIC,
    policy: str = POLICY,
    masked: bool = False,
) -> Consortium:
    """The three sites, prepared and open; `change` edits a site's rows and counts."""
    protocol, folders = parse_study(study), {}
    for name in (*"abc", *SEQUENCED):
        rows, counts = rows_of(name), counts_of(name)
        if change and name in change:
            change[name](rows, counts)
        write_site(folder / name, name, rows, policy, masked=masked)
        if name in SEQUENCED:
            known = len(rows) - WITHOUT_RNA
            write_genes(folder / name, [row["patient_id"] for row in rows[:known]], counts[:, :known])
        prepare(load_site(folder / name), protocol)
        folders[name] = folder / name
    if masked:
        introduce(folders)
    made = Consortium(folders, protocol)
    return (made.sign() if masked else made).open()


def by_mvi(made: Consortium) -> Recipe:
    """Groups by the endpoint."""
    return declared_groups(made.study, comparison(made, "by-mvi"), ("MVI: absent", "MVI: present"))


def by_risk(made: Consortium, coefficients: tuple[float, ...] = (0.05, 0.1, 0.8, -0.5)) -> Recipe:
    """Groups by a score of the clinical model."""
    own = names(made.study, "clinical")
    score = Score("clinical", "mvi", own, coefficients, -3.0)
    filled = Impute(own, (45.0, 0.5, 0.5, 0.5))
    parts = Parts(columns(made.study, "clinical"), (), (filled,), own, (score,))
    return scored_groups(made.study, comparison(made, "by-risk"), parts, "score.clinical", 0.4)


def comparison(made: Consortium, name: str) -> Any:
    assert made.study.genomics is not None
    return next(one for one in made.study.genomics.comparisons if one.name == name)


def freeze(made: Consortium, *more: Recipe) -> Consortium:
    """Let all sites freeze the comparisons' recipes."""
    prefixes = sorted(digest for recipe in (by_risk(made), *more) for digest in frozen_prefixes(recipe))
    task = perform(Freeze(tuple(dict.fromkeys(prefixes)), ("os-by-mvi", *frozen_names(made.study))))
    assert [made.number(site, task) for site in made.ticket.roster("")] == [0] * 6
    return made


FOUND = gene_columns(GENES[1:])
AGE = ("group", "age")


def products(made: Consortium, recipe: Recipe | None = None, genes: tuple[str, ...] = FOUND, **changes: Any) -> Ask:
    known = {"design": AGE, "library": LIBRARY, "scale": "counts", **changes}
    return total(ExpressionProducts("rna", recipe or by_mvi(made), genes, **known))


def weighted(
    made: Consortium,
    coefficients: NDArray[np.float64] | None = None,
    trend: NDArray[np.float64] | None = None,
    genes: tuple[str, ...] = FOUND,
    recipe: Recipe | None = None,
    design: tuple[str, ...] = AGE,
) -> Ask:
    start = np.zeros((len(design), len(genes))) if coefficients is None else coefficients
    curve = np.array([[0.0, 16.0], [1.2, 0.6]]) if trend is None else trend
    return total(WeightedProducts("rna", recipe or by_mvi(made), genes, design, LIBRARY, start, curve))


def scaled(recipe: Recipe, genes: tuple[str, ...] = FOUND, mean: float = 4.0, scale: float = 13.8) -> Recipe:
    return recipe.then(EffectiveLibrary(genes, (mean,) * len(genes), scale))
