"""client/approval: what a study reads of gene expression, and what of it leaves, in words."""

from __future__ import annotations

from collections.abc import Iterator

from client.cohort.site import Site
from common.statistics.expression_levels import MOST_GROUPED, MOST_LEVELS
from common.study.genomics import sequenced_sites
from common.study.protocol import Study

_SCALES = {"counts": "counts of reads", "tpm": "transcripts per million"}


def expression_used(site: Site, study: Study) -> Iterator[tuple[str, str]]:
    """What is read at this site; nothing where the study compares no expression here."""
    if study.genomics is not None and site.name in sequenced_sites(study):
        yield "Gene expression", f"{len(study.genomics.symbols)} genes, {_SCALES[study.genomics.scale]}; they stay"


def expression_told(site: Site, study: Study) -> Iterator[str]:
    """What leaves of it."""
    if study.genomics is None or site.name not in sequenced_sites(study):
        return
    genes = len(study.genomics.symbols)
    yield (
        f"Of {genes} genes, sums over the sites of a cohort: how many patients express a gene, and sums of levels and "
        "of their products with the groups compared and the covariates."
    )
    allowed = "allowed" if site.policy.release_alone else "not allowed, and will be refused (FEDMVI-408)"
    yield (
        f"Of this site alone: the mean level of {_most(genes, MOST_LEVELS)} genes, that of a large enough group of "
        f"{_most(genes, MOST_GROUPED)} of them, and by how much each gene differs by an analysis of this site's own. "
        f"By this site's policy that is {allowed}."
    )


def _most(genes: int, most: int) -> str:
    return f"all {genes}" if genes <= most else f"at most {most}"
