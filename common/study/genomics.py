"""common/study: what a protocol says of gene expression: which genes, on which scale, and which groups are compared."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from common.study.protocol import Study

SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", re.ASCII)
"""How a gene is called: HGNC symbols and Ensembl identifiers have nothing else."""

GENE = "gene."
"""Columns of genes are called `gene.` and the symbol."""
LIBRARY = "library"
"""The column of library sizes."""

_VERSION = re.compile(r"(ENS[A-Z]{0,6}G\d{11})\.\d+", re.ASCII)


def unversioned(name: str) -> str:
    """An Ensembl identifier of a gene without its version, `ENSG00000131482.9` as `ENSG00000131482`; others as they
    are, also copies of the Y chromosome (`..._PAR_Y`), which are no genes of their own."""
    found = _VERSION.fullmatch(name)
    return found[1] if found else name


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Gene(NamedTuple):
    """A gene of the study: its symbol, and by what other names hospitals may have it."""

    symbol: str
    others: tuple[str, ...]


class GeneSets(_Table):
    """`[genomics.gene_sets]`: a GMT file beside the protocol, which only the coordinator needs."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")] = Field(
        description="Name of the file, beside the protocol; each line a set: its name, a description, its genes."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the file, so that the protocol says what was looked for: `sha256sum FILE`."
    )
    smallest: int = Field(default=15, ge=2, description="Fewest genes of a set that are in the study.")
    largest: int = Field(default=500, ge=2, description="Most of them.")
    permutations: int = Field(
        default=1000,
        ge=100,
        le=100000,
        description="Random sets of genes with which a set is compared; no p is smaller than one over them.",
    )


class ExpressionComparison(_Table):
    """`[[genomics.comparisons]]`: which genes differ with a score or group that is fixed before."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")] = Field(description="Name of the comparison.")
    label: str = Field(default="", description="How reports print it.")
    cohort: str = Field(description="The cohort compared; its role is genomics.")
    group: str = Field(
        description="`score.` and the name of a model or network whose cut-off is frozen, or a binary endpoint or "
        "variable, whose second level is compared with its first."
    )
    by: Literal["group", "score"] = Field(
        default="group", description="Of a score: patients from its frozen cut-off on against the others, or the score."
    )
    covariates: tuple[str, ...] = Field(
        default=(), description="Numeric or binary variables, all else alike in which genes are compared."
    )

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name


class Genomics(_Table):
    """`[genomics]`: the genes of the study, and the comparisons of their expression."""

    genes: tuple[str, ...] = Field(
        description="A text with one gene a line, or a list of them: its symbol, and behind it other names (Ensembl, "
        'former symbols), as in "G6PC1 ENSG00000131482 G6PC".'
    )
    scale: Literal["counts", "tpm"] = Field(
        default="counts", description="What hospitals have: counts of reads (limma-voom), or transcripts per million "
        "(limma on their logarithms)."
    )  # fmt: skip
    libraries: Literal["effective", "total"] = Field(
        default="effective",
        description="Of counts: libraries are scaled by the median of ratios, or by their total counts alone.",
    )
    least_per_million: float = Field(
        default=1.0,
        ge=0,
        description="Genes are compared that reach so many per million in as many patients as the smaller group has.",
    )
    gene_sets: GeneSets | None = None
    comparisons: Annotated[tuple[ExpressionComparison, ...], Field(min_length=1)]

    @cached_property
    def gene_list(self) -> tuple[Gene, ...]:
        """The genes, in the order of the protocol."""
        return tuple(Gene(line.split()[0], tuple(line.split()[1:])) for line in self.genes)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Their symbols."""
        return tuple(gene.symbol for gene in self.gene_list)

    @cached_property
    def by_name(self) -> dict[str, str]:
        """The symbol of every name; Ensembl identifiers without their version."""
        return {name: gene.symbol for gene in self.gene_list for name in (gene.symbol, *gene.others)}

    @field_validator("genes", mode="before")
    @classmethod
    def _lines(cls, genes: Any) -> Any:
        lines = genes.splitlines() if isinstance(genes, str) else genes
        if isinstance(lines, list | tuple) and all(isinstance(line, str) for line in lines):
            return tuple(" ".join(line.split()) for line in lines if line.strip())
        return genes

    @field_validator("genes")
    @classmethod
    def _one_name_each(cls, genes: tuple[str, ...]) -> tuple[str, ...]:
        """Every name is of one gene; what is wrong is told with its place in the list."""
        first: dict[str, int] = {}
        for number, line in enumerate(genes, start=1):
            for name in line.split():
                if not SYMBOL.fullmatch(name):
                    raise ValueError(f"gene {number} of the list: {name!r} is no name of a gene")
                if unversioned(name) != name:
                    raise ValueError(f"gene {number} of the list: write '{unversioned(name)}', without the version")
                if name in first:
                    raise ValueError(f"'{name}' is in the list twice, as gene {first[name]} and as gene {number}")
                first[name] = number
        if len(genes) < 2:
            raise ValueError("a gene a line, at least two")
        return genes


def gene_columns(symbols: tuple[str, ...]) -> tuple[str, ...]:
    """What columns of genes are called in a frame."""
    return tuple(GENE + symbol for symbol in symbols)


def sequenced_sites(study: Study) -> frozenset[str]:
    """The sites whose gene expression the study compares; no other site's is read."""
    compared = {part.cohort for part in study.genomics.comparisons} if study.genomics is not None else set()
    return frozenset(site for cohort in study.cohorts if cohort.name in compared for site in cohort.sites)
