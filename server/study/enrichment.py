"""server/study: which sets of genes the genes that differ belong to, from their published statistics alone.

*Preranked.* Genes are ranked by their moderated t, and a set's enrichment score is the largest deviation of a sum that
rises at its genes and falls at the others (Subramanian et al., PNAS 2005;102:15545). Its p value is that among sets of
as many genes drawn at random, and the false discovery rate compares its normalised score with those of all sets' random
ones, as in that paper; gseapy computes both. Its multilevel splitting, which has smaller p values, is not used: of some
rankings it does not come to an end.

*Over-representation.* Whether genes that differ are in a set more often than others that were compared: the upper tail
of the hypergeometric distribution.

Both draw genes, not patients: genes of a set that go together by themselves make it look enriched more often than p
says (Wu & Smyth, Nucleic Acids Res 2012;40:e133).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import FedmviError
from common.published.results import Curve, GeneSetRow
from common.statistics.multiplicity import benjamini_hochberg
from common.study.genomics import GeneSets
from common.study.table import FloatArray
from server.study.compared_genes import DIFFERING
from server.study.gene_sets import Sets
from server.study.subject import number

DRAWN = 4
"""At most so many sets are told with their running sum."""


@dataclass(frozen=True)
class Ranking:
    """Genes, the largest statistic first.

    Attributes
    ----------
    genes
        (n,) symbols; those with one statistic are in the order of their symbols.
    statistics
        (n,) falling.
    """

    genes: tuple[str, ...]
    statistics: FloatArray

    @classmethod
    def of(cls, genes: Sequence[str], statistics: FloatArray) -> Ranking:
        """Rank genes, in whatever order they come."""
        order = sorted(range(len(genes)), key=lambda i: (-statistics[i], genes[i]))
        return cls(tuple(genes[i] for i in order), np.asarray(statistics, dtype=np.float64)[order])

    def members(self, genes: Collection[str]) -> NDArray[np.intp]:
        """(k,) places of a set's genes, rising."""
        wanted = frozenset(genes)
        return np.array([i for i, gene in enumerate(self.genes) if gene in wanted], dtype=np.intp)


def looked_for(sets: Sets, genes: Collection[str], declared: GeneSets) -> dict[str, tuple[str, ...]]:
    """Each set's genes among those that were compared; sets with fewer or more of them than declared are left out."""
    known = frozenset(genes)
    own = {name: tuple(gene for gene in members if gene in known) for name, members in sets.items()}
    return {
        name: members
        for name, members in own.items()
        if declared.smallest <= len(members) <= declared.largest and len(members) < len(known)
    }


def running_score(statistics: FloatArray, members: NDArray[np.intp]) -> FloatArray:
    """(n,) the running sum after each gene of a ranking: up by a member's share of |t|, down evenly at the others.

    (Subramanian et al. 2005, appendix, with weight 1.) Members without any |t| rise evenly.
    """
    n, k = len(statistics), len(members)
    weight = np.abs(statistics[members])
    steps = np.full(n, -1.0 / (n - k))
    steps[members] = weight / weight.sum() if weight.sum() > 0 else 1.0 / k
    return np.cumsum(steps)


def preranked(ranking: Ranking, sets: Mapping[str, Collection[str]], declared: GeneSets, seed: int) -> list[GeneSetRow]:
    """Every set with its enrichment score, normalised score, p value and leading edge; the strongest first.

    Parameters
    ----------
    sets
        As `looked_for` gives them.
    seed
        Of the random sets: the same is the same result, bit by bit.

    Raises
    ------
    FedmviError
        804 gseapy is not installed.
    """
    if not sets:
        return []
    try:
        import gseapy
        import pandas as pd
    except ImportError as error:
        raise FedmviError(804, str(error), extra="server") from error
    # gseapy is given places, not symbols: it would take symbols for others that differ in case alone.
    names = [f"G{place}" for place in range(len(ranking.genes))]
    places = {name: ranking.members(genes) for name, genes in sorted(sets.items())}
    found = gseapy.prerank(
        rnk=pd.DataFrame({"gene": names, "statistic": _apart(ranking.statistics)}),
        gene_sets={name: [names[place] for place in own] for name, own in places.items()},
        outdir=None, min_size=2, max_size=len(names), permutation_num=declared.permutations, ascending=None, threads=1,
        no_plot=True, seed=seed, verbose=False,
    ).results  # fmt: skip
    scored = {name: found[name] for name in places}
    # None of the random sets is stronger than some: that is told as fewer than one of them, never as 0.
    least = 1.0 / declared.permutations
    p, adjusted = (np.array([max(float(row[key]), least) for row in scored.values()]) for key in ("pval", "fdr"))
    rows = [
        GeneSetRow(
            name=name,
            size=len(places[name]),
            score=float(row["es"]),
            normalised=number(float(row["nes"])),
            p=number(float(chance)),
            adjusted_p=number(float(level)),
            leading=leading_edge(ranking, places[name]),
        )
        for (name, row), chance, level in zip(scored.items(), p, adjusted, strict=True)
    ]
    return sorted(rows, key=_strongest)


