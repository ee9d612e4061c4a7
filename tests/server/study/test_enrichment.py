"""tests: enrichment: the scores of fgsea, the hypergeometric tail, the same bytes each time, false positives."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from common.errors import FedmviError
from common.study.genomics import GeneSets, Genomics
from server.study.enrichment import (
    Ranking,
    leading_edge,
    looked_for,
    over_represented,
    preranked,
    running_curves,
    running_score,
)
from server.study.gene_sets import parse_sets, read_bytes
from simulation.cohorts.gene_sets import GLUCOSE_METABOLISM
from tests.public_data import public

DECLARED = GeneSets(file="sets.gmt", sha256="0" * 64, smallest=15, largest=300, permutations=1000)


def reference() -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Statistics, places of the sets' genes, and the scores that fgsea's own C++ gave."""
    folder = public("genesets/fgsea_reference")
    statistics = np.loadtxt(folder / "inputs/stats.tsv", skiprows=1)
    lines = (folder / "inputs/pathways.tsv").read_text().splitlines()
    places = [np.array(line.split("\t"), dtype=np.intp) - 1 for line in lines]
    scores = np.loadtxt(folder / "refs/ref_calcGseaStatBatchCpp.tsv", skiprows=1, usecols=-1, delimiter="\t")
    return statistics, places, scores


def farthest(running: np.ndarray) -> float:
    return float(running.max() if running.max() >= -running.min() else running.min())


def test_running_sums_and_published_scores_are_those_of_fgsea() -> None:
    statistics, places, scores = reference()
    assert [farthest(running_score(statistics, own)) for own in places] == pytest.approx(scores.tolist(), abs=1e-12)
    genes = [f"gene-{i:04d}" for i in range(len(statistics))]
    sets = {f"set-{i}": tuple(genes[place] for place in own) for i, own in enumerate(places)}
    rows = preranked(Ranking.of(genes, statistics), sets, DECLARED, 7)
    told = {row.name: row.score for row in rows}
    assert [told[f"set-{i}"] for i in range(len(places))] == pytest.approx(scores.tolist(), abs=1e-12)


def drawn(seed: int = 3) -> tuple[list[str], np.ndarray, dict[str, tuple[str, ...]]]:
    """Statistics of 1200 genes of which a set's rise, with ties, and sets of the others."""
    rng = np.random.default_rng(seed)
    genes = [*GLUCOSE_METABOLISM, *(f"Sim{i}orf" for i in range(1200 - len(GLUCOSE_METABOLISM)))]
    t = np.round(rng.standard_normal(len(genes)), 2)
    t[:30] += 2.0
    sets = {f"others {k}": tuple(rng.choice(genes, 20 + k, replace=False).tolist()) for k in range(25)}
    return genes, t, {"Glucose metabolism": GLUCOSE_METABOLISM, **sets}


def test_the_set_that_rises_is_found_with_its_leading_edge_and_no_other() -> None:
    genes, t, sets = drawn()
    ranking = Ranking.of(genes, t)
    first, *others = preranked(ranking, sets, DECLARED, 1)
    assert first.name == "Glucose metabolism" and (first.adjusted_p or 1) <= 0.01 and (first.normalised or 0) > 1.5
    assert set(first.leading) <= set(GLUCOSE_METABOLISM) and len(set(first.leading) & set(genes[:30])) > 15
    assert all((row.adjusted_p or 0) > 0.05 for row in others)
    falling = preranked(Ranking.of(genes, -t), sets, DECLARED, 1)[0]
    assert falling.score == pytest.approx(-(first.score or 0)) and set(falling.leading) == set(first.leading)
    assert falling.leading[0] == ranking.genes[ranking.members(falling.leading)[0]]


def test_one_question_has_one_answer_whatever_the_order_of_genes_and_the_process() -> None:
    genes, t, sets = drawn()
    order = np.random.default_rng(9).permutation(len(genes))
    shuffled = {name: sets[name][::-1] for name in sorted(sets, reverse=True)}
    once = preranked(Ranking.of(genes, t), sets, DECLARED, 5)
    again = preranked(Ranking.of([genes[i] for i in order], t[order]), shuffled, DECLARED, 5)
    assert once == again
    code = (
        "from tests.server.study.test_enrichment import *; g, t, s = drawn();"
        "print(hashlib.sha256(repr(preranked(Ranking.of(g, t), s, DECLARED, 5)).encode()).hexdigest())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("1", "2")
    ]
    digest = hashlib.sha256(repr(once).encode()).hexdigest()
    assert [one.stdout.decode().strip() for one in told] == [digest] * 2
    assert [one.stderr for one in told] == [b""] * 2


def test_genes_that_differ_in_case_alone_are_different_genes() -> None:
    genes = [f"{letter}{i}" for i in range(100) for letter in "Ab"]
    t = np.linspace(3, -3, len(genes))
    sets = {"upper": tuple(f"A{i}" for i in range(30)), "none of them": tuple(f"B{i}" for i in range(30))}
    known = looked_for(sets, genes, DECLARED)
    assert list(known) == ["upper"]
    assert [row.name for row in preranked(Ranking.of(genes, t), known, DECLARED, 1)] == ["upper"]


