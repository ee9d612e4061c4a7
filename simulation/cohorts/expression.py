"""simulation/cohorts: RNA-seq counts of a simulated hospital, with the genes that differ with MVI known.

The count of gene g in patient i of site s is negative binomial with mean and variance

    m = L_i p_g exp(e_gs) 2^(b_g v_i),    var = m + a_g m^2,

where L_i is the patient's library size, p_g the gene's share of the transcripts, e_gs the site's effect, v_i whether
there is MVI (M1 and M2 alike) and b_g the true log2 fold change. Shares and dispersions belong to the gene and are
the same at every site; they depend on the seed and the number of genes only.

*Dispersion.* a_g follows the asymptotic trend 4 / mu + 0.1 of DESeq2's own example data (Love et al., Genome Biol
2014; 15: 550), with log-normal scatter between genes, all scaled so that the median is the declared one.

*Library size.* L_i is the expected total of a patient without MVI at any site: shares sum to 1, and site effects are
shifted by a constant until the shares of the site do, too. MVI adds to some genes without taking from the others, so
that a gene that is not associated has one distribution with and without it, whatever the rest do.

*Assumed* (in no source): the spreads `SHARE_SPREAD`, `SCATTER` and `LIBRARY_SPREAD`, independence between genes given
all of the above, and that MVI acts on the genes of `simulation.cohorts.gene_sets` in the direction given there. Genes
outside that set are named SIM00001 and on, so that nobody takes them for measured ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulation.cohorts.consortium import Consortium, Expression
from simulation.cohorts.gene_sets import FALLING, GLUCOSE_METABOLISM, RISING
from simulation.cohorts.patients import Patients
from simulation.cohorts.streams import stream

FILE = "expression.csv"
"""The table's name in a site's folder."""
SHARE_SPREAD = 1.5
"""Standard deviation of the natural logarithm of genes' shares; assumed."""
SCATTER = 0.5
"""Standard deviation of the natural logarithm of dispersions about their trend; assumed."""
LIBRARY_SPREAD = 0.3
"""Standard deviation of the natural logarithm of library sizes; assumed."""
TREND_MEAN = 40.0
"""Mean count at which Poisson-like noise doubles the dispersion: 4 / 0.1 of DESeq2's example data."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GeneTruth:
    """What is true of every gene, at every site.

    Attributes
    ----------
    genes
        Names, (g,): the glucose metabolism set in alphabetical order, then the simulated ones.
    share
        Share of the transcripts of a patient without MVI, (g,); they sum to 1.
    dispersion
        Negative binomial dispersion, (g,): the variance is m + dispersion m^2.
    log2_fold_change
        Present against absent, (g,); 0 for every gene that is not associated.
    """

    genes: tuple[str, ...]
    share: _Floats
    dispersion: _Floats
    log2_fold_change: _Floats

    def as_json(self) -> dict[str, object]:
        """The associated genes with their log2 fold changes, and the others, for the record of the truth."""
        changes = dict(zip(self.genes, map(float, self.log2_fold_change), strict=True))
        return {
            "associated": {gene: change for gene, change in changes.items() if change != 0},
            "nulls": [gene for gene, change in changes.items() if change == 0],
        }


@dataclass(frozen=True)
class ExpressionTable:
    """The counts of one site, and what they were drawn from.

    Attributes
    ----------
    genes
        Names, (g,).
    patients
        Pseudonyms of those who were sequenced, (n,), in the order of the patient table; there may be none.
    counts
        (g, n).
    library_size
        Expected total count of each patient had they no MVI, (n,).
    site_effect
        The site's effect on each gene, natural logarithm, (g,).
    """

    genes: tuple[str, ...]
    patients: tuple[str, ...]
    counts: NDArray[np.int64]
    library_size: _Floats
    site_effect: _Floats


def gene_truth(consortium: Consortium, seed: int) -> GeneTruth:
    """The genes of a consortium; half of the associated ones (the larger half) rise with MVI, the others fall.

    Parameters
    ----------
    consortium
        One that declares expression.
    seed
        Any non-negative integer.
    """
    declared = _declared(consortium)
    others = declared.genes - len(GLUCOSE_METABOLISM)
    genes = GLUCOSE_METABOLISM + tuple(f"SIM{i:05d}" for i in range(1, others + 1))
    rng = stream(consortium.name, seed, "", "genes")
    share = np.exp(SHARE_SPREAD * rng.standard_normal(declared.genes))
    share /= share.sum()
    trend = (TREND_MEAN / (declared.library_size * share) + 1) * np.exp(SCATTER * rng.standard_normal(declared.genes))
    dispersion = declared.dispersion * trend / np.median(trend)
    up = set(RISING[: (declared.associated + 1) // 2])
    down = set(FALLING[: declared.associated // 2])
    sign = np.array([(gene in up) - (gene in down) for gene in genes], dtype=np.float64)
    return GeneTruth(genes, share, dispersion, declared.log2_fold_change * sign)


def draw_expression(consortium: Consortium, patients: Patients, seed: int) -> ExpressionTable:
    """Counts of one site's patients whose group is sequenced.

    The draw depends on the seed, the site's name and its own patients, not on other sites; patients who are added
    at the end change nothing for those before them.
    """
    declared, truth = _declared(consortium), gene_truth(consortium, seed)
    effect = declared.site_effect * stream(consortium.name, seed, patients.site, "expression effects").standard_normal(
        declared.genes
    )
    effect -= np.log(np.sum(truth.share * np.exp(effect)))
    chosen = [i for i, label in enumerate(patients.labels) if not declared.labels or label in declared.labels]
    rng = stream(consortium.name, seed, patients.site, "expression counts")
    sizes, counts = np.empty(len(chosen)), np.empty((declared.genes, len(chosen)), dtype=np.int64)
    for column, i in enumerate(chosen):
        sizes[column] = declared.library_size * np.exp(LIBRARY_SPREAD * rng.standard_normal())
        fold = np.exp2(truth.log2_fold_change * patients.present[i])
        mean = sizes[column] * truth.share * np.exp(effect) * fold
        counts[:, column] = rng.negative_binomial(1 / truth.dispersion, 1 / (1 + truth.dispersion * mean))
    return ExpressionTable(truth.genes, tuple(patients.ids[i] for i in chosen), counts, sizes, effect)


def write_expression(folder: Path, table: ExpressionTable) -> None:
    """Write `expression.csv` in a site's folder: a row a gene, a column a patient, the first column `gene`."""
    lines = [",".join(("gene", *table.patients))]
    lines += [",".join((gene, *map(str, row))) for gene, row in zip(table.genes, table.counts.tolist(), strict=True)]
    (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _declared(consortium: Consortium) -> Expression:
    if consortium.expression is None:
        raise ValueError("only a consortium that declares expression has genes")
    return consortium.expression