def _apart(falling: FloatArray) -> FloatArray:
    """Equal numbers a last digit apart: gseapy warns that their order is arbitrary, which it is not here."""
    apart = falling.copy()
    for i in range(1, apart.size):
        if apart[i] >= apart[i - 1]:
            apart[i] = np.nextafter(apart[i - 1], -np.inf)
    return apart


def leading_edge(ranking: Ranking, members: NDArray[np.intp]) -> list[str]:
    """A set's genes up to where its running sum is farthest from 0, the strongest first."""
    running = running_score(ranking.statistics, members)
    top, bottom = int(running.argmax()), int(running.argmin())
    if running[top] >= -running[bottom]:
        return [ranking.genes[i] for i in members if i <= top]
    # The sum falls at the genes between: what follows the lowest place are the set's genes at the end.
    return [ranking.genes[i] for i in members[::-1] if i > bottom]


def over_represented(
    genes: Sequence[str], differing: Collection[str], sets: Mapping[str, Collection[str]]
) -> list[GeneSetRow]:
    """Every set with its odds ratio and p value, as gseapy has them; the strongest first.

    Parameters
    ----------
    genes
        All that were compared.
    differing
        Those of them that differ, whichever way.
    sets
        As `looked_for` gives them. One of which no gene differs has a p value of 1, and counts among the sets.

    Raises
    ------
    FedmviError
        804 gseapy is not installed.
    """
    if not sets or not differing:
        return []
    try:
        from gseapy.stats import calc_pvalues
    except ImportError as error:
        raise FedmviError(804, str(error), extra="server") from error
    told = list(calc_pvalues(set(differing), {name: list(own) for name, own in sets.items()}, set(genes)))
    found = {row[0]: (float(row[1]), float(row[2])) for row in zip(*told, strict=True)} if told else {}
    order = sorted(sets)
    p = np.array([found[name][0] if name in found else 1.0 for name in order])
    rows = [
        GeneSetRow(
            name=name,
            size=len(sets[name]),
            score=found[name][1] if name in found else None,
            p=float(p[i]),
            adjusted_p=float(level),
            leading=sorted(gene for gene in sets[name] if gene in differing),
        )
        for i, (name, level) in enumerate(zip(order, benjamini_hochberg(p), strict=True))
    ]
    return sorted(rows, key=_strongest)


def enriched(row: GeneSetRow) -> bool:
    """Whether a set's false discovery rate is below 5 %."""
    return row.adjusted_p is not None and row.adjusted_p < DIFFERING


def _strongest(row: GeneSetRow) -> tuple[float, float, str]:
    return (2.0 if row.p is None else row.p, -abs(row.normalised or 0.0), row.name)


def running_curves(ranking: Ranking, sets: Mapping[str, Collection[str]], rows: Sequence[GeneSetRow]) -> list[Curve]:
    """The running sums of the strongest sets that are enriched, or of the strongest one alone, at their corners.

    Corners are before and after each of a set's genes.
    """
    shown = [row for row in rows[:DRAWN] if enriched(row)] or rows[:1]
    return [_corners(ranking, row.name, ranking.members(sets[row.name])) for row in shown]


def _corners(ranking: Ranking, name: str, members: NDArray[np.intp]) -> Curve:
    running = np.concatenate([[0.0], running_score(ranking.statistics, members)])
    x = np.unique(np.concatenate([[0], members, members + 1, [len(ranking.genes)]]))
    return Curve(name=name, x=x.astype(float).tolist(), y=running[x].tolist(), unit="genes")
