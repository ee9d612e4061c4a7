"""server/report: tables of gene expression: one a result, a row a gene or a set of genes, all of them."""

from __future__ import annotations

from collections.abc import Iterator

from common.published.results import Result, Results
from server.report.figures import slug

Rows = list[tuple[object, ...]]

_SET = ("set", "genes", "score", "normalised", "p", "adjusted_p", "leading")


def gene_tables(results: Results) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """Name, header and rows of each table; of a study without gene expression none."""
    for result in results.results:
        if result.genes is not None:
            yield slug(result.id), ("gene", *result.genes.columns), _genes(result)
        if result.sets:
            yield slug(result.id), _SET, _sets(result)


def _genes(result: Result) -> Rows:
    if result.genes is None:
        return []
    return [tuple(row) for row in zip(result.genes.genes, *result.genes.columns.values(), strict=True)]


def _sets(result: Result) -> Rows:
    return [
        (row.name, row.size, row.score, row.normalised, row.p, row.adjusted_p, " ".join(row.leading))
        for row in result.sets
    ]
