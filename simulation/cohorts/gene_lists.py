"""simulation/cohorts: what a study of a consortium's expression asks for: its list of genes, and gene sets to look for.

The sets are Reactome's "Glucose metabolism", in which all genes lie that differ with MVI, and sets of genes that do
not differ, drawn from the others: whatever is found of those is found by chance.
"""

from __future__ import annotations

from pathlib import Path

from simulation.cohorts.consortium import Consortium
from simulation.cohorts.expression import gene_truth
from simulation.cohorts.gene_sets import GLUCOSE_METABOLISM
from simulation.cohorts.streams import stream

NULL_SETS = 60
SMALLEST, LARGEST = 15, 200
"""Genes of the smallest and of the largest null set; sizes between them are spaced evenly on a logarithmic scale."""
_PATHWAY = ("Glucose metabolism", "R-HSA-70326 of Reactome, release of 2024-09-18, CC0")

GENES_FILE, SETS_FILE = "{name}.genes.txt", "{name}.gmt"


def gene_list(consortium: Consortium) -> tuple[str, ...]:
    """The names of all genes of a consortium, which do not depend on a seed."""
    return gene_truth(consortium, 0).genes


def null_sets(consortium: Consortium, seed: int) -> dict[str, tuple[str, ...]]:
    """Sets of genes that do not differ with MVI, by name; a gene may be in several.

    Parameters
    ----------
    consortium
        One that declares expression.
    seed
        Any non-negative integer; another draws other sets.
    """
    others = [gene for gene in gene_list(consortium) if gene not in GLUCOSE_METABOLISM]
    draw = stream(consortium.name, seed, "", "null gene sets")
    largest, sets = min(LARGEST, len(others)), {}
    for k in range(NULL_SETS):
        size = round(SMALLEST * (largest / SMALLEST) ** (k / (NULL_SETS - 1)))
        chosen = draw.choice(len(others), size=size, replace=False)
        sets[f"Simulated null set {k + 1:02d}"] = tuple(sorted(others[i] for i in chosen))
    return sets


def gmt(consortium: Consortium, seed: int) -> str:
    """A GMT file: a line a set, of its name, a description and its genes, between tabulators."""
    about = f"drawn from genes that do not differ, consortium {consortium.name}, seed {seed}"
    lines = [(*_PATHWAY, *GLUCOSE_METABOLISM)]
    lines += [(name, about, *genes) for name, genes in null_sets(consortium, seed).items()]
    return "".join("\t".join(line) + "\n" for line in lines)


def write_gene_lists(consortium: Consortium, folder: Path, seed: int) -> tuple[Path, Path]:
    """Write the list of genes and the sets into a folder, and return both files."""
    folder.mkdir(parents=True, exist_ok=True)
    genes, sets = (folder / name.format(name=consortium.name) for name in (GENES_FILE, SETS_FILE))
    genes.write_text("\n".join(gene_list(consortium)) + "\n", encoding="utf-8", newline="\n")
    sets.write_text(gmt(consortium, seed), encoding="utf-8", newline="\n")
    return genes, sets