def test_over_representation_is_the_hypergeometric_tail_over_all_sets() -> None:
    genes, t, sets = drawn()
    differing = [gene for gene, one in zip(genes, t, strict=True) if abs(one) > 2.2]
    sets["none"] = tuple(gene for gene in genes if gene not in differing)[:40]
    rows = over_represented(genes, differing, sets)
    oracle = {
        name: stats.hypergeom.sf(len(set(own) & set(differing)) - 1, len(genes), len(own), len(differing))
        for name, own in sets.items()
    }
    assert {row.name: row.p for row in rows} == pytest.approx(oracle, rel=1e-10)
    names = [row.name for row in rows]
    wanted = dict(zip(names, stats.false_discovery_control([oracle[name] for name in names]), strict=True))
    assert {row.name: row.adjusted_p for row in rows} == pytest.approx(wanted, rel=1e-10)
    assert rows[0].name == "Glucose metabolism"
    assert set(rows[0].leading) == set(GLUCOSE_METABOLISM) & set(differing)
    none = next(row for row in rows if row.name == "none")
    assert (none.p, none.score, none.leading) == (1.0, None, [])


def test_random_sets_are_found_as_often_as_their_p_values_say() -> None:
    rng = np.random.default_rng(11)
    genes = [f"g{i}" for i in range(800)]
    p = []
    for study in range(20):
        sets = {f"s{k}": tuple(rng.choice(genes, 25, replace=False).tolist()) for k in range(25)}
        rows = preranked(Ranking.of(genes, rng.standard_normal(800)), sets, DECLARED, study)
        p += [row.p for row in rows]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert float(np.mean(np.array(p) < 0.05)) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))


def test_curves_have_the_corners_of_the_running_sum() -> None:
    genes, t, sets = drawn()
    ranking = Ranking.of(genes, t)
    rows = preranked(ranking, sets, DECLARED, 1)
    curve = running_curves(ranking, sets, rows)[0]
    whole = running_score(ranking.statistics, ranking.members(sets[curve.name]))
    assert np.interp(np.arange(1, 1201), curve.x, curve.y) == pytest.approx(whole, abs=1e-12)
    assert (curve.x[0], curve.y[0], curve.x[-1]) == (0.0, 0.0, 1200.0)
    assert max(curve.y, key=abs) == pytest.approx(rows[0].score)
    assert leading_edge(ranking, ranking.members(sets[curve.name])) == rows[0].leading


def genomics(content: bytes) -> Genomics:
    return Genomics.model_validate(
        {
            "genes": ("G6PC1 ENSG00000131482 G6PC", "ALDOA", "HK2"),
            "gene_sets": {"file": "sets.gmt", "sha256": hashlib.sha256(content).hexdigest()},
            "comparisons": ({"name": "by-mvi", "cohort": "rna", "group": "mvi"},),
        }
    )


def test_other_names_of_genes_in_a_set_are_the_genes_of_the_study() -> None:
    content = b"One\thttps://x\tG6PC\tALDOA\tALDOA\r\n\nTwo \t\tHK2\tMISSING\t\n"
    assert dict(parse_sets(content, genomics(content))) == {"One": ("G6PC1", "ALDOA"), "Two": ("HK2", "MISSING")}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"One\tx\tHK2\nTwo\n", 2),
        (b"One\tx\tHK2\nTwo\tno genes\t\n", 2),
        (b"One\tx\tHK2\n\nOne\tx\tALDOA\n", 3),
        (b"\tx\tHK2\n", 1),
        (b"One\t\xff\tHK2\n", 1),
        (b"\n", 1),
    ],
)
def test_a_line_that_is_no_set_is_named(content: bytes, line: int) -> None:
    with pytest.raises(FedmviError) as met:
        parse_sets(content, genomics(content))
    assert (met.value.number, met.value.facts["line"]) == (132, line)


def test_the_file_is_the_one_that_the_protocol_names(tmp_path: Path) -> None:
    content = b"One\tx\tHK2\n"
    declared = genomics(content).gene_sets
    assert declared is not None
    with pytest.raises(FedmviError, match="130"):
        read_bytes(tmp_path / "sets.gmt", declared)
    (tmp_path / "sets.gmt").write_bytes(content)
    assert read_bytes(tmp_path / "sets.gmt", declared) == content
    (tmp_path / "sets.gmt").write_bytes(content + b"Two\tx\tHK2\n")
    with pytest.raises(FedmviError, match="131"):
        read_bytes(tmp_path / "sets.gmt", declared)


def test_reactome_is_read_whole() -> None:
    file = public("genesets/ReactomePathways_2024-09-18.gmt")
    content = file.read_bytes()
    found = parse_sets(content, genomics(content))
    assert len(found) == content.count(b"\n") and set(GLUCOSE_METABOLISM) == set(found["Glucose metabolism"])
