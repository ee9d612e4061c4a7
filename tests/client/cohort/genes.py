"""tests/client/cohort: tables of gene expression as hospitals have them, and a study that compares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cohort.expression import read_expression
from client.cohort.problems import CellError, Problems, worst_first
from client.cohort.site import load_site
from common.errors import FedmviError
from common.study.expressed import GeneTable
from common.study.loader import parse_study
from common.study.protocol import Study
from tests.client.cohort.conftest import STUDY

GENES = tuple(f"GENE{i}" for i in range(1, 41))
"""The study's; each is also known by an Ensembl identifier."""
PATIENTS = tuple(f"p{i}" for i in range(40))

GENOMICS = """
[[cohorts]]
name = "rna"
role = "genomics"
sites = ["a", "b", "c"]

[genomics]
genes = '''
{genes}
'''
scale = "{scale}"
[[genomics.comparisons]]
name = "mvi"
cohort = "rna"
group = "score.clinical"
covariates = ["afp"]
"""


def ensembl(symbol: str) -> str:
    return f"ENSG{int(symbol.removeprefix('GENE')):011d}"


def genomic_study(scale: str = "counts", genes: tuple[str, ...] = GENES) -> Study:
    lines = "\n".join(f"{gene} {ensembl(gene)}" for gene in genes)
    return parse_study(STUDY + GENOMICS.format(genes=lines, scale=scale))


def counts(genes: int = 100, patients: int = len(PATIENTS), seed: int = 1) -> NDArray[np.float64]:
    """(genes, patients) of a library of some hundred thousand reads."""
    rng = np.random.default_rng(seed)
    means = np.exp(rng.normal(7, 1.5, (genes, 1))) * np.exp(rng.normal(0, 0.2, (1, patients)))
    return rng.negative_binomial(5, 5 / (5 + means)).astype(np.float64)


def per_million(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(1e6 * values / values.sum(axis=0), 2)


def named(genes: int = 100) -> tuple[str, ...]:
    """Names of the rows: the study's genes first, in the opposite order, then others."""
    return (*reversed(GENES), *(f"OTHER{i}" for i in range(genes - len(GENES))))


def as_text(names: tuple[str, ...], patients: tuple[str, ...], values: NDArray[np.float64], between: str = ",") -> str:
    lines = [between.join(("gene", *patients))]
    lines += [between.join((name, *(f"{v:.15g}" for v in row))) for name, row in zip(names, values, strict=True)]
    return "\n".join(lines) + "\n"


def write(folder: Path, text: str, file: str = "expression.csv") -> None:
    (folder / file).write_text(text, encoding="utf-8")


def read(folder: Path, study: Study) -> tuple[GeneTable | None, list[FedmviError]]:
    """What a site has, worst first."""
    problems = Problems()
    table = read_expression(load_site(folder), study, PATIENTS, problems)
    return table, worst_first(problems.found)


def told(problems: list[FedmviError]) -> set[tuple[int, str, int, str]]:
    """(number, severity, row, column) of each."""
    places = ((p.place.row, p.place.column) if isinstance(p, CellError) else (0, "") for p in problems)
    return {(p.number, p.severity.name, *place) for p, place in zip(problems, places, strict=True)}
